internal import FileStore
package import JournalFormat
package import Primitives
internal import Synchronization

/// Where entries with a key are.
package struct LineageHits: Sendable {
    /// Ascending, each once. Candidates: read them to be sure.
    package var offsets: [JournalOffset] = []
    /// Everything from here on was looked at; go on below it for more.
    package var from: JournalOffset
    /// Segments that were looked at, and those that had a candidate or no index.
    package var segments = 0
    package var segmentsRead = 0
    /// Entries read because no index had them yet.
    package var scanned = 0
}

/// Finds entries of one partition by key: sealed segments by the file beside each, the rest by keys kept in memory, which a question
/// brings up to date (at most a segment's reading, and each entry once).
final class LineageIndex: Sendable {
    /// Opened files whose heads are kept; 1 KiB each of a full segment. Beyond it all are forgotten and read again.
    private static let maxHeads = 4096

    private struct Tail {
        let sequence: UInt64
        let salt: UInt32
        var keys: LineageKeys
    }
    private struct State {
        var tail: Tail?
        var heads: [String: LineageIndexFile] = [:]
    }
    private let state = Mutex(State())
    /// Held while a file is made: a question and the keeper may both find that it is missing.
    private let making = Mutex<Void>(())
    private let files: any FileStore
    let isKept: Bool

    /// - Parameter isKept: Files are written; else each question reads the sealed segments.
    init(files: any FileStore, isKept: Bool) {
        self.files = files
        self.isKept = isKept
    }

    /// Looks from the newest segment back until at least `count` candidates are found, or nothing older is left.
    ///
    /// - Parameter below: Only offsets below it.
    func find(
        _ keys: [LineageKey], in log: PartitionLog, below: JournalOffset, atLeast count: Int, deadline: UInt64
    ) throws(VecraftError) -> LineageHits {
        let committed = log.committed
        let end = min(below, committed + 1)
        var hits = LineageHits(from: end)
        let segments = log.segments.withLock { segments in
            segments.map { segment in
                var bare = segment
                bare.index = SparseIndex()
                return bare
            }
        }
        let first = log.firstOffset
        var groups: [[JournalOffset]] = []
        var found = 0
        for (i, segment) in segments.enumerated().reversed() where segment.firstOffset < end {
            guard found < count else { break }
            hits.segments += 1
            let isSealed = i < segments.count - 1 && segment.lastOffset <= committed
            guard
                let offsets = try self.offsets(
                    in: segment, isSealed: isSealed, log, keys, through: committed, deadline, &hits)
            else { break }
            let own = offsets.filter { $0 < end && $0 >= first }
            groups.append(own)
            found += own.count
            hits.from = max(segment.firstOffset, first)
        }
        if found < count { hits.from = min(hits.from, first) }
        hits.offsets = groups.reversed().flatMap { $0 }
        return hits
    }

    /// - Returns: Nil if the segment was trimmed meanwhile, and with it all that is older.
    private func offsets(
        in segment: Segment, isSealed: Bool, _ log: PartitionLog, _ keys: [LineageKey],
        through committed: JournalOffset,
        _ deadline: UInt64, _ hits: inout LineageHits
    ) throws(VecraftError) -> [JournalOffset]? {
        while true {
            let first = log.firstOffset
            do throws(VecraftError) {
                return isSealed
                    ? try self.sealed(segment, log, keys, deadline, &hits)
                    : try self.tail(segment, log, keys, through: committed, deadline, &hits)
            } catch {
                guard error.reason == "TRIMMED" else { throw error }
                if segment.lastOffset < log.firstOffset { return nil }
                // A part of it was: what is left is looked at.
                guard log.firstOffset > first else { throw error }
            }
        }
    }

    // MARK: Sealed segments

    private func sealed(
        _ segment: Segment, _ log: PartitionLog, _ keys: [LineageKey], _ deadline: UInt64, _ hits: inout LineageHits
    ) throws(VecraftError) -> [JournalOffset] {
        let path = SegmentName.lineage(ofSegmentAt: segment.path)
        let known = self.state.withLock { $0.heads[path] }
        if let index = known ?? LineageIndexFile(of: segment, at: path, self.files),
            index.firstOffset == segment.firstOffset,
            index.lastOffset == segment.lastOffset, let offsets = index.offsets(of: keys, self.files)
        {
            if known == nil { self.remember(index, path) }
            if !offsets.isEmpty { hits.segmentsRead += 1 }
            return offsets
        }
        self.state.withLock { _ = $0.heads.removeValue(forKey: path) }
        hits.segmentsRead += 1
        hits.scanned += Int(segment.lastOffset - segment.firstOffset) + 1
        return try self.make(segment, log, deadline).offsets(of: keys)
    }

    private func remember(_ index: LineageIndexFile, _ path: String) {
        self.state.withLock { state in
            if state.heads.count >= Self.maxHeads { state.heads.removeAll() }
            state.heads[path] = index
        }
    }

    /// Reads a sealed segment and writes its file; one that cannot be written costs the next question the same.
    private func make(_ segment: Segment, _ log: PartitionLog, _ deadline: UInt64) throws(VecraftError) -> LineageKeys {
        var keys = LineageKeys(from: max(segment.firstOffset, log.firstOffset))
        try self.read(&keys, through: segment.lastOffset, log, deadline)
        // Half of a segment, or one that is not committed to its end, has no file: it would hide what is not in it.
        if keys.firstOffset == segment.firstOffset, keys.next == segment.lastOffset + 1 {
            self.store(keys, of: segment, log)
        }
        return keys
    }

    /// Not synced: what a crash leaves of it is noticed by its checksums, and made again.
    func store(_ keys: LineageKeys, of segment: Segment, _ log: PartitionLog) {
        guard self.isKept else { return }
        let path = SegmentName.lineage(ofSegmentAt: segment.path)
        let bytes = LineageIndexFile.encode(keys, of: segment)
        self.making.withLock { _ in
            // A segment that was cut or trimmed meanwhile must not get one.
            guard log.segments.withLock({ $0.contains { $0.path == segment.path && $0.salt == segment.salt } }) else {
                return
            }
            try? AtomicFile.replace(path, with: bytes, in: self.files, isDurable: false)
        }
    }

    /// Runs `body` while no file is being made. Of segments that the log has no more none is made afterwards either, so what `body` removes
    /// stays removed. Waits for at most one file's writing.
    func whileNoneIsMade(_ body: () throws(FileFault) -> Void) throws(FileFault) {
        try self.making.withLock { (_) throws(FileFault) in try body() }
    }

    /// Makes the file of a sealed segment that has none: of an earlier release, after a crash, or of a log that came whole.
    func makeIfMissing(_ segment: Segment, _ log: PartitionLog) {
        guard self.isKept, segment.lastOffset <= log.committed,
            !self.files.exists(SegmentName.lineage(ofSegmentAt: segment.path))
        else { return }
        _ = try? self.make(segment, log, .max)
    }

    // MARK: The rest

    private func tail(
        _ segment: Segment, _ log: PartitionLog, _ keys: [LineageKey], through committed: JournalOffset,
        _ deadline: UInt64, _ hits: inout LineageHits
    ) throws(VecraftError) -> [JournalOffset] {
        let last = min(committed, segment.lastOffset)
        // Taken out while it grows: a question that comes meanwhile reads for itself instead of waiting.
        var tail =
            self.state.withLock { state -> Tail? in
                guard let tail = state.tail, tail.sequence == segment.sequence, tail.salt == segment.salt else {
                    return nil
                }
                state.tail = nil
                return tail
            }
            ?? Tail(
                sequence: segment.sequence, salt: segment.salt,
                keys: LineageKeys(from: max(segment.firstOffset, log.firstOffset)))
        let before = tail.keys.next
        defer {
            let grown = tail
            self.state.withLock { state in
                if let other = state.tail, other.sequence > grown.sequence || other.keys.next > grown.keys.next {
                    return
                }
                state.tail = grown
            }
        }
        try self.read(&tail.keys, through: last, log, deadline)
        hits.segmentsRead += 1
        hits.scanned += Int(tail.keys.next - before)
        return tail.keys.offsets(of: keys)
    }

    private func read(
        _ keys: inout LineageKeys, through last: JournalOffset, _ log: PartitionLog, _ deadline: UInt64
    ) throws(VecraftError) {
        while keys.next <= last {
            guard SystemClock.monotonicNanoseconds() < deadline else {
                throw VecraftError(
                    .deadlineExceeded, "the scan of \(log.partition) reached \(keys.next) when its time ended",
                    reason: "SCAN_UNFINISHED")
            }
            let batch = try log.read(from: keys.next, maxBytes: 4 << 20)
            guard !batch.isEmpty else { return }
            withExtendedLifetime(batch) {
                for view in batch where view.offset <= last { keys.add(view) }
            }
        }
    }
}

extension PartitionLog {
    /// The first committed entry with an HLC of at least `time`; one behind the last committed if there is none.
    func offset(atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        let committed = self.committed
        let first = self.firstOffset
        guard committed >= first else { return committed + 1 }
        let found = self.segments.withLock { segments in
            segments.first { !$0.isEmpty && $0.lastHLC >= time }.map { ($0.firstOffset, $0.lastOffset) }
        }
        guard let found else { return committed + 1 }
        var low = max(found.0, first)
        var high = min(found.1, committed) + 1
        while low < high {
            let middle = low + (high - low) / 2
            let batch = try self.read(from: middle, maxBytes: 1)
            guard !batch.isEmpty else { return committed + 1 }
            let hlc = withExtendedLifetime(batch) { batch.view(0).hlc }
            if hlc >= time { high = middle } else { low = middle + 1 }
        }
        return min(low, committed + 1)
    }
}

extension JournalPartition {
    /// Where entries with one of the keys are, newest segments first: see ``LineageHits``.
    package func find(
        _ keys: [LineageKey], below: JournalOffset, atLeast count: Int, deadline: UInt64 = .max
    ) throws(VecraftError) -> LineageHits {
        try self.log.lineage.find(keys, in: self.log, below: below, atLeast: count, deadline: deadline)
    }

    /// The first committed entry with an HLC of at least `time`; one behind the last committed if there is none.
    package func offset(atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        try self.log.offset(atOrAfter: time)
    }
}

extension ReplicaStore {
    /// As of ``JournalPartition/find(_:below:atLeast:deadline:)``.
    package func find(
        _ keys: [LineageKey], below: JournalOffset, atLeast count: Int, deadline: UInt64 = .max
    ) throws(VecraftError) -> LineageHits {
        try self.log.lineage.find(keys, in: self.log, below: below, atLeast: count, deadline: deadline)
    }

    package func offset(atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        try self.log.offset(atOrAfter: time)
    }
}
