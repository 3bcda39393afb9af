internal import Primitives

/// Where some entries of a segment begin: one point about every `spacing` bytes, the first entry always.
struct SparseIndex: Equatable, Sendable {
    struct Point: Equatable, Sendable {
        let offset: JournalOffset
        /// Of the frame, from the segment's start.
        let position: Int
    }

    /// While a segment is written its readers are close behind: 4 KiB, a page.
    static let activeSpacing = 4 << 10
    /// Kept for every sealed segment, in memory and in its sidecar: 64 KiB, so 16 KiB for 64 MiB.
    static let sealedSpacing = 64 << 10

    private(set) var points: [Point] = []

    /// Offers an entry; offsets and positions grow.
    mutating func add(offset: JournalOffset, position: Int, spacing: Int) {
        if let last = self.points.last, position - last.position < spacing { return }
        self.points.append(Point(offset: offset, position: position))
    }

    /// The last point at or before an offset. The index must not be empty, nor begin behind it.
    func floor(_ offset: JournalOffset) -> Point {
        var low = 0
        var high = self.points.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.points[middle].offset <= offset { low = middle } else { high = middle }
        }
        return self.points[low]
    }

    /// Without what is at or behind an offset.
    func cut(from offset: JournalOffset) -> SparseIndex {
        var rest = SparseIndex()
        rest.points = self.points.filter { $0.offset < offset }
        return rest
    }

    /// The same with wider steps.
    func thinned(to spacing: Int) -> SparseIndex {
        var thin = SparseIndex()
        for point in self.points { thin.add(offset: point.offset, position: point.position, spacing: spacing) }
        return thin
    }
}
