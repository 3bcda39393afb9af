package import GRPC
internal import Logging
internal import Observability
internal import Primitives
internal import Raft

/// `vecraft.internal.v1.Raft` on the wire.
package enum PeerAPI {
    private static let service = "/vecraft.internal.v1.Raft/"
    static let exchange = service + "Exchange"
    static let installLog = service + "InstallLog"

    /// For the server that peers reach this node at.
    package static func methods(_ links: PeerLinks) -> [String: GRPCMethod] {
        [
            self.exchange: .bidirectional { (call) throws(VecraftError) in try await self.exchange(links, call) },
            self.installLog: .clientStreaming { (call) throws(VecraftError) in try await self.install(links, call) },
        ]
    }

    private static func exchange(_ links: PeerLinks, _ call: GRPCStreamCall) async throws(VecraftError) {
        guard let context = links.context else { throw self.closed }
        let session = LinkSession(
            accepting: { (peer) throws(VecraftError) in try links.callee(peer) }, context)
        session.begin(.accepted(call))
        guard let error = await session.outcome() else { return }
        self.refused(error, context, call)
        throw error
    }

    private static func install(_ links: PeerLinks, _ call: GRPCStreamCall) async throws(VecraftError) {
        guard let context = links.context else { throw self.closed }
        do throws(VecraftError) {
            try await LogReceiver(context, links.transfers, call).run()
        } catch {
            self.refused(error, context, call)
            throw error
        }
    }

    private static let closed = VecraftError(.unavailable, "the node is starting or ending", reason: "NOT_READY")

    /// Says who was not let in; the end of a link is the link's to say.
    private static func refused(_ error: VecraftError, _ context: PeerContext, _ call: GRPCStreamCall) {
        guard error.code == .failedPrecondition || error.reason == "UNKNOWN_PEER" else { return }
        context.metrics.refused.with(error.reason ?? "OTHER").increment()
        context.faults.run { more in
            let about: Logger.Metadata = ["address": "\(call.peer.address)", "error": "\(error)"]
            context.logger.warning("refused a peer", metadata: about.merging(more) { own, _ in own })
        }
    }
}
