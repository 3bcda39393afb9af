import FileStore
import Foundation
import GRPC
import JournalFormat
import JournalStore
import Primitives
import TestSupport
import Testing
import Wire

/// Entries that come ready made: by the wire, or in a journal written by somebody else.
@Suite("Entries ready made")
struct JournalWireTests {
    private struct Made {
        var id = "x"
        var values: [Float] = [1, 0, 0, 0]
        var payload: String?
        var operation = OperationKind.upsert
        var tenant = "default"
        var shard: UInt32 = 0
    }

    private func header(_ made: Made, _ collection: VecraftV1.Collection, _ partition: PartitionID) -> EntryHeader {
        EntryHeader(
            partition: partition, tier: .interactive, operation: made.operation, tenant: made.tenant,
            collection: collection.id, shard: made.shard, requestID: "r",
            trace: TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
    }

    private func upsert(_ made: Made, _ collection: VecraftV1.Collection, _ partition: PartitionID) -> EncodedEntry {
        let id = [UInt8](made.id.utf8)
        let payload = made.payload.map { [UInt8]($0.utf8) }
        var size = UpsertSizer()
        size.point(idBytes: id.count, payloadBytes: payload?.count)
        size.vector(nameBytes: 0, dimension: made.values.count)
        return EncodedEntry.upsert(header: self.header(made, collection, partition), size: size) { writer in
            id.withUnsafeBytes { id in
                if let payload {
                    payload.withUnsafeBytes { writer.point(id: id, payload: $0, vectors: 1) }
                } else {
                    writer.point(id: id, payload: nil, vectors: 1)
                }
            }
            made.values.withUnsafeBufferPointer {
                writer.vector(name: UnsafeRawBufferPointer(start: nil, count: 0), values: $0)
            }
        }
    }

    private func append(_ node: TestNode, _ entry: EncodedEntry) async throws -> VecraftInternalV1.AppendResponse {
        try VecraftInternalV1.AppendResponse.decode(
            try await node.client.unary(
                "/vecraft.internal.v1.Journal/Append",
                VecraftInternalV1.AppendRequest(partition: entry.partition.description, entry: entry.bytes).encode(),
                timeout: .seconds(20)))
    }

    @Test func whatCouldNotBeAppliedGetsNoOffset() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        let collection = try #require(try await node.create("c", dimension: 4).collection)
        let partition = try #require(PartitionID(collection.partition))
        let other: PartitionID = partition == .data(0) ? .data(1) : .data(0)

        let bad: [(EncodedEntry, VecraftError.Code, String)] = [
            (self.upsert(Made(values: [1, .nan, 0, 0]), collection, partition), .invalidArgument, "not finite"),
            (self.upsert(Made(values: [1, 0]), collection, partition), .invalidArgument, "components"),
            (self.upsert(Made(values: [0, 0, 0, 0]), collection, partition), .invalidArgument, "direction"),
            (self.upsert(Made(id: ""), collection, partition), .invalidArgument, "id"),
            (self.upsert(Made(id: "a\u{85}"), collection, partition), .invalidArgument, "control"),
            (self.upsert(Made(payload: "{\"a\":"), collection, partition), .invalidArgument, "payload"),
            (self.upsert(Made(tenant: "other"), collection, partition), .invalidArgument, "tenant"),
            (self.upsert(Made(shard: 1), collection, partition), .invalidArgument, "shard"),
            (self.upsert(Made(), collection, other), .invalidArgument, partition.description),
            (self.upsert(Made(), collection, .sys), .invalidArgument, partition.description),
            (self.upsert(Made(), VecraftV1.Collection(id: 7), partition), .notFound, "7"),
            (
                EncodedEntry.delete(header: self.header(Made(operation: .delete), collection, partition), ids: [""]),
                .invalidArgument, "id"
            ),
            (self.raw(.deleteByFilter, [9], collection, partition), .invalidArgument, "filter"),
            (
                self.raw(.deleteByFilter, [1] + [UInt8](repeating: 0, count: 12), collection, partition),
                .invalidArgument, "empty"
            ),
            (self.raw(.ddl, [2, 1, 0, 0, 0, 0, 0, 0, 0], collection, .sys), .failedPrecondition, "ddl"),
            (self.raw(.configuration, [], collection, .sys), .failedPrecondition, "configuration"),
            (self.raw(.transactionCommit, [], collection, .txn), .failedPrecondition, "transaction_commit"),
            (self.raw(.payloadPatch, [], collection, partition), .failedPrecondition, "payload_patch"),
        ]
        for (index, (entry, code, word)) in bad.enumerated() {
            let error = await #expect(throws: VecraftError.self, "\(index)") { try await self.append(node, entry) }
            #expect(error?.code == code, "\(index): \(String(describing: error))")
            #expect(error?.message.contains(word) == true, "\(index): \(String(describing: error))")
        }
        // None of them took an offset; good ones do, barriers with any body among them.
        let good = try await self.append(node, self.upsert(Made(payload: "{}"), collection, partition))
        #expect(good.offset == 1)
        let barrier = try await self.append(
            node, self.raw(.barrier, [1, 2, 3], VecraftV1.Collection(), partition))
        #expect(barrier.offset == 2)
        #expect(try await node.count("c") == 1)
        #expect(await node.stop() == 0)
    }

    private func raw(
        _ operation: OperationKind, _ body: [UInt8], _ collection: VecraftV1.Collection, _ partition: PartitionID
    ) -> EncodedEntry {
        body.withUnsafeBytes {
            EncodedEntry.raw(header: self.header(Made(operation: operation), collection, partition), body: $0)
        }
    }

    /// Should one be in the journal all the same, it changes nothing, is counted and shown, and what follows it is applied.
    @Test func oneThatCannotBeAppliedIsPassedOver() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.path + "/data"
        var node = try await TestNode(data)
        let collection = try #require(try await node.create("c", dimension: 4).collection)
        let partition = try #require(PartitionID(collection.partition))
        try await node.upsert("c", [point("a", [1, 0, 0, 0])])
        #expect(await node.stop() == 0)

        let huge = CollectionSchema(
            id: 0, tenant: "default", name: "huge", vectors: [VectorSchema(dimension: 1 << 30, metric: .cosine)])
        try await self.write(
            data,
            [
                self.upsert(Made(id: "a", values: [1, .nan, 0, 0]), collection, partition),
                self.upsert(Made(id: "b"), collection, partition),
                self.raw(.deleteByFilter, [9], collection, partition),
                self.raw(.upsert, [1, 2, 3], collection, partition),
                self.upsert(Made(id: "c"), collection, partition),
                self.raw(.ddl, [7], collection, .sys),
                EncodedEntry.ddl(header: self.header(Made(operation: .ddl), collection, .sys), .create(huge)),
            ])
        // The second start reads from a checkpoint and from the catalog's copy, behind the bad entries.
        for start in 1...2 {
            node = try await TestNode(data)
            #expect(try await node.count("c") == UInt64(start + 2))
            try await node.upsert("c", [point("later-\(start)", [1, 0, 0, 0])])
            try await node.create("d\(start)", dimension: 4)
            #expect(try await node.get("c", ["a"], vectors: true).points.first?.vector?.values == [1, 0, 0, 0])
            if start == 1 {
                let page = try await http("GET", node.server.httpPort, "/metrics").body
                #expect(page.contains("vecraft_storage_entries_refused_total{partition=\"\(partition)\"} 3"))
                #expect(page.contains("vecraft_storage_entries_refused_total{partition=\"sys-0\"} 2"))
            }
            for (from, offset) in [(partition, UInt64(2)), (partition, 4), (partition, 5), (.sys, 2), (.sys, 3)] {
                let entry: VecraftV1.LineageResponse = try await node.call(
                    "Lineage/Entry", VecraftV1.EntryLineageRequest(partition: from.description, offset: offset))
                #expect(entry.entries.first?.refused.isEmpty == false, "\(from) \(offset)")
            }
            let record: VecraftV1.LineageResponse = try await node.call(
                "Lineage/Record", VecraftV1.RecordLineageRequest(collection: "c", id: "a"))
            #expect(record.entries.map(\.offset) == [1])
            #expect(record.entries.first?.current == true)
            #expect(await node.stop() == 0)
        }
    }

    /// Into the journal of a node that is down, without asking anyone.
    private func write(_ data: String, _ entries: [EncodedEntry]) async throws {
        let journal = try Journal(directory: data + "/journal", dataPartitions: 2, files: PosixFileStore())
        for entry in entries {
            let log = try #require(journal[entry.partition])
            let result = await withCheckedContinuation { done in log.append(entry) { done.resume(returning: $0) } }
            _ = try result.get()
        }
        try await offThePool { journal.close() }
    }
}
