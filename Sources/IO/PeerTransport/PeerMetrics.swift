package import Observability
internal import Raft
internal import Synchronization

/// The metrics of a node's links, by peer: its node id.
package struct PeerMetrics: Sendable {
    /// By peer and class: "control" (without frames) or "bulk".
    package let sent: CounterFamily
    package let sentBytes: CounterFamily
    package let received: CounterFamily
    package let receivedBytes: CounterFamily
    /// By peer and reason.
    package let dropped: CounterFamily
    package let refused: CounterFamily
    package let up: GaugeFamily
    package let linksMade: CounterFamily
    package let queueBytes: GaugeFamily
    package let roundTripSeconds: HistogramFamily
    package let clockOffsetSeconds: GaugeFamily
    /// By peer, direction ("out", "in") and outcome ("done", "failed").
    package let logTransfers: CounterFamily
    package let logTransferBytes: CounterFamily

    /// Nodes that have labels of their own. A cluster has far fewer; ids come from a table that a person or a store fills.
    private static let maxPeers = 32
    private final class Known: Sendable { let peers = Mutex<Set<ReplicaID>>([]) }
    private let known = Known()

    package init(_ registry: MetricsRegistry) {
        let byClass = ["peer", "class"]
        self.sent = registry.counter(
            "vecraft_peer_messages_sent_total", help: "Messages of replicas written to a peer's link.", labels: byClass)
        self.sentBytes = registry.counter(
            "vecraft_peer_sent_bytes_total", help: "Bytes written to a peer's link, before compression.",
            labels: byClass)
        self.received = registry.counter(
            "vecraft_peer_messages_received_total",
            help: "Messages of replicas that came from a peer and were handed on.",
            labels: byClass)
        self.receivedBytes = registry.counter(
            "vecraft_peer_received_bytes_total", help: "Bytes that came from a peer, unpacked.", labels: byClass)
        self.dropped = registry.counter(
            "vecraft_peer_messages_dropped_total",
            help: "Messages that were not sent, or came and did not hold, by reason. Replicas make up for them.",
            labels: ["peer", "reason"])
        self.refused = registry.counter(
            "vecraft_peer_links_refused_total", help: "Streams of peers that were refused, by reason.",
            labels: ["reason"])
        self.up = registry.gauge("vecraft_peer_link_up", help: "1 while there is a link to the peer.", labels: ["peer"])
        self.linksMade = registry.counter(
            "vecraft_peer_links_made_total", help: "Links made to a peer: the first and each one after a loss.",
            labels: ["peer"])
        self.queueBytes = registry.gauge(
            "vecraft_peer_queue_bytes", help: "Bytes of entries that wait to be sent to a peer.", labels: ["peer"])
        self.roundTripSeconds = registry.histogram(
            "vecraft_peer_round_trip_seconds", help: "Time of a ping to a peer and back.", labels: ["peer"],
            buckets: Buckets([0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2]))
        self.clockOffsetSeconds = registry.gauge(
            "vecraft_peer_clock_offset_seconds", help: "How far a peer's wall clock is ahead of ours.", labels: ["peer"]
        )
        self.logTransfers = registry.counter(
            "vecraft_peer_log_transfers_total", help: "Logs sent or taken as a whole, by outcome.",
            labels: ["peer", "direction", "outcome"])
        self.logTransferBytes = registry.counter(
            "vecraft_peer_log_transfer_bytes_total", help: "Bytes of entries in logs sent or taken as a whole.",
            labels: ["peer", "direction"])
    }

    /// A peer's label.
    func label(_ peer: ReplicaID) -> String {
        let isKnown = self.known.peers.withLock { peers in
            if peers.contains(peer) { return true }
            guard peers.count < Self.maxPeers else { return false }
            peers.insert(peer)
            return true
        }
        return isKnown ? peer.description : "other"
    }

    /// The handles of one peer.
    struct Handles: Sendable {
        let label: String
        let sentControl, sentBulk, sentControlBytes, sentBulkBytes: Counter
        let receivedControl, receivedBulk, receivedControlBytes, receivedBulkBytes: Counter
        let up, queueBytes, clockOffset: Gauge
        let linksMade: Counter
        let roundTrip: Histogram

        init(_ metrics: PeerMetrics, _ peer: ReplicaID) {
            let label = metrics.label(peer)
            self.label = label
            self.sentControl = metrics.sent.with(label, "control")
            self.sentBulk = metrics.sent.with(label, "bulk")
            self.sentControlBytes = metrics.sentBytes.with(label, "control")
            self.sentBulkBytes = metrics.sentBytes.with(label, "bulk")
            self.receivedControl = metrics.received.with(label, "control")
            self.receivedBulk = metrics.received.with(label, "bulk")
            self.receivedControlBytes = metrics.receivedBytes.with(label, "control")
            self.receivedBulkBytes = metrics.receivedBytes.with(label, "bulk")
            self.up = metrics.up.with(label)
            self.queueBytes = metrics.queueBytes.with(label)
            self.clockOffset = metrics.clockOffsetSeconds.with(label)
            self.linksMade = metrics.linksMade.with(label)
            self.roundTrip = metrics.roundTripSeconds.with(label)
        }
    }
}
