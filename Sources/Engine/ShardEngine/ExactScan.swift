import HNSW
import Primitives
import VectorKernels

/// Measures rows one by one: the judge of approximate answers, and the way while there is no graph.
///
/// A row's distance is the same whatever the block it is measured in (see VectorKernels.h), so the same points give the
/// same answer however they are spread over segments.
enum ExactScan {
    /// Offers every live row of `range` that has the vector to the context's nearest points.
    ///
    /// - Parameters:
    ///   - allowed: Rows that may be returned; nil for all.
    ///   - interrupted: Asked every fraction of a millisecond.
    /// - Returns: Distances computed, or nil if interrupted.
    static func scan(
        _ segment: Segment, _ column: Int, _ range: Range<Int>, allowed: UnsafePointer<UInt64>?, _ context: SearchContext,
        _ views: SegmentViews, interrupted: () -> Bool
    ) -> Int? {
        guard !range.isEmpty else { return 0 }
        let shape = segment.shape.columns[column]
        var rows = vk_rows()
        rows.floats = UnsafePointer(segment.storage.columns[column])
        rows.stride = shape.stride
        rows.dimension = UInt32(shape.dimension)
        var query = vk_query()
        query.floats = UnsafePointer(context.query)
        let kernels = vk_kernels_best()!
        let measure = shape.metric == .l2 ? kernels.pointee.l2_rows! : kernels.pointee.dot_rows!
        let present = segment.present[column].words
        let deleted = segment.deleted.words
        let block = context.block
        let keys = context.keys
        let slot = segment.slot
        let nearest = context.nearest
        var bound = nearest.bound
        var filled = 0
        var measured = 0

        func flush() {
            measure(&rows, &query, block, filled, keys)
            for i in 0..<filled where keys[i] <= bound {
                nearest.offer(keys[i], Location(slot: slot, row: block[i]), views)
                bound = nearest.bound
            }
            measured &+= filled
            filled = 0
        }

        // As often as a walk asks; the rows gathered for one block are measured in between.
        let perCheck = HNSWGraph.distancesPerCheck(dimension: shape.dimension)
        var untilCheck = perCheck
        // Blocks no longer than the time between two questions.
        let most = min(SearchContext.blockRows, perCheck)
        let first = range.lowerBound >> 6
        let last = (range.upperBound - 1) >> 6
        for w in first...last {
            var word = present[w] & ~deleted[w]
            if let allowed { word &= allowed[w] }
            if w == first { word &= ~Bits.lowMask(range.lowerBound & 63) }
            if w == last, range.upperBound & 63 != 0 { word &= Bits.lowMask(range.upperBound & 63) }
            while word != 0 {
                block[filled] = UInt32(truncatingIfNeeded: w << 6 | word.trailingZeroBitCount)
                filled &+= 1
                word &= word &- 1
                if filled == most {
                    flush()
                    untilCheck &-= most
                    if untilCheck <= 0 {
                        untilCheck = perCheck
                        if interrupted() { return nil }
                    }
                }
            }
            // Where few rows may be returned, the bitmaps are what takes time.
            if w & 1023 == 1023, interrupted() { return nil }
        }
        if filled > 0 { flush() }
        return measured
    }
}
