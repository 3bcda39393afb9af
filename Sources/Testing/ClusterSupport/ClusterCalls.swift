package import GRPC
package import Primitives
import TestSupport
package import Wire

extension VecraftError {
    /// A client should ask again.
    package var passes: Bool { self.code == .unavailable || self.code == .deadlineExceeded }
    /// What a machine that stands still for some seconds brings about by itself: an election, a connection given up. Not that a shard is
    /// not where it should be, nor that an answer is late.
    package var isOfTheMachine: Bool {
        self.code == .unavailable && ["NOT_LEADER", "LEADERSHIP_LOST", "CONNECTION_LOST"].contains(self.reason)
    }
}

extension ClusterNode {
    /// As ``call(_:_:as:metadata:timeout:)``, and made again while it fails with what passes, as a client should: after a kill, a start or
    /// a stop an election takes what the machine leaves it.
    package func persistently<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, metadata: GRPCMetadata = [:],
        timeout: Duration = .seconds(20), within patience: Duration = .seconds(300),
        while passes: (VecraftError) -> Bool = { $0.passes }
    ) async throws -> Reply {
        let end = ContinuousClock.now + patience
        while true {
            do throws(VecraftError) {
                return try await self.call(method, request, metadata: metadata, timeout: timeout)
            } catch {
                guard passes(error), .now < end else { throw error }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    /// The same for what is refused once it is done: an attempt that got no answer may have done it.
    ///
    /// - Parameter isDone: Of a refusal that follows such an attempt.
    private func carryOut<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type, isDone: (VecraftError) -> Bool
    ) async throws {
        let end = ContinuousClock.now + .seconds(300)
        var isUnknown = false
        while true {
            do throws(VecraftError) {
                let _: Reply = try await self.call(method, request)
                return
            } catch {
                if isUnknown, isDone(error) { return }
                guard error.passes, .now < end else { throw error }
                isUnknown = true
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    package func drop(_ collection: String) async throws {
        try await self.carryOut(
            "vecraft.v1.Collections/DropCollection", VecraftV1.DropCollectionRequest(name: collection),
            as: VecraftV1.DropCollectionResponse.self
        ) { $0.code == .notFound }
    }

    /// Has a node of the cluster drained, by asking this one.
    package func drain(_ node: UInt64) async throws {
        try await self.carryOut(
            "vecraft.v1.Cluster/DrainNode", VecraftV1.DrainNodeRequest(node: node),
            as: VecraftV1.NodeChangeResponse.self
        ) {
            $0.reason == "MAP_CHANGE_REFUSED"
                && ($0.message.hasSuffix(" is draining") || $0.message.hasSuffix(" is drained"))
        }
    }

    /// Has a node of the cluster removed, by asking this one.
    package func remove(_ node: UInt64) async throws {
        try await self.carryOut(
            "vecraft.v1.Cluster/RemoveNode", VecraftV1.RemoveNodeRequest(node: node),
            as: VecraftV1.NodeChangeResponse.self
        ) { $0.reason == "MAP_CHANGE_REFUSED" && $0.message.hasSuffix(" is removed") }
    }
}

extension TestCluster {
    /// The first answer of any node, asked in turn until the patience ends.
    package func call<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, within patience: Duration = .seconds(300)
    ) async throws -> Reply {
        var turn = 0
        return try await eventually("\(method) is answered", within: patience) {
            let nodes = self.nodes.filter(\.isRunning)
            defer { turn += 1 }
            return try await nodes[turn % nodes.count].call(method, request, timeout: .seconds(20))
        }
    }

    /// Makes a collection and returns it once every node knows it.
    package func create(_ name: String, dimension: Int, shards: UInt32 = 1) async throws -> VecraftV1.Collection {
        let request = VecraftV1.CreateCollectionRequest(
            name: name,
            config: VecraftV1.CollectionConfig(
                vector: VecraftV1.VectorConfig(dimension: UInt32(dimension), distance: .l2), shards: shards))
        let reply: VecraftV1.CreateCollectionResponse = try await self.call(
            "vecraft.v1.Collections/CreateCollection", request)
        for node in self.nodes where node.isRunning { _ = try await self.describe(name, on: node) }
        guard let collection = reply.collection else {
            throw VecraftError(.internalError, "no collection in the answer")
        }
        return collection
    }

    package func describe(_ name: String, on node: ClusterNode) async throws -> VecraftV1.Collection {
        try await eventually("node \(node.id) knows collection \(name)") {
            let reply: VecraftV1.DescribeCollectionResponse = try await node.call(
                "vecraft.v1.Collections/DescribeCollection", VecraftV1.DescribeCollectionRequest(name: name))
            return reply.collection
        }
    }
}
