package import GRPC
package import Logging
package import NIOCore
internal import Observability
internal import Primitives
package import Raft
internal import Synchronization

/// A node's links to its peers: one stream each, for the messages of all partitions.
///
/// ```swift
/// let links = PeerLinks(own: ReplicaID(1), settings: PeerSettings(clusterID: "prod"), group: loops, tls: nil,
///     metrics: PeerMetrics(registry), logger: logger)
/// let server = try GRPCServer(methods: PeerAPI.methods(links), group: loops)
/// links.start(receiver: replicas)             // nothing is received before
/// links.setPeers([ReplicaID(2): PeerAddress(host: "10.0.0.2", port: 7400)])
/// ...
/// await links.shutdown()                      // before the server drains: streams of peers do not end by themselves
/// ```
package final class PeerLinks: PeerSender {
    private struct State {
        var context: PeerContext?
        var links: [ReplicaID: PeerLink] = [:]
        var peers: [ReplicaID: PeerAddress] = [:]
        var isClosed = false
    }

    package let own: ReplicaID
    let settings: PeerSettings
    let group: any EventLoopGroup
    private let tls: GRPCTLS?
    let metrics: PeerMetrics
    private let logger: Logger
    private let state = Mutex(State())
    let transfers: LogTransfers

    /// - Parameters:
    ///   - own: This node's id.
    ///   - group: For dialing; outlives this.
    ///   - tls: For dialing. Mutual when it has a certificate and the peers' servers demand one.
    package init(
        own: ReplicaID, settings: PeerSettings, group: any EventLoopGroup, tls: GRPCTLS? = nil, metrics: PeerMetrics,
        logger: Logger
    ) {
        self.own = own
        self.settings = settings
        self.group = group
        self.tls = tls
        self.metrics = metrics
        self.logger = logger
        self.transfers = LogTransfers(limit: settings.logTransfers)
    }

    // MARK: Life

    /// Once: from now on links are made, and what comes goes to `receiver`.
    /// - Parameter identity: Of this node's journal; 0: not said.
    package func start(receiver: any PeerReceiver, identity: UInt64 = 0) {
        let context = PeerContext(
            own: self.own, identity: identity, settings: self.settings, receiver: receiver, group: self.group, tls: self.tls,
            metrics: self.metrics, logger: self.logger)
        let peers = self.state.withLock { state in
            precondition(state.context == nil, "started twice")
            state.context = context
            return state.peers
        }
        self.setPeers(peers)
    }

    /// The other nodes; this node's own entry is passed over. Links to nodes that are not in it end, new ones are made.
    package func setPeers(_ peers: [ReplicaID: PeerAddress]) {
        var closed: [PeerLink] = []
        var made: [PeerLink] = []
        var kept: [(PeerLink, PeerAddress)] = []
        self.state.withLock { state in
            state.peers = peers.filter { $0.key != self.own }
            guard let context = state.context, !state.isClosed else { return }
            closed = state.links.values.filter { state.peers[$0.peer] == nil }
            for link in closed { state.links[link.peer] = nil }
            for (peer, address) in state.peers {
                if let link = state.links[peer] {
                    kept.append((link, address))
                } else {
                    let link = PeerLink(peer, at: address, context)
                    state.links[peer] = link
                    made.append(link)
                }
            }
        }
        for link in closed { link.close() }
        for (link, address) in kept { link.move(to: address) }
        for link in made { link.start() }
    }

    /// Ends all links and transfers, and waits for these.
    package func shutdown() async {
        let links = self.state.withLock { state in
            state.isClosed = true
            defer { state.links = [:] }
            return Array(state.links.values)
        }
        for link in links { await withCheckedContinuation { done in link.close { done.resume() } } }
        await self.transfers.shutdown()
    }

    // MARK: PeerSender

    package func send(_ messages: [PeerMessage]) {
        let links = self.state.withLock { $0.links }
        var start = messages.startIndex
        while start < messages.endIndex {
            let peer = messages[start].message.to
            var end = start
            while end < messages.endIndex, messages[end].message.to == peer {
                self.check(messages[end])
                end += 1
            }
            if let link = links[peer] {
                link.send(messages[start..<end])
            } else {
                let loss = OutgoingQueue.Loss.unknownPeer
                self.metrics.dropped.with("other", loss.rawValue).increment(by: UInt64(end - start))
            }
            start = end
        }
    }

    private func check(_ message: PeerMessage) {
        precondition(message.message.from == self.own, "a message of \(message.message.from) sent by \(self.own)")
        var hasEntries = false
        if case .append(let append) = message.message.body { hasEntries = append.entries != nil }
        precondition(hasEntries == (message.frames != nil), "frames and entries do not agree: \(message.message)")
    }

    // MARK: Questions

    /// How far a peer's wall clock is ahead of ours; nil before the first answer.
    package func clockOffset(of peer: ReplicaID) -> Duration? { self.link(peer)?.clockOffset }
    /// The same of every peer that there is a link to now, nanoseconds.
    package var clockOffsets: [Int64] { self.offsets { $0.isUp } }
    /// The same, with what was last measured of those that there is no link to.
    package var lastClockOffsets: [Int64] { self.offsets { _ in true } }

    private func offsets(_ isMeant: (PeerLink) -> Bool) -> [Int64] {
        self.state.withLock { Array($0.links.values) }.compactMap { link in
            guard isMeant(link), let offset = link.clockOffset else { return nil }
            return offset.components.seconds * 1_000_000_000 + offset.components.attoseconds / 1_000_000_000
        }
    }
    /// Whether there is a link to it now.
    package func isLinked(to peer: ReplicaID) -> Bool { self.link(peer)?.isUp ?? false }

    func link(_ peer: ReplicaID) -> PeerLink? { self.state.withLock { $0.links[peer] } }
    var context: PeerContext? { self.state.withLock { $0.isClosed ? nil : $0.context } }

    /// The link of a peer that made a stream.
    func callee(_ peer: ReplicaID) throws(VecraftError) -> PeerLink {
        guard peer < self.own else {
            throw PeerWire.refusal("WRONG_DIRECTION", "node \(self.own) calls node \(peer), not the other way")
        }
        guard let link = self.link(peer) else {
            throw VecraftError(.unavailable, "node \(peer) is not known to node \(self.own)", reason: "UNKNOWN_PEER")
        }
        return link
    }
}
