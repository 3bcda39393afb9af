package import GRPC
import Primitives
import TestSupport
package import Wire

extension ClusterNode {
    /// As ``call(_:_:as:metadata:timeout:)``, and made again while it fails with what passes, as a client should: after a kill, a start or
    /// a stop an election takes what the machine leaves it.
    package func persistently<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, metadata: GRPCMetadata = [:],
        timeout: Duration = .seconds(20), within patience: Duration = .seconds(300)
    ) async throws -> Reply {
        let end = ContinuousClock.now + patience
        while true {
            do throws(VecraftError) {
                return try await self.call(method, request, metadata: metadata, timeout: timeout)
            } catch {
                guard error.code == .unavailable || error.code == .deadlineExceeded, .now < end else { throw error }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
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
