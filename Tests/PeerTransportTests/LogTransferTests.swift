import Dispatch
import GRPC
import Glibc
import JournalFormat
import Primitives
import Raft
import Synchronization
import Testing

@testable import PeerTransport

/// A log of one chunk an entry.
private final class SampleLog: LogSource {
    let entryBytes: Int
    let keyCount: Int
    let read = Atomic<Int>(0)
    init(entryBytes: Int, keyCount: Int = 0) {
        self.entryBytes = entryBytes
        self.keyCount = keyCount
    }
    func frames(from offset: JournalOffset, maxBytes: Int) throws(VecraftError) -> FrameRun {
        self.read.add(1, ordering: .relaxed)
        return sampleRun(from: offset, count: 1, term: 3, bodyBytes: self.entryBytes, salt: UInt32(offset))
    }
    func keys() throws(VecraftError) -> [KeyRecord] {
        (0..<self.keyCount).map {
            KeyRecord(
                tenant: "acme", key: "key-\($0)", shard: 1, bodyHash: .max, offset: UInt64($0),
                hlc: HLCTimestamp(rawValue: 9), term: 2)
        }
    }
}

private final class SampleStaging: LogStaging {
    enum End { case finished, abandoned }
    let offsets = Mutex<[JournalOffset]>([])
    let staged = Mutex<[KeyRecord]>([])
    let ends = Mutex<[End]>([])
    let onWrite: @Sendable (FrameRun) throws(VecraftError) -> Void
    init(_ onWrite: @escaping @Sendable (FrameRun) throws(VecraftError) -> Void = { _ in }) { self.onWrite = onWrite }

    func write(_ frames: FrameRun) throws(VecraftError) {
        try self.onWrite(frames)
        self.offsets.withLock { $0 += (0..<frames.count).map { frames.firstOffset + UInt64($0) } }
    }
    func write(_ keys: [KeyRecord]) throws(VecraftError) { self.staged.withLock { $0 += keys } }
    func finish() throws(VecraftError) { self.ends.withLock { $0.append(.finished) } }
    func abandon() { self.ends.withLock { $0.append(.abandoned) } }
}

private func transfer(through: UInt64, number: UInt64 = 1) -> LogTransfer {
    LogTransfer(
        from: ReplicaID(1), to: ReplicaID(2), term: 5, number: number,
        start: LogStart(
            position: LogPosition(index: 10, term: 2),
            membership: Membership(voters: [ReplicaID(1), ReplicaID(2)], learners: [ReplicaID(7)])),
        through: LogPosition(index: through, term: 3))
}

@Suite struct LogTransferTests {
    /// Sends and gives back what `end` was told, and how often there was progress.
    private func send(
        _ transfer: LogTransfer, from source: any LogSource, over links: PeerLinks
    ) async -> (isDone: Bool, progress: Int) {
        let progress = Atomic<Int>(0)
        let isDone = await withCheckedContinuation { done in
            links.sendLog(
                transfer, partition: .data(4), from: source, progress: { progress.add(1, ordering: .relaxed) },
                end: { done.resume(returning: $0) })
        }
        return (isDone, progress.load(ordering: .relaxed))
    }

    /// The sender is never far ahead of a disk that is slow.
    @Test func aLogIsTakenAsAWholeInBoundedMemory() async throws {
        let log = SampleLog(entryBytes: 1_000_000, keyCount: 2_500)
        let ahead = Atomic<Int>(0)
        let written = Atomic<Int>(0)
        let staging = SampleStaging { (_) throws(VecraftError) in
            // A slow disk, without a clock: the sender gets every chance to run ahead.
            for _ in 0..<2_000 { sched_yield() }
            ahead.max(log.read.load(ordering: .relaxed) - written.load(ordering: .relaxed), ordering: .relaxed)
            written.add(1, ordering: .relaxed)
        }
        let got = Mutex<(LogTransfer, PartitionID)?>(nil)
        let recorder = Recorder(onStage: { (transfer, partition) throws(VecraftError) in
            got.withLock { $0 = (transfer, partition) }
            return staging
        })
        try await withPair(two: recorder) { a, b in
            let sent = transfer(through: 40)
            let (isDone, progress) = await self.send(sent, from: log, over: a.links)
            #expect(isDone && progress == 33)
            #expect(got.withLock { $0?.0 } == sent && got.withLock { $0?.1 } == .data(4))
            #expect(staging.offsets.withLock { $0 } == Array(11...40))
            let keys = try log.keys()
            #expect(staging.staged.withLock { $0 } == keys)
            #expect(staging.ends.withLock { $0 } == [.finished])
            #expect(ahead.load(ordering: .relaxed) <= 8)
        }
    }

    @Test func anEntryLargerThanAMessageIsTaken() async throws {
        let staging = SampleStaging()
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            #expect(
                await self.send(transfer(through: 12), from: SampleLog(entryBytes: 9_000_000), over: a.links).isDone)
            #expect(staging.offsets.withLock { $0 } == [11, 12])
        }
    }

    @Test func aLogWithoutEntriesIsTaken() async throws {
        let staging = SampleStaging()
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            var empty = transfer(through: 10)
            empty.through = empty.start.position
            #expect(await self.send(empty, from: SampleLog(entryBytes: 1), over: a.links).isDone)
            #expect(staging.ends.withLock { $0 } == [.finished])
        }
    }

    @Test func brokenInTheMiddleItIsAbandoned() async throws {
        let reached = DispatchSemaphore(value: 0)
        let staging = SampleStaging { (run) throws(VecraftError) in if run.firstOffset == 15 { reached.signal() } }
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            async let sent = self.send(transfer(through: 100_000), from: SampleLog(entryBytes: 100_000), over: a.links)
            await withCheckedContinuation { done in
                DispatchQueue.global().async {
                    reached.wait()
                    done.resume()
                }
            }
            await a.links.shutdown()
            #expect(await sent.isDone == false)
            try await until { staging.ends.withLock { $0 } == [.abandoned] }
        }
    }

    @Test func aDiskThatFailsEndsIt() async throws {
        let staging = SampleStaging { (run) throws(VecraftError) in
            if run.firstOffset == 13 { throw VecraftError(.resourceExhausted, "the disk is full", reason: "DISK_FULL") }
        }
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            #expect(
                await self.send(transfer(through: 30), from: SampleLog(entryBytes: 300_000), over: a.links).isDone
                    == false)
            try await until { staging.ends.withLock { $0 } == [.abandoned] }
            // The partition is free again.
            try await until { b.value("vecraft_peer_log_transfers_total", "1", "in", "failed") == 1 }
            #expect(await self.send(transfer(through: 12), from: SampleLog(entryBytes: 300), over: a.links).isDone)
        }
    }

    @Test func aLogThatIsAnotherThanItSaysIsAbandoned() async throws {
        let staging = SampleStaging()
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            var wrong = transfer(through: 12)
            wrong.through.term = 4
            #expect(await self.send(wrong, from: SampleLog(entryBytes: 300), over: a.links).isDone == false)
            try await until { staging.ends.withLock { $0 } == [.abandoned] }
        }
    }

    @Test func oneAtATimeForAPartition() async throws {
        let gate = DispatchSemaphore(value: 0)
        let hasBegun = Atomic<Bool>(false)
        let staging = SampleStaging { (_) throws(VecraftError) in
            hasBegun.store(true, ordering: .relaxed)
            gate.wait()
        }
        try await withPair(two: Recorder(onStage: { (_, _) throws(VecraftError) in staging })) { a, b in
            async let first = self.send(transfer(through: 11), from: SampleLog(entryBytes: 300), over: a.links)
            try await until { hasBegun.load(ordering: .relaxed) }
            let second = await self.send(
                transfer(through: 11, number: 2), from: SampleLog(entryBytes: 300), over: a.links)
            #expect(!second.isDone)
            gate.signal()
            #expect(await first.isDone)
        }
    }

    @Test func nobodyThere() async throws {
        let a = Node(1)
        #expect(await self.send(transfer(through: 11), from: SampleLog(entryBytes: 300), over: a.links).isDone == false)
        a.links.setPeers([ReplicaID(2): PeerAddress(host: a.host, port: 1)])
        #expect(await self.send(transfer(through: 11), from: SampleLog(entryBytes: 300), over: a.links).isDone == false)
        await a.stop()
    }
}
