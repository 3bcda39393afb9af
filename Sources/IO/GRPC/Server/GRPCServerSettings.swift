package import Primitives

/// Limits and habits of a ``GRPCServer``. Every queue and wait has a bound here.
package struct GRPCServerSettings: Sendable {
    /// Where the async functions of streaming methods run.
    package enum StreamExecutor: Sendable {
        /// On the call's event loop: no thread hop per message (about 40 us saved), so they must not block or compute for long.
        case eventLoop
        /// On Swift's shared pool.
        case shared
    }

    /// Streams open at once on one connection, announced in SETTINGS and enforced.
    package var maxConcurrentStreams = 1_000
    /// Connections open at once on this server; one more is closed on arrival.
    package var maxConnections = 10_000
    /// One message, either way, after decompression. Larger is RESOURCE_EXHAUSTED, and the connection lives on.
    package var maxMessageBytes = Limits.messageBytes
    /// All header fields of one request, as HPACK counts them.
    package var maxHeaderListBytes = 16 << 10
    /// Unread request bytes one streaming call may hold. A unary message may be larger: its window is renewed as it arrives.
    package var streamWindowBytes = 1 << 20
    /// Request bytes in flight on one connection.
    package var connectionWindowBytes = 8 << 20
    /// Largest DATA frame a client may send.
    package var maxFrameBytes = 64 << 10
    /// Request and reply bytes one event loop may hold for calls not yet read or sent; past it new requests are
    /// RESOURCE_EXHAUSTED with a retry hint. 512 MiB holds several of the largest messages each way.
    package var bufferedBytesPerLoop = 512 << 20
    /// Reply bytes one connection may leave unread; past it its new calls are RESOURCE_EXHAUSTED.
    package var unreadReplyBytesPerConnection = 128 << 20
    /// `send` of a streaming call suspends while more than this is unsent.
    package var unsentBytes = 64 << 10
    /// Bytes of one streaming call written in one turn of the loop.
    package var batchBytes = 32 << 10
    /// Replies at least this large are compressed when the request was (`grpc-encoding: gzip`) and gzip is accepted. nil: never.
    package var compressRepliesFrom: Int? = 1_024
    /// A connection silent this long is sent a PING ...
    package var keepaliveInterval: Duration = .seconds(60)
    /// ... and closed when the answer takes longer than this.
    package var keepaliveTimeout: Duration = .seconds(20)
    /// TLS handshake and HTTP/2 preface must be complete this soon.
    package var handshakeTimeout: Duration = .seconds(10)
    /// A connection with no call this long is sent away with GOAWAY. nil: never.
    package var maxConnectionIdle: Duration? = .seconds(30 * 60)
    /// PING, SETTINGS and PRIORITY frames from one connection in a second. Go clients measure bandwidth with a PING per round
    /// trip, thousands a second on a fast network.
    package var maxControlFramesPerSecond = 10_000
    /// Cancelled calls from one connection in a second, before it is taken for a flood.
    package var maxResetsPerSecond = 4_000
    /// Malformed requests from one connection in 30 seconds.
    package var maxStreamErrors = 200
    package var streamExecutor = StreamExecutor.eventLoop
    /// Makes one object per event loop, on that loop, for the scratch memory of its handlers. See ``GRPCCall/loopLocal(_:)``.
    package var loopLocal: (@Sendable () -> AnyObject)?
    /// Encodes `google.rpc.Status` for the `grpc-status-details-bin` trailer.
    package var statusDetails: (@Sendable (VecraftError) -> [UInt8]?)?

    package init() {}

    /// - Throws: INVALID_ARGUMENT naming the first setting that makes no sense.
    package func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ rule: String) throws(VecraftError) {
            if !holds { throw .invalid(field, rule) }
        }
        try check((1...1_000_000).contains(self.maxConcurrentStreams), "maxConcurrentStreams", "1 to 1000000")
        try check(self.maxConnections >= 1, "maxConnections", "at least 1")
        try check((1...Int(UInt32.max) - 1).contains(self.maxMessageBytes), "maxMessageBytes", "1 to 4 GiB")
        try check((65_535...Int(Int32.max)).contains(self.streamWindowBytes), "streamWindowBytes", "65535 to 2 GiB")
        try check(
            (65_535...Int(Int32.max)).contains(self.connectionWindowBytes), "connectionWindowBytes", "65535 to 2 GiB")
        try check((16_384...(1 << 24) - 1).contains(self.maxFrameBytes), "maxFrameBytes", "16 KiB to 16 MiB")
        try check(self.batchBytes >= 1_024 && self.unsentBytes >= self.batchBytes, "batchBytes", "1 KiB to unsentBytes")
        try check(self.maxHeaderListBytes >= 1_024, "maxHeaderListBytes", "at least 1 KiB")
        try check(self.maxControlFramesPerSecond >= 10, "maxControlFramesPerSecond", "at least 10")
        try check(self.maxResetsPerSecond >= 10, "maxResetsPerSecond", "at least 10")
    }
}
