internal import GRPC
internal import Logging
internal import NIOCore
internal import Observability
internal import Raft

/// What all links of a node share.
struct PeerContext: Sendable {
    let own: ReplicaID
    /// Of this node's journal.
    let identity: UInt64
    let settings: PeerSettings
    let receiver: any PeerReceiver
    let group: any EventLoopGroup
    let tls: GRPCTLS?
    let metrics: PeerMetrics
    let logger: Logger
    let faults = Occasionally()

    /// Something came that does not hold.
    func dropped(_ fault: PeerFault, from peer: ReplicaID) {
        self.metrics.dropped.with(self.metrics.label(peer), fault.reason.rawValue).increment()
        self.faults.run { more in
            let about: Logger.Metadata = [
                "peer": "\(peer)", "reason": "\(fault.reason.rawValue)", "what": "\(fault.what)",
            ]
            self.logger.warning("dropped what came from a peer", metadata: about.merging(more) { own, _ in own })
        }
    }

    /// For dialing a peer; each link and each transfer has a connection of its own.
    func client(_ address: PeerAddress, on eventLoop: any EventLoop) throws -> GRPCClient {
        var settings = GRPCClientSettings()
        settings.connectTimeout = self.settings.silenceLimit
        // The next attempt is a new client's; this one never tries twice.
        settings.minBackoff = self.settings.maxBackoff
        settings.maxBackoff = self.settings.maxBackoff
        settings.batchBytes = 64 << 10
        settings.unsentBytes = 128 << 10
        settings.compressRequestsFrom = self.settings.compressFrom
        settings.keepaliveInterval = .seconds(5)
        settings.keepaliveTimeout = .seconds(5)
        settings.userAgent = "vecraft-peer"
        return try GRPCClient(
            host: address.host, port: address.port, tls: self.tls, settings: settings, group: eventLoop)
    }
}
