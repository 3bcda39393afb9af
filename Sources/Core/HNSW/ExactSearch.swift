internal import VectorKernels

/// Scans rows without a graph: growing tails, small segments, and the judge of approximate answers.
package enum ExactSearch {
    /// Offers every row of `range` that may be returned to `top`.
    ///
    /// - Parameters:
    ///   - query: `dimension` finite floats, any alignment; unit length when the metric is cosine.
    ///   - allowed: Rows that may be returned, bit `r % 64` of word `r / 64` for row `r`; nil for all.
    ///   - deleted: Rows that may not, likewise.
    ///   - segment: What results are tagged with.
    ///   - interrupted: Asked every fraction of a millisecond; true ends the scan.
    @discardableResult
    package static func scan(
        _ rows: VectorRows, range: Range<UInt32>, query: UnsafePointer<Float>, allowed: UnsafePointer<UInt64>? = nil,
        deleted: UnsafePointer<UInt64>? = nil, segment: UInt32 = 0, scratch: SearchScratch, into top: TopK,
        interrupted: () -> Bool = { false }
    ) -> SearchStats {
        var stats = SearchStats()
        let memory = scratch.prepare(capacity: 0, candidates: 0, m: 0, book: nil)
        memory.query.pointee.floats = query
        let measure = GraphView.measure(metric: rows.metric, kind: .none)
        let perCheck = HNSWGraph.distancesPerCheck(dimension: rows.dimension)
        // A batch no longer than the time between two questions to `interrupted`.
        let batch = min(SearchScratch.batch, perCheck)
        var untilCheck = perCheck
        var cursor = RowCursor(range: range, allowed: allowed, deleted: deleted)
        withUnsafePointer(to: rows.kernelRows()) { kernelRows in
            while true {
                let count = cursor.next(into: memory.ids, limit: batch)
                if count == 0 { break }
                measure(kernelRows, memory.query, memory.ids, count, memory.keys)
                var bound = top.boundKey
                for i in 0..<count where memory.keys[i] <= bound {
                    top.offer(key: memory.keys[i], row: memory.ids[i], segment: segment)
                    bound = top.boundKey
                }
                stats.distances += count
                untilCheck -= count
                if untilCheck <= 0 {
                    untilCheck = perCheck
                    if interrupted() {
                        stats.interrupted = true
                        break
                    }
                }
            }
        }
        return stats
    }
}

/// Gives the rows of a range that bitmaps let through, in order, some at a time.
struct RowCursor {
    private var row: Int
    private let end: Int
    private let allowed: UnsafePointer<UInt64>?
    private let deleted: UnsafePointer<UInt64>?

    init(range: Range<UInt32>, allowed: UnsafePointer<UInt64>?, deleted: UnsafePointer<UInt64>?) {
        self.row = Int(range.lowerBound)
        self.end = Int(range.upperBound)
        self.allowed = allowed
        self.deleted = deleted
    }

    /// Up to `limit` (64 or more, or as many as a word has) rows; 0 at the end only.
    mutating func next(into ids: UnsafeMutablePointer<UInt32>, limit: Int) -> Int {
        var count = 0
        while self.row < self.end, count < limit {
            let word = self.row / 64
            var bits = self.allowed?[word] ?? ~0
            if let deleted = self.deleted { bits &= ~deleted[word] }
            bits &= ~0 &<< UInt64(self.row % 64)
            let inWord = self.end - word * 64
            if inWord < 64 { bits &= 1 &<< UInt64(inWord) &- 1 }
            while bits != 0, count < limit {
                let row = word * 64 + bits.trailingZeroBitCount
                ids[count] = UInt32(truncatingIfNeeded: row)
                count &+= 1
                self.row = row + 1
                bits &= bits &- 1
            }
            if bits == 0 { self.row = (word + 1) * 64 }
        }
        return count
    }
}
