internal import JournalFormat
internal import JournalStore
internal import Primitives
internal import Raft
internal import Synchronization

/// The newest entries in memory: what peers are sent without the disk, and what no disk has yet. The replica's thread alone.
///
/// Invariant: consecutive runs; what is not durable is never let go.
final class ReplicaWindow: RaftLogView, @unchecked Sendable {  // the replica's thread alone
    private var runs: [FrameRun] = []
    private var head = 0
    private(set) var bytes = 0
    private let store: ReplicaStore

    /// What a peer may have in flight, and as much again for one that asks a second time.
    private static let limitBytes = 16 << 20

    init(_ store: ReplicaStore) { self.store = store }

    var first: LogIndex? { self.head < self.runs.count ? self.runs[self.head].firstOffset : nil }

    func append(_ run: FrameRun) {
        self.runs.append(run)
        self.bytes += run.bytes.count
    }

    func truncate(from index: LogIndex) {
        while self.head < self.runs.count, let last = self.runs.last, last.lastOffset >= index {
            self.runs.removeLast()
            self.bytes -= last.bytes.count
            if last.firstOffset < index { self.append(last.prefix(through: index - 1)) }
        }
    }

    func removeAll() {
        self.runs.removeAll()
        self.head = 0
        self.bytes = 0
    }

    func forEach(_ body: (FrameRun) -> Void) { for run in self.runs[self.head...] { body(run) } }

    /// Lets go of the oldest that are durable, down to the limit.
    func evict(durable: LogIndex) {
        while self.bytes > Self.limitBytes, self.head < self.runs.count, self.runs[self.head].lastOffset <= durable {
            self.bytes -= self.runs[self.head].bytes.count
            self.head += 1
        }
        if self.head > 256, self.head > self.runs.count / 2 {
            self.runs.removeFirst(self.head)
            self.head = 0
        }
    }

    /// Exactly these entries, if all are here.
    func run(_ first: LogIndex, _ last: LogIndex) -> FrameRun? {
        guard var i = self.place(of: first), self.runs[self.runs.count - 1].lastOffset >= last else { return nil }
        let run = self.runs[i]
        if run.lastOffset >= last {
            if run.firstOffset == first && run.lastOffset == last { return run }
            return run.suffix(from: first).prefix(through: last)
        }
        var parts = [run.firstOffset == first ? run : run.suffix(from: first)]
        while self.runs[i].lastOffset < last {
            i += 1
            parts.append(self.runs[i].lastOffset <= last ? self.runs[i] : self.runs[i].prefix(through: last))
        }
        return FrameRun(joining: parts)
    }

    private func place(of index: LogIndex) -> Int? {
        guard let first = self.first, index >= first else { return nil }
        var low = self.head
        var high = self.runs.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if self.runs[middle].firstOffset <= index { low = middle } else { high = middle }
        }
        return low
    }

    func extent(from first: LogIndex, through last: LogIndex, maxBytes: Int) -> (last: LogIndex, bytes: Int) {
        guard var i = self.place(of: first) else {
            return self.store.extent(from: first, through: min(last, max(first, (self.first ?? .max) - 1)), maxBytes: maxBytes)
        }
        var end = first - 1
        var bytes = 0
        var k = Int(first - self.runs[i].firstOffset)
        while end < last {
            if k == self.runs[i].count {
                i += 1
                k = 0
                guard i < self.runs.count else { break }
            }
            let frame = Frame.headBytes + self.runs[i].ranges[k].count
            guard end < first || bytes + frame <= maxBytes else { break }
            bytes += frame
            end += 1
            k += 1
        }
        return (max(end, first), bytes)
    }
}

extension FrameRun {
    /// Runs that follow each other, in one piece of memory.
    init(joining runs: [FrameRun]) {
        let total = runs.reduce(0) { $0 + $1.ranges.reduce(0) { $0 + Frame.headBytes + $1.count } }
        let buffer = AlignedBytes(bytes: total)
        var ranges: [Range<Int>] = []
        var position = 0
        for run in runs {
            for i in 0..<run.count {
                let entry = run[i]
                let end = position + Frame.headBytes + entry.count
                let frame = UnsafeMutableRawBufferPointer(rebasing: buffer.raw[position..<end])
                Frame.writeHead(
                    into: UnsafeMutableRawBufferPointer(rebasing: frame[..<Frame.headBytes]), entry: entry, durableThrough: 0,
                    salt: FrameRun.ownSalt)
                UnsafeMutableRawBufferPointer(rebasing: frame[Frame.headBytes...]).copyMemory(from: entry)
                ranges.append(position + Frame.headBytes..<end)
                position = end
            }
        }
        self.init(trusted: buffer, ranges: ranges, firstOffset: runs[0].firstOffset, salt: FrameRun.ownSalt)
    }

    /// Of frames that were made in memory.
    static let ownSalt: UInt32 = 0

    /// Entries stamped one behind the other.
    init(stamping entries: [(entry: EncodedEntry, arrived: HLCTimestamp)], from first: JournalOffset, term: UInt64, now: () -> HLCTimestamp) {
        let total = entries.reduce(0) { $0 + Frame.headBytes + $1.entry.bytes.count }
        let buffer = AlignedBytes(bytes: total)
        var ranges: [Range<Int>] = []
        ranges.reserveCapacity(entries.count)
        var position = 0
        for (i, pending) in entries.enumerated() {
            let end = position + Frame.headBytes + pending.entry.bytes.count
            let frame = UnsafeMutableRawBufferPointer(rebasing: buffer.raw[position..<end])
            pending.entry.bytes.withUnsafeBytes { bytes in
                Frame.write(
                    into: UnsafeMutableRawBufferPointer(rebasing: frame[..<Frame.stampedBytes]), entry: bytes,
                    offset: first + UInt64(i), term: term, hlc: now(), appendedStart: pending.arrived, durableThrough: 0,
                    salt: FrameRun.ownSalt)
                UnsafeMutableRawBufferPointer(rebasing: frame[Frame.stampedBytes...])
                    .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[EntryLayout.fixedBytes...]))
            }
            ranges.append(position + Frame.headBytes..<end)
            position = end
        }
        self.init(trusted: buffer, ranges: ranges, firstOffset: first, salt: FrameRun.ownSalt)
    }
}
