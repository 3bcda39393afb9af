package import GRPC
internal import Metadata
internal import NIOCore
internal import Placement
internal import Primitives
internal import Synchronization
internal import Wire

/// `vecraft.internal.v1.Control` on the wire; the listener for peers begins before the node has a place in the cluster.
package final class ControlAPI: Sendable {
    private let member: Mutex<ClusterMember?> = Mutex(nil)

    package init() {}
    package func serve(_ member: ClusterMember) { self.member.withLock { $0 = member } }

    package var methods: [String: GRPCMethod] {
        [
            "/vecraft.internal.v1.Control/Observe": .unary {
                [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
                let request = try VecraftInternalV1.ObserveRequest.decode(message)
                guard let member = self.member.withLock({ $0 }) else {
                    throw VecraftError(
                        .unavailable, "the node is starting", reason: "NOT_READY", retryAfter: .milliseconds(200))
                }
                guard request.clusterID == member.clusterID else {
                    throw VecraftError(
                        .failedPrecondition,
                        "cluster \"\(request.clusterID.prefix(64))\"; this node belongs to \"\(member.clusterID)\"",
                        reason: "OTHER_CLUSTER")
                }
                guard request.to == member.id.rawValue else {
                    throw VecraftError(
                        .failedPrecondition, "node \(request.to) is meant; this is node \(member.id.rawValue)",
                        reason: "OTHER_NODE")
                }
                out.writeBytes(member.report.encode())
                return .reply
            }
        ]
    }
}

/// The cluster's part of `vecraft.v1.Cluster`, for clients of any node.
package enum ClusterAPI {
    private static let service = "/vecraft.v1.Cluster/"

    /// - Parameter member: Nil for a node that is in no cluster that runs itself: it says so.
    package static func methods(_ member: ClusterMember?) -> [String: GRPCMethod] {
        [
            self.service + "Overview": self.method { (_: VecraftV1.OverviewRequest) async throws(VecraftError) in
                try await self.required(member).overview()
            },
            self.service + "DrainNode": self.method {
                (request: VecraftV1.DrainNodeRequest) async throws(VecraftError) in
                try await self.change(member, .drainNode(NodeID(request.node)), NodeID(request.node))
            },
            self.service + "CancelDrain": self.method {
                (request: VecraftV1.CancelDrainRequest) async throws(VecraftError) in
                try await self.change(member, .cancelDrain(NodeID(request.node)), NodeID(request.node))
            },
            self.service + "RemoveNode": self.method {
                (request: VecraftV1.RemoveNodeRequest) async throws(VecraftError) in
                try await self.change(member, .removeNode(NodeID(request.node)), NodeID(request.node))
            },
        ]
    }

    private static func required(_ member: ClusterMember?) throws(VecraftError) -> ClusterMember {
        guard let member else {
            throw VecraftError(
                .failedPrecondition, "this node is in no cluster that runs itself (cluster.etcd)", reason: "NO_CLUSTER")
        }
        return member
    }

    private static func change(
        _ member: ClusterMember?, _ change: MapChange, _ node: NodeID
    ) async throws(VecraftError) -> VecraftV1.NodeChangeResponse {
        let member = try self.required(member)
        let map = try await member.map.change { _ in change }
        return VecraftV1.NodeChangeResponse(mapEpoch: map.epoch, state: map.nodes[node]?.state.rawValue ?? "")
    }

    /// Asked seldom, by people: a task each.
    private static func method<Request: WireMessage, Reply: WireMessage>(
        _ body: @escaping @Sendable (Request) async throws(VecraftError) -> Reply
    ) -> GRPCMethod {
        .unary { (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try Request.decode(message)
            let reply = call.deferred()
            Task {
                do throws(VecraftError) { reply.reply(try await body(request).encode()) } catch { reply.fail(error) }
            }
            return .later
        }
    }
}
