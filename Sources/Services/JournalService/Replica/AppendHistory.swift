package import Raft

/// When which part of the log was proposed here, so that a peer's lag can be said in time and bytes.
///
/// A few hundred marks: the newest are some milliseconds apart, older ones are thinned out, so a lag is known to an eighth of itself.
package struct AppendHistory {
    private struct Mark {
        var through: LogIndex
        /// Of all that was proposed since this log began to be kept, up to here.
        var bytes: UInt64
        /// Monotonic, of the first entry behind the mark before.
        var at: UInt64
    }
    private var marks: [Mark] = []
    private var bytes: UInt64 = 0
    /// Last entry before the first mark, and `bytes` there.
    private var start: (index: LogIndex, bytes: UInt64) = (0, 0)

    private static let kept = 512
    private static let apart: UInt64 = 5_000_000

    package init() {}

    package mutating func add(through index: LogIndex, count: Int, bytes: Int, at now: UInt64) {
        // Another leader's entries may stand between.
        if let last = self.marks.last, index <= last.through { self.marks.removeAll { $0.through >= index } }
        if self.marks.isEmpty { self.start = (index - UInt64(count), self.bytes) }
        self.bytes += UInt64(bytes)
        if let last = self.marks.last, now - last.at < Self.apart {
            self.marks[self.marks.count - 1].through = index
            self.marks[self.marks.count - 1].bytes = self.bytes
            return
        }
        self.marks.append(Mark(through: index, bytes: self.bytes, at: now))
        guard self.marks.count > Self.kept else { return }
        // Neighbours become one, at the earlier time, where that blurs their age by an eighth at most: so their number grows with the
        // logarithm of the age.
        var thinned: [Mark] = []
        thinned.reserveCapacity(Self.kept)
        for (i, mark) in self.marks.enumerated() {
            let end = i + 1 < self.marks.count ? self.marks[i + 1].at : now
            if let before = thinned.last, end - before.at <= (now - before.at) / 8 {
                thinned[thinned.count - 1].through = mark.through
                thinned[thinned.count - 1].bytes = mark.bytes
            } else {
                thinned.append(mark)
            }
        }
        self.marks = thinned
    }

    /// What lies behind an entry: bytes, and when the first of it was proposed, or at least the first of this leader's; nil if
    /// this leader proposed nothing behind it.
    package func after(_ index: LogIndex) -> (bytes: UInt64, since: UInt64)? {
        var low = 0
        var high = self.marks.count
        while low < high {
            let middle = (low + high) / 2
            if self.marks[middle].through > index { high = middle } else { low = middle + 1 }
        }
        guard low < self.marks.count else { return nil }
        let before = low > 0 ? (index: self.marks[low - 1].through, bytes: self.marks[low - 1].bytes) : self.start
        let here = self.marks[low]
        // Within a mark entries count as equally large; those from before the first as what came behind them.
        if index >= before.index {
            let share = Double(index - before.index) / Double(here.through - before.index)
            let part = min(here.bytes - before.bytes, UInt64(Double(here.bytes - before.bytes) * share))
            return (self.bytes - before.bytes - part, here.at)
        }
        let known = Double(self.bytes - before.bytes) / Double(self.marks[self.marks.count - 1].through - before.index)
        return (self.bytes - before.bytes + UInt64(known * Double(before.index - index)), here.at)
    }
}
