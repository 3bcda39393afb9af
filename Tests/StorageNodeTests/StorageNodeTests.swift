import Dispatch
import FileStore
import JournalFormat
import JournalService
import JournalStore
import Observability
import Primitives
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

        init() throws {
            self.journal = LocalJournal(
                try Journal(
                    directory: "/journal", dataPartitions: 1, files: FaultyFileStore(),
                    physicalClock: { 1_800_000_000_000 }))
        }

        func node(_ schemas: [CollectionSchema] = StorageNodeTests.schemas) throws -> StorageNode {
            let node = try StorageNode(
                directory: "/data", settings: StorageSettings(), journal: self.journal, clock: self.journal.journal.clock,
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
            String(decoding: place.registry.page(), as: UTF8.self).split(separator: "\n").filter { $0.contains("collection=\"c") }
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
