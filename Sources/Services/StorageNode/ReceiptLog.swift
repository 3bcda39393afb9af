package import FileStore
package import Primitives
internal import Synchronization

/// When this replica made a range of a partition's entries searchable.
package struct ReceiptRange: Sendable, Equatable {
    package var first: JournalOffset
    package var last: JournalOffset
    /// When `last` became searchable; earlier ones of the range at most ``ReceiptLog/coalesceMilliseconds`` before.
    package var appliedHLC: HLCTimestamp
}

/// Receipts of one partition's replay: in memory for lineage, and in a file so that they outlive a restart.
///
/// Receipts are notes, not data: they are written without fsync, and a damaged tail is cut when they are read. Ranges that
/// follow each other within ``coalesceMilliseconds`` become one. Limit: ``maxRanges``; the oldest go.
package final class ReceiptLog: Sendable {
    package static let coalesceMilliseconds: UInt64 = 100
    /// 24 MiB of memory and file; at ten ranges a second of steady writing, more than a day.
    package static let maxRanges = 1_000_000
    private static let recordBytes = 24

    private struct State {
        var ranges: [ReceiptRange] = []
        /// Where a new ascending run of ranges begins: at 0, and wherever replay began again further back.
        var runs: [Int] = []
        /// Start of the open range's time window.
        var openSince: UInt64 = 0
        /// Ranges before this index are in the file.
        var written = 0
        var fileBytes = 0

        mutating func append(_ range: ReceiptRange) {
            if let last = self.ranges.last, range.first > last.last {} else { self.runs.append(self.ranges.count) }
            self.ranges.append(range)
        }

        mutating func indexRuns() {
            self.runs = self.ranges.indices.filter { $0 == 0 || self.ranges[$0].first <= self.ranges[$0 - 1].last }
        }
    }
    private let state: Mutex<State>
    /// Nil: in memory alone.
    private let file: (any File)?

    /// In memory alone.
    package init() {
        self.file = nil
        self.state = Mutex(State())
    }

    /// - Parameter folder: Made if absent.
    package init(path: String, in folder: String, files: any FileStore) throws(VecraftError) {
        do throws(FileFault) {
            try files.createDirectory(folder)
            var state = State()
            let file = try files.open(path, .create)
            let size = try file.size()
            let bytes = size == 0 ? [] : try files.readWhole(path, limit: 2 * Self.maxRanges * Self.recordBytes)
            Self.decode(bytes, into: &state.ranges)
            state.indexRuns()
            state.written = state.ranges.count
            state.fileBytes = state.ranges.count * Self.recordBytes
            self.file = file
            self.state = Mutex(state)
        } catch {
            throw VecraftError(.unavailable, "receipts cannot be kept: \(error)")
        }
    }

    /// Notes that `first...last` is searchable now. Offsets only grow, except after a shard had to begin again.
    package func note(_ first: JournalOffset, _ last: JournalOffset, at now: HLCTimestamp) {
        self.state.withLock { state in
            if var open = state.ranges.last, state.written < state.ranges.count, open.last + 1 == first,
                now.milliseconds < state.openSince + Self.coalesceMilliseconds
            {
                open.last = last
                open.appliedHLC = now
                state.ranges[state.ranges.count - 1] = open
                return
            }
            self.flush(&state)
            state.append(ReceiptRange(first: first, last: last, appliedHLC: now))
            state.openSince = now.milliseconds
        }
    }

    package func flush() { self.state.withLock { self.flush(&$0) } }

    package func close() {
        self.flush()
        self.file?.close()
    }

    /// The receipt that covers an offset: the first time it was applied here.
    package func receipt(for offset: JournalOffset) -> ReceiptRange? {
        self.state.withLock { state in
            for (i, start) in state.runs.enumerated() {
                var low = start
                var high = i + 1 < state.runs.count ? state.runs[i + 1] : state.ranges.count
                while low < high {
                    let middle = (low + high) / 2
                    if state.ranges[middle].last < offset { low = middle + 1 } else { high = middle }
                }
                let end = i + 1 < state.runs.count ? state.runs[i + 1] : state.ranges.count
                if low < end, state.ranges[low].first <= offset { return state.ranges[low] }
            }
            return nil
        }
    }

    private func flush(_ state: inout State) {
        guard state.written < state.ranges.count else { return }
        if state.ranges.count > Self.maxRanges {
            state.ranges.removeFirst(state.ranges.count - Self.maxRanges / 2)
            state.indexRuns()
            state.written = 0
            state.fileBytes = 0
            try? self.file?.truncate(to: 0)
        }
        guard let file = self.file else {
            state.written = state.ranges.count
            return
        }
        var writer = ByteWriter(reserving: (state.ranges.count - state.written) * Self.recordBytes)
        for range in state.ranges[state.written...] {
            writer.write(range.first)
            writer.write(range.last)
            writer.write(range.appliedHLC.rawValue)
        }
        // A full disk costs receipts of later restarts, nothing else.
        let done: Void? = try? file.write(writer.bytes, at: state.fileBytes)
        if done != nil { state.fileBytes += writer.count }
        state.written = state.ranges.count
    }

    private static func decode(_ bytes: [UInt8], into ranges: inout [ReceiptRange]) {
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            while let first: UInt64 = try? reader.read(), let last: UInt64 = try? reader.read(),
                let hlc: UInt64 = try? reader.read()
            {
                guard first >= 1, first <= last, hlc != 0 else { return }
                ranges.append(ReceiptRange(first: first, last: last, appliedHLC: HLCTimestamp(rawValue: hlc)))
            }
        }
    }
}
