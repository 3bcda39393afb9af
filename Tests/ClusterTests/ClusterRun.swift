import ClusterSupport
import Foundation
import Primitives
import Synchronization
import TestSupport
import Testing
import Wire

/// A cluster with one collection, its loads, and what they saw.
final class ClusterRun: Sendable {
    static let collection = "registers"
    static let registers = 16

    let cluster: TestCluster
    /// Where the collection's writes go.
    let partition: String
    private let record = Mutex(LoadRecord())

    static func start(
        shards: UInt32 = 1, _ change: (inout TestCluster.Options) -> Void = { _ in }
    ) async throws -> ClusterRun {
        var options = TestCluster.Options()
        // Small segments, so that a short run has several, and small disks do.
        options.settings = [
            "journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB", "journal.reserve_bytes=1MiB",
            "log.level=notice",
        ]
        change(&options)
        let cluster = try await TestCluster.start(options)
        do {
            return ClusterRun(cluster, partition: try await cluster.create(Self.collection, dimension: 4, shards: shards).partition)
        } catch {
            await cluster.killAll()
            throw LoadFailure(description: "\(error)\n\(cluster.logs())")
        }
    }

    private init(_ cluster: TestCluster, partition: String) {
        self.cluster = cluster
        self.partition = partition
    }

    /// Loads the cluster while `body` runs.
    @discardableResult
    func load(seed: UInt64, _ body: (ClusterLoad) async throws -> Void) async throws -> LoadRecord {
        var settings = ClusterLoad.Settings()
        settings.seed = seed
        settings.registers = Self.registers
        let load = ClusterLoad(self.cluster, collection: Self.collection, settings: settings)
        do {
            let record = try await load.run { try await body(load) }
            self.record.withLock { $0.merge(record) }
            print("cluster, seed \(seed): \(record.summary)")
            #expect(record.failures.isEmpty, "seed \(seed): \(record.failures.prefix(5))")
            return record
        } catch {
            let logs = self.cluster.logs()
            await self.cluster.killAll()
            throw LoadFailure(description: "seed \(seed): \(error)\n\(logs)")
        }
    }

    /// Everything that was seen and everything that is there agree; the nodes end in order.
    func finish() async throws {
        let record = self.record.withLock { $0 }
        do {
            let findings = try await ClusterAudit(self.cluster).findings(
                record, collection: Self.collection, registers: Self.registers)
            for finding in findings { Issue.record(Comment(rawValue: finding)) }
            if !findings.isEmpty { print(self.cluster.logs()) }
        } catch {
            let logs = self.cluster.logs()
            await self.cluster.killAll()
            throw LoadFailure(description: "\(error)\n\(logs)")
        }
        let failed = await self.cluster.stopAll()
        #expect(failed.isEmpty, "exit codes \(failed)\n\(self.cluster.logs(1_000))")
    }

    enum Change {
        case add(ClusterNode)
        case remove(Int)
    }

    /// Changes the members of all groups, asking any node until it is done.
    func change(_ change: Change) async throws {
        switch change {
        case .add(let node):
            let _: VecraftInternalV1.MembersResponse = try await self.cluster.call(
                "vecraft.internal.v1.Journal/AddReplica",
                VecraftInternalV1.AddReplicaRequest(nodeID: UInt64(node.id), address: node.peerAddress),
                within: .seconds(120))
        case .remove(let id):
            var turn = 0
            try await eventually("node \(id) is removed") {
                let nodes = self.cluster.nodes.filter(\.isRunning)
                defer { turn += 1 }
                do throws(VecraftError) {
                    let _: VecraftInternalV1.MembersResponse = try await nodes[turn % nodes.count].call(
                        "vecraft.internal.v1.Journal/RemoveReplica",
                        VecraftInternalV1.RemoveReplicaRequest(nodeID: UInt64(id)))
                } catch {
                    // An earlier attempt, whose answer was lost, did it.
                    guard error.code == .notFound else { throw error }
                }
                return true
            }
        }
    }
}
