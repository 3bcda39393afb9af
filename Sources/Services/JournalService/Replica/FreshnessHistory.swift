package import Primitives

/// Up to which moment a log was known to be complete at which offset: "every write acknowledged before `since` is at or below `offset`".
///
/// Each such sentence stays true, whoever leads later and whatever wall clocks do: moments are of this node's steady clock. So the age
/// of what a replica lacks is a matter of its own clock alone. The newest are some milliseconds apart, older ones are thinned out: an age
/// is known to an eighth of itself, and never too small.
package struct FreshnessHistory {
    package struct Mark: Equatable {
        package var offset: JournalOffset
        /// Nanoseconds.
        package var since: UInt64
    }
    /// Invariant: both grow.
    package private(set) var marks: [Mark] = []
    private var latest = Mark(offset: 0, since: 0)

    package static let kept = 512
    private static let apart: UInt64 = 4_000_000

    package init() {}

    package mutating func note(_ offset: JournalOffset, since: UInt64) {
        guard since > self.latest.since else { return }
        // One that says more: a log is complete at less, and later.
        while let last = self.marks.last, last.offset >= offset { self.marks.removeLast() }
        self.latest = Mark(offset: offset, since: since)
        if let last = self.marks.last, since - last.since < Self.apart { return }
        self.marks.append(self.latest)
        if self.marks.count > Self.kept { self.thin(now: since) }
    }

    private mutating func thin(now: UInt64) {
        var thinned: [Mark] = []
        thinned.reserveCapacity(Self.kept)
        for (i, mark) in self.marks.enumerated() {
            let end = i + 1 < self.marks.count ? self.marks[i + 1].since : now
            // Without it the one before it serves.
            if let before = thinned.last, end - before.since <= (now - before.since) / 8 { continue }
            thinned.append(mark)
        }
        if thinned.count > Self.kept { thinned.removeFirst(thinned.count - Self.kept) }
        self.marks = thinned
    }

    /// The latest moment of which it is known that all acknowledged before it is at or below `offset`.
    package func since(at offset: JournalOffset) -> UInt64? {
        if self.latest.since > 0, offset >= self.latest.offset { return self.latest.since }
        var (low, high) = (0, self.marks.count)
        while low < high {
            let middle = (low + high) / 2
            if self.marks[middle].offset <= offset { low = middle + 1 } else { high = middle }
        }
        return low == 0 ? nil : self.marks[low - 1].since
    }
}
