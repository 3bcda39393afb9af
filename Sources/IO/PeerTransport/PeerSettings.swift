internal import Primitives

/// Limits and habits of the links between nodes.
package struct PeerSettings: Sendable {
    /// Of the cluster: nodes of another are refused.
    package var clusterID: String
    /// Messages without frames that may wait for one connected peer: at 500 a second (16 partitions, heartbeats each 30 ms) half
    /// a minute. Further ones are dropped.
    package var controlMessages = 16_384
    /// Appends with frames that may wait for one peer, and their bytes; further ones are dropped, one alone always has room.
    /// 64 MiB: what one slow peer may hold of a leader's memory, a second of a 500 Mbit/s network.
    package var bulkMessages = 4_096
    package var bulkBytes = 64 << 20
    /// Messages without frames that wait for a peer without a link: the newest, for those before say nothing more. Enough for a
    /// vote in each partition.
    package var absentMessages = 256
    /// Bytes of appends in one write, and messages: with it all that can stand before a heartbeat in this process is below
    /// 256 KiB, a millisecond of a 2 Gbit/s network.
    package var pieceBytes = 128 << 10
    package var messagesPerFrame = 512
    /// Frames of one append. One entry may be as large as a message of a client and then some (`Limits.messageBytes`).
    package var maxRunBytes = 96 << 20
    /// Frames of a log that is sent as a whole: what is asked of the disk at once, and sent as one message.
    package var logChunkBytes = 1 << 20
    /// Logs that are sent as a whole at the same time, each with at most three chunks in memory. Further ones fail.
    package var logTransfers = 16
    package var pingInterval: Duration = .milliseconds(100)
    /// A link that brings nothing for this long, 20 pings, is broken and made anew: after a cut of the network TCP may wait as
    /// long again as the cut lasted before it tries.
    package var silenceLimit: Duration = .seconds(2)
    /// A log transfer whose next part does not come for this long is given up.
    package var transferSilenceLimit: Duration = .seconds(30)
    /// Waits between attempts to dial double from the shortest to the longest, each shortened by up to a fifth at random.
    package var minBackoff: Duration = .milliseconds(10)
    package var maxBackoff: Duration = .milliseconds(500)
    /// What this node sends over streams it dialed is gzipped from this many bytes on; nil: never. The other side then gzips too,
    /// by its server's `compressRepliesFrom`. It buys network with CPU of the event loop.
    package var compressFrom: Int?

    package init(clusterID: String) { self.clusterID = clusterID }
}

/// Where a node listens.
package struct PeerAddress: Equatable, Sendable {
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }
}
