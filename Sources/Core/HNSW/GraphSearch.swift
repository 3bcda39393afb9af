/// One nearest-neighbour question to one ``HNSWGraph``.
///
/// Bitmaps hold row `r` at bit `r % 64` of word `r / 64` and cover at least the rows below ``rowLimit`` that are linked.
package struct GraphSearch {
    /// How a graph was, or shall be, searched.
    package enum Strategy: UInt8, Sendable {
        /// Chosen from the share of rows that may be returned.
        case automatic
        /// Every row that may be returned is measured on its floats.
        case exact
        /// The same, on codes where the graph has them; the best are measured again on floats.
        case scan
        /// The walk goes over all rows; those that may not be returned are left out of the answer.
        case plainWalk
        /// The walk stays on rows that may be returned, stepping over one hop of others.
        case filteredWalk
    }

    /// `dimension` finite floats, any alignment; unit length when the metric is cosine.
    package var query: UnsafePointer<Float>
    package var k: Int
    /// Candidates kept at level 0, raised to `k` when below it. 0: ``HNSWGraph/defaultEf(k:)``. Larger recalls more and costs more.
    package var ef = 0
    /// Rows that may be returned; nil for all.
    package var allowed: UnsafePointer<UInt64>?
    /// Bits set in ``allowed``, when it has none of deleted rows and none from ``rowLimit`` on; nil when that is not known.
    package var allowedCount: Int?
    /// Rows that may not be returned, though the walk passes through them.
    package var deleted: UnsafePointer<UInt64>?
    /// Only rows below this are returned. A caller that scans rows from ``HNSWGraph/linkedPrefix`` on by itself passes it here.
    package var rowLimit = UInt32.max
    /// What results are tagged with.
    package var segment: UInt32 = 0
    package var strategy = Strategy.automatic

    package init(query: UnsafePointer<Float>, k: Int) {
        self.query = query
        self.k = k
    }
}

/// What a search did.
package struct SearchStats: Equatable, Sendable {
    /// What was done in the end: ``GraphSearch/Strategy/scan`` also when a walk found too few and a scan replaced it.
    package var strategy = GraphSearch.Strategy.exact
    /// Candidates kept by the walk; 0 without one.
    package var ef = 0
    /// Points whose links were followed.
    package var hops = 0
    /// Distances measured, on all levels.
    package var distances = 0
    /// The caller interrupted; the answer holds what was found until then.
    package var interrupted = false

    package init() {}
}
