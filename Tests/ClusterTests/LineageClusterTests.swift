import ClusterSupport
import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Lineage of a cluster under load with kills: every acknowledged write is found, on every node, and what is missing is said.
    @Suite("Lineage of a cluster", .serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct LineageClusterTests {
        @Test(.timeLimit(.minutes(20))) func everyAcknowledgedWriteIsFoundOnEveryNode() async throws {
            let etcd = try await EtcdProcess.start()
            let run = try await ClusterRun.start(shards: 4) {
                $0.etcd = etcd
                $0.settings.append("cluster.down_after_ms=60000")
            }
            let cluster = run.cluster
            // Registers of their own, written by one client that keeps their whole history.
            let history = try await HistoryKeeper.write(
                to: cluster, collection: ClusterRun.collection, points: 1_000, rounds: 4
            ) { round in
                guard round > 0 else { return }
                // In the middle of the round.
                try await Task.sleep(for: .milliseconds(300))
                let victim = cluster[round]
                await victim.kill()
                try await victim.start()
            }
            #expect(history.acknowledged.count >= 4_000)
            for node in cluster.nodes {
                // A follower learns of the last commits a moment later.
                let cover = try await eventually("all are found at node \(node.id)", every: .milliseconds(100)) {
                    let cover: VecraftV1.CoverResponse = try await node.call(
                        "vecraft.v1.Lineage/Cover", VecraftV1.CoverRequest(writes: history.acknowledged),
                        timeout: .seconds(30))
                    return cover.missing.isEmpty ? cover : nil
                }
                #expect(cover.found == UInt64(history.acknowledged.count))
                for (id, offsets) in history.offsets {
                    // A peer that is too busy to answer in time is said, and asked again.
                    let record = try await eventually("all nodes answer of \(id) at node \(node.id)") {
                        let record: VecraftV1.LineageResponse = try await node.call(
                            "vecraft.v1.Lineage/Record",
                            VecraftV1.RecordLineageRequest(collection: ClusterRun.collection, id: id, limit: 1_000),
                            timeout: .seconds(30))
                        return record.unansweredNodes.isEmpty ? record : nil
                    }
                    // An attempt whose answer was lost may stand there as well, once.
                    #expect(offsets.isSubset(of: record.entries.map(\.offset)), "\(id) at node \(node.id)")
                    #expect(record.entries.count <= offsets.count + history.unanswered[id, default: 0])
                }
            }
            let id = try #require(history.offsets.keys.sorted().first)
            let question = VecraftV1.RecordLineageRequest(collection: ClusterRun.collection, id: id, limit: 1_000)
            // Two copies of each shard: two replicas made each version searchable, whichever node is asked.
            for node in cluster.nodes {
                let record = try await eventually("both receipts are there", every: .milliseconds(100)) {
                    let record: VecraftV1.LineageResponse = try await node.call(
                        "vecraft.v1.Lineage/Record", question, timeout: .seconds(30))
                    return record.entries.last?.receipts.count == 2 ? record : nil
                }
                let receipts = try #require(record.entries.last?.receipts)
                #expect(
                    Set(receipts.map(\.replica)).count == 2 && receipts.allSatisfy { $0.replica.hasPrefix("node-") })
                #expect(receipts[0].shards == receipts[1].shards && receipts[0].shards.count == 1)
            }
            let verified = try await eventually("all nodes verify their journals") {
                let answer: VecraftV1.VerifyResponse = try await cluster[1].call(
                    "vecraft.v1.Lineage/Verify", VecraftV1.VerifyRequest(), timeout: .seconds(60))
                return answer.unansweredNodes.isEmpty ? answer : nil
            }
            #expect(verified.ok && Set(verified.partitions.map(\.node)) == ["node-1", "node-2", "node-3"])
            let between: VecraftV1.LineageResponse = try await cluster[2].persistently(
                "vecraft.v1.Lineage/Between", VecraftV1.BetweenRequest(operations: ["upsert"], limit: 1_000),
                timeout: .seconds(60))
            #expect(between.entries.map(\.hlc) == between.entries.map(\.hlc).sorted())

            // A node is away: what it alone knows is missing, and that is said.
            await cluster[3].kill()
            let without = try await eventually("only node 3 is missing") {
                let answer: VecraftV1.LineageResponse = try await cluster[1].call(
                    "vecraft.v1.Lineage/Record", question, timeout: .seconds(30))
                return answer.unansweredNodes == ["node-3"] ? answer : nil
            }
            #expect(without.unansweredNodes == ["node-3"] && !without.entries.isEmpty)
            let half = try await eventually("only node 3 is missing") {
                let answer: VecraftV1.VerifyResponse = try await cluster[1].call(
                    "vecraft.v1.Lineage/Verify", VecraftV1.VerifyRequest(), timeout: .seconds(60))
                return answer.unansweredNodes == ["node-3"] ? answer : nil
            }
            #expect(!half.ok && half.unansweredNodes == ["node-3"] && half.partitions.allSatisfy { $0.faults.isEmpty })

            // A read that several nodes answered says who answered for which shard.
            try await cluster[3].start()
            // One that failed is remembered too, so each attempt has a name of its own.
            var attempt = 0
            let name = try await eventually("all shards are counted") { () -> String? in
                attempt += 1
                let name = "who-counted-\(attempt)"
                let _: VecraftV1.CountResponse = try await cluster[1].call(
                    "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: ClusterRun.collection),
                    metadata: ["x-request-id": name], timeout: .seconds(30))
                return name
            }
            let reads = try await eventually("its reads are found") {
                let reads: VecraftV1.SearchLineageResponse = try await cluster[2].call(
                    "vecraft.v1.Lineage/Search", VecraftV1.SearchLineageRequest(requestID: name),
                    timeout: .seconds(30))
                return reads.reads.isEmpty ? nil : reads
            }
            let read = try #require(reads.reads.first)
            #expect(reads.reads.count == 1 && read.node == "node-1" && read.shards.map(\.shard) == [0, 1, 2, 3])
            #expect(read.shards.allSatisfy { $0.replica.hasPrefix("node-") && $0.indexVersion > 0 })

            // One that no node could answer for some shards of is remembered as well.
            await cluster[2].kill()
            await cluster[3].kill()
            await #expect(throws: VecraftError.self) {
                let _: VecraftV1.CountResponse = try await cluster[1].call(
                    "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: ClusterRun.collection),
                    metadata: ["x-request-id": "who-failed"], timeout: .seconds(30))
            }
            let failed = try await eventually("its failure is noted", every: .milliseconds(100)) {
                let reads: VecraftV1.SearchLineageResponse = try await cluster[1].call(
                    "vecraft.v1.Lineage/Search", VecraftV1.SearchLineageRequest(requestID: "who-failed"),
                    timeout: .seconds(30))
                return reads.reads.first
            }
            #expect(
                failed.operation == "count" && failed.collection == ClusterRun.collection && failed.node == "node-1")
            #expect(failed.status != "OK" && failed.shards.isEmpty)
            _ = etcd
        }
    }
}

/// What a client that writes points over and over was told.
struct HistoryKeeper {
    var acknowledged: [VecraftV1.Acknowledged] = []
    var offsets: [String: Set<UInt64>] = [:]
    /// Attempts whose outcome is not known, by point.
    var unanswered: [String: Int] = [:]

    static func write(
        to cluster: TestCluster, collection: String, points: Int, rounds: Int,
        _ fault: @escaping @Sendable (Int) async throws -> Void
    ) async throws -> HistoryKeeper {
        var history = HistoryKeeper()
        for round in 0..<rounds {
            async let disturbed: Void = fault(round)
            for i in 0..<points {
                let id = "kept-\(i)"
                let request = "kept-\(i)-\(round)"
                var attempt = 0
                let end = ContinuousClock.now + .seconds(300)
                while true {
                    let node = cluster.nodes[(i + round + attempt) % cluster.nodes.count]
                    do {
                        let answer: VecraftV1.UpsertResponse = try await node.call(
                            "vecraft.v1.Points/Upsert",
                            VecraftV1.UpsertRequest(
                                collection: collection,
                                points: [
                                    .init(
                                        id: id, vector: .init(values: [Float(i), 1, 0, Float(round)]),
                                        payload: .init(
                                            json: Array(
                                                #"{"round":\#(round),"pad":"\#(String(repeating: "x", count: 1_000))"}"#
                                                    .utf8)))
                                ],
                                idempotencyKey: request),
                            metadata: ["x-request-id": request], timeout: .seconds(5))
                        if let write = answer.write {
                            history.acknowledged.append(
                                .init(
                                    partition: write.partition, offset: write.offset, hlc: write.hlc, requestID: request
                                ))
                            history.offsets[id, default: []].insert(write.offset)
                        }
                        break
                    } catch {
                        attempt += 1
                        guard ContinuousClock.now < end else { throw error }
                        try await Task.sleep(for: .milliseconds(50))
                    }
                }
            }
            try await disturbed
        }
        return history
    }
}
