import Dispatch
import FileStore
import JournalFormat
import JournalService
import JournalStore
import Observability
import Primitives
import ShardEngine
import StorageNode
import Synchronization
import TestSupport
import Testing

@Suite struct StorageNodeTests {
    private static let schemas = (1...20).map {
        CollectionSchema(
            id: UInt64($0), tenant: "default", name: "c\($0)", vectors: [VectorSchema(dimension: 4, metric: .l2)])
    }

    /// A journal and, on a disk of its own, what a storage node keeps.
    private struct Place {
        let journal: LocalJournal
        let disk = FaultyFileStore()
        let registry = MetricsRegistry()

        init(physicalClock: @escaping @Sendable () -> UInt64 = { 1_800_000_000_000 }) throws {
            self.journal = LocalJournal(
                try Journal(
                    directory: "/journal", dataPartitions: 1, files: FaultyFileStore(), physicalClock: physicalClock))
        }

        func node(_ schemas: [CollectionSchema] = StorageNodeTests.schemas) throws -> StorageNode {
            let node = try StorageNode(
                directory: "/data", settings: StorageSettings(), journal: self.journal,
                clock: self.journal.journal.clock,
                files: self.disk, metrics: StorageMetrics(self.registry))
            try node.start(schemas) { (_) throws(VecraftError) in [] }
            return node
        }

        /// Appends an entry of no collection, and waits until the node has applied it.
        func write(_ node: StorageNode) async throws {
            let header = EntryHeader(
                partition: .data(0), tier: .batch, operation: .barrier, tenant: "default",
                trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
            let entry = [UInt8]().withUnsafeBytes { EncodedEntry.raw(header: header, body: $0) }
            let appended = try await self.journal.append(entry, to: .data(0))
            let waiters = try #require(node.replay(.data(0))).waiters
            try await withCheckedThrowingContinuation { done in
                _ = waiters.wait(for: appended.offset) { done.resume(with: $0.map { _ in }) }
            }
        }
    }

    /// A journal of several nodes, whose order was closed by a clock that is ahead of this node's.
    private struct Skewed: JournalClient {
        let local: LocalJournal
        let clockSkewMilliseconds: UInt64
        let closed: UInt64
        var since: UInt64?
        var isReplicated: Bool { true }
        var partitions: [PartitionID] { self.local.partitions }

        func freshness(of partition: PartitionID, at offset: JournalOffset) -> UInt64? { self.since }
        func append(
            _ entry: EncodedEntry, to partition: PartitionID,
            completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
        ) { self.local.append(entry, to: partition, completion: completion) }
        func readIndex(
            _ partition: PartitionID, completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
        ) { self.local.readIndex(partition, completion: completion) }
        func position(_ partition: PartitionID) throws(VecraftError) -> JournalPosition {
            var position = try self.local.position(partition)
            position.closed = HLCTimestamp(milliseconds: self.closed, counter: 0)
            return position
        }
        func read(_ partition: PartitionID, from: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch {
            try self.local.read(partition, from: from, maxBytes: maxBytes)
        }
        func find(
            _ keys: [LineageKey], in partition: PartitionID, below: JournalOffset, atLeast count: Int, deadline: UInt64
        ) throws(VecraftError) -> LineageHits {
            try self.local.find(keys, in: partition, below: below, atLeast: count, deadline: deadline)
        }
        func offset(in partition: PartitionID, atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
            try self.local.offset(in: partition, atOrAfter: time)
        }
        func onCommit(
            _ partition: PartitionID, _ callback: @escaping @Sendable (JournalOffset) -> Void
        ) throws(VecraftError) -> Subscription { try self.local.onCommit(partition, callback) }
        func status(_ partition: PartitionID) throws(VecraftError) -> JournalPartitionStatus {
            try self.local.status(partition)
        }
        func verify(_ partition: PartitionID, deadline: UInt64) throws(VecraftError) -> PartitionReport {
            try self.local.verify(partition, deadline: deadline)
        }
    }

    /// A leader whose clock is 10 s ahead promised 3 s ago: by its stamp that is still to come, and a bounded read must not believe it.
    @Test func agesAllowForClocksThatAreAhead() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let closed = SystemTime.coarseMilliseconds - 3_000 + 10_000
        let journal = Skewed(local: place.journal, clockSkewMilliseconds: 10_000, closed: closed)
        let node = try StorageNode(
            directory: "/data", settings: StorageSettings(), journal: journal, clock: place.journal.journal.clock,
            files: place.disk, metrics: StorageMetrics(place.registry))
        try node.start([]) { (_) throws(VecraftError) in [] }
        let state = try #require(node.replay(.data(0))).state()
        #expect(state.applied == state.committed)
        #expect((3_000..<600_000).contains(state.stalenessMilliseconds))
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
    }

    /// Where it is known when the journal was last complete at an offset, no wall clock has a say: neither the leader's, which is 10 s ahead and
    /// believed to be right, nor this node's.
    @Test func agesGoByTheClockThatNobodySets() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let journal = Skewed(
            local: place.journal, clockSkewMilliseconds: 0, closed: SystemTime.coarseMilliseconds + 10_000,
            since: SystemTime.steadyNanoseconds - 3_000_000_000)
        let node = try StorageNode(
            directory: "/data", settings: StorageSettings(), journal: journal, clock: place.journal.journal.clock,
            files: place.disk, metrics: StorageMetrics(place.registry))
        try node.start([]) { (_) throws(VecraftError) in [] }
        let replay = try #require(node.replay(.data(0)))
        #expect((3_000..<600_000).contains(try replay.state().stalenessMilliseconds))
        #expect((3_000..<600_000).contains(replay.staleness(applied: replay.waiters.applied, since: replay.mark)))
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
    }

    /// Replay goes on between the reading of a shard and the answer: how old that is depends on what it lacks, not on what came since.
    @Test func theAgeOfAnAnswerIsThatOfWhatItLacks() async throws {
        let place = try Place(physicalClock: { SystemTime.coarseMilliseconds })
        defer { place.journal.journal.close() }
        let node = try place.node([])
        try await place.write(node)
        let replay = try #require(node.replay(.data(0)))
        let (mark, applied) = (replay.mark, replay.waiters.applied)
        #expect(mark.offset == applied)
        try await place.write(node)
        // Coarse clocks lag behind the sleep's.
        try await Task.sleep(for: .milliseconds(100))
        try await place.write(node)
        #expect(replay.staleness(applied: applied, since: mark) >= 60)
        #expect(replay.staleness(applied: replay.waiters.applied, since: mark) == 0)
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
    }

    /// What is wrong with an entry may belong to one shard alone; all pass over it, or one would have half of a request.
    @Test func anEntryIsAppliedByAllShardsOrByNone() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let schema = CollectionSchema(
            id: 7, tenant: "default", name: "c", vectors: [VectorSchema(dimension: 2, metric: .l2)], shards: 8)
        let node = try place.node([schema])
        func append(_ ids: [String], wrong: String? = nil) async throws -> JournalOffset {
            var size = UpsertSizer()
            for id in ids {
                size.point(idBytes: id.utf8.count, payloadBytes: nil)
                size.vector(nameBytes: 0, dimension: id == wrong ? 3 : 2)
            }
            let header = EntryHeader(
                partition: .data(0), tier: .batch, operation: .upsert, tenant: "default", collection: 7,
                trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
            let entry = EncodedEntry.upsert(header: header, size: size) { writer in
                for id in ids {
                    var text = id
                    text.withUTF8 { writer.point(id: UnsafeRawBufferPointer($0), payload: nil, vectors: 1) }
                    let values: [Float] = id == wrong ? [1, 2, 3] : [1, 2]
                    values.withUnsafeBytes {
                        writer.vector(name: UnsafeRawBufferPointer(start: nil, count: 0), packed: $0)
                    }
                }
            }
            return try await self.appendAndApply(entry, place, node)
        }
        let ids = (0..<64).map { "p\($0)" }
        _ = try await append(ids)
        let replica = try #require(node.replica(7))
        #expect(replica.isWhole && replica.shards.allSatisfy { $0.engine.statistics.points > 0 })
        let digest = replica.digest
        let bad = try await append((64..<128).map { "p\($0)" }, wrong: "p100")
        #expect(replica.digest == digest)
        #expect(replica.shards.reduce(0) { $0 + $1.engine.statistics.points } == 64)
        #expect(replica.shards.allSatisfy { $0.engine.applied == bad }, "passed over, not stopped at")
        let page = String(decoding: place.registry.page(.text), as: UTF8.self)
        #expect(page.contains("vecraft_storage_entries_refused_total{partition=\"data-0\"} 1\n"))
        _ = try await append(["after"])
        #expect(replica.shards.reduce(0) { $0 + $1.engine.statistics.points } == 65)
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
    }

    private func appendAndApply(
        _ entry: EncodedEntry, _ place: Place, _ node: StorageNode
    ) async throws -> JournalOffset {
        let appended = try await place.journal.append(entry, to: .data(0))
        let waiters = try #require(node.replay(.data(0))).waiters
        try await withCheckedThrowingContinuation { done in
            _ = waiters.wait(for: appended.offset) { done.resume(with: $0.map { _ in }) }
        }
        return appended.offset
    }

    @Test func aStopWithTimeMakesEverythingDurable() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let node = try place.node()
        try await place.write(node)
        try await place.write(node)
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
        let again = try place.node()
        #expect(again.replay(.data(0))?.start == 2)
        #expect(try await offThePool { again.stop(within: .zero) })
    }

    @Test func aStopWithoutTimeLeavesTheRestToTheJournal() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let node = try place.node()
        try await place.write(node)
        #expect(try await offThePool { node.stop(within: .zero) })
        let again = try place.node()
        #expect(again.replay(.data(0))?.start == 0, "nothing was checkpointed, so all is replayed")
        try await place.write(again)
        #expect(try await offThePool { again.stop(within: .seconds(3_600)) })
        #expect(try place.node().replay(.data(0))?.start == 2)
    }

    /// Without a limit this test would not end.
    @Test func aDiskThatDoesNotAnswerDoesNotHoldAStopUp() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let node = try place.node()
        try await place.write(node)
        let gate = DispatchSemaphore(value: 0)
        place.disk.beforeWritesAndSyncs { _, path in
            guard path.contains("/shards/") else { return }
            gate.wait()
            gate.signal()
        }
        let isDone = try await offThePool { node.stop(within: .seconds(1)) }
        #expect(!isDone)
        place.disk.beforeWritesAndSyncs(nil)
        gate.signal()
    }

    @Test func aDroppedCollectionLeavesNoSeries() async throws {
        let place = try Place()
        defer { place.journal.journal.close() }
        let node = try place.node([])
        try await place.write(node)
        for schema in Self.schemas { try node.create(schema) }
        node.collect()
        func lines() -> [Substring] {
            String(decoding: place.registry.page(), as: UTF8.self).split(separator: "\n").filter {
                $0.contains("collection=\"c")
            }
        }
        #expect(lines().contains { $0.hasPrefix("vecraft_storage_checkpoint_duration_seconds_bucket") })
        for schema in Self.schemas.dropLast() { node.drop(schema) }
        node.collect()
        #expect(lines().allSatisfy { $0.contains("collection=\"c20\"") }, "\(lines().prefix(5))")
        #expect(!lines().isEmpty)
        node.drop(Self.schemas[19])
        #expect(lines() == [])
        #expect(try await offThePool { node.stop(within: .seconds(3_600)) })
    }
}
