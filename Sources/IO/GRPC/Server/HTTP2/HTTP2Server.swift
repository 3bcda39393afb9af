import NIOCore
import NIOHTTP2
import Primitives

/// The server's end of one HTTP/2 connection (RFC 9113), straight on the bytes of the channel.
///
/// It does what every connection needs: frames, header compression, both directions of flow control, the states of streams, and the
/// limits that keep a hostile peer from costing more than its connection. What the streams are for is the subclass's matter.
/// A reply leaves as one stretch of bytes, and all that is written in one turn of the loop by one call of the system: what a
/// call costs is printed by `make bench-wire`.
///
/// What differs from the letter of the RFC: priorities are read and ignored (5.3.1 allows it), and a stream whose server half has
/// ended is reset at once if the client's half has not (8.1).
///
/// Confined to its event loop.
class HTTP2Server: CallWire, ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    let limits: HTTP2Limits
    final private(set) var context: ChannelHandlerContext?
    final private(set) var isActive = false
    private var hasFailed = false
    /// Something arrived since keepalive last looked.
    final var hasRead = false
    final var isReading = false

    // Inbound.
    private var reader: FrameReader
    final var decoder: HeaderDecoder
    final var hasSettings = false
    /// A header block whose CONTINUATION must come next.
    final var openBlock: OpenBlock?
    final var streams: [HTTP2StreamID: HTTP2Stream] = [:]
    /// The highest that the client began.
    final var lastStreamID = HTTP2StreamID.rootStream
    /// What the client may still send on the connection.
    final var receiveWindow = 65_535
    final var emptyDataFrames = 0
    final var controlFrames: RateLimit
    final var resets: RateLimit
    final var streamErrors: RateLimit
    /// Streams we reset: what the client sent before it heard of that is no fault.
    final var forgiven: Set<HTTP2StreamID> = []
    final var forgivenOrder = CircularBuffer<HTTP2StreamID>()

    // Outbound.
    final var encoder = HeaderEncoder()
    /// What was written since the last flush.
    final var out = ByteBuffer()
    final var isDirty = false
    /// Completed when `out` has reached the socket.
    final var outPromises: [EventLoopPromise<Void>] = []
    /// What the client lets us send on the connection.
    final var sendWindow = 65_535
    /// What it lets us send on a new stream.
    final var initialSendWindow = 65_535
    /// Streams that may send as soon as there is room, in turn.
    final var waiting = CircularBuffer<HTTP2Stream>()
    /// Bytes handed to the channel since it could last take more.
    final var backlogBytes = 0
    /// Bytes handed to the channel since the last flush. TLS takes anything until then, and the channel knows nothing of it.
    final var unflushedBytes = 0

    struct OpenBlock {
        let stream: HTTP2StreamID
        let endStream: Bool
        var bytes: ByteBuffer
        var frames = 1
    }

    init(flusher: Flusher, limits: HTTP2Limits) {
        self.limits = limits
        self.reader = FrameReader(maxFrameBytes: limits.frameBytes)
        self.decoder = HeaderDecoder(maxListBytes: limits.headerListBytes)
        self.controlFrames = RateLimit(limits.controlFramesPerSecond, in: .seconds(1))
        self.resets = RateLimit(limits.resetsPerSecond, in: .seconds(1))
        self.streamErrors = RateLimit(limits.streamErrors, in: .seconds(30))
        super.init(flusher: flusher)
    }

    // MARK: What the subclass does

    func connectionActive() {}
    /// Its streams are gone.
    func connectionInactive(_ streams: [HTTP2Stream]) {}
    func receivedSettings() {}
    /// A request begins. To take it: ``open(_:endStream:)``; otherwise ``refuse(_:_:)`` or ``answer(_:_:remoteEnded:)``.
    func received(_ block: RequestBlock, endStream: Bool, on id: HTTP2StreamID) throws(HTTP2Fault) {}
    /// The request ended, without more data.
    func receivedEnd(of stream: HTTP2Stream) {}
    /// - Parameter windowBytes: What the frame took of the stream's window: the data and its padding.
    func received(data: ByteBuffer, windowBytes: Int, isLast: Bool, on stream: HTTP2Stream) {}
    func receivedPingAck(_ data: UInt64) {}
    /// Nothing more can be written to it.
    func closed(_ stream: HTTP2Stream) {}

    // MARK: ChannelInboundHandler

    final func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        if context.channel.isActive { self.becomeActive() }
    }

    final func handlerRemoved(context: ChannelHandlerContext) {
        self.becomeInactive()
        self.context = nil
    }

    final func channelActive(context: ChannelHandlerContext) {
        self.becomeActive()
        context.fireChannelActive()
    }

    final func channelInactive(context: ChannelHandlerContext) {
        self.becomeInactive()
        context.fireChannelInactive()
    }

    private func becomeActive() {
        guard !self.isActive else { return }
        self.isActive = true
        self.writeSettings()
        self.flushNow()
        self.connectionActive()
    }

    private func becomeInactive() {
        guard self.isActive else { return }
        self.isActive = false
        let open = Array(self.streams.values)
        self.streams = [:]
        self.waiting.removeAll()
        let promises = self.outPromises
        self.outPromises = []
        // First: whoever waits for a promise must find its call over.
        self.connectionInactive(open)
        for promise in promises { promise.fail(ChannelError.ioOnClosedChannel) }
        for stream in open { self.dropUnsent(stream) }
    }

    final func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.isReading = true
        self.hasRead = true
        var bytes = self.unwrapInboundIn(data)
        do throws(HTTP2Fault) {
            while self.isActive, let frame = try self.reader.next(&bytes) { try self.take(frame) }
        } catch {
            self.fail(error)
        }
    }

    final func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.flushNow()
        context.fireChannelReadComplete()
    }

    final func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            self.backlogBytes = 0
            self.sendWaiting()
            // Not while reading, but from within a flush: what has room now goes out in it.
            self.flushNow()
        }
        context.fireChannelWritabilityChanged()
    }

    final func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }

    // MARK: CallWire

    final override func writeData(_ data: ByteBuffer, endStream: Bool, on call: WireCall, promise: EventLoopPromise<Void>?) {
        self.send(data, endStream: endStream, on: call, promise: promise)
    }

    final override func writeWindowUpdate(_ bytes: Int, on call: WireCall) {
        guard self.isActive, self.streams[call.id] === call else { return }
        call.receiveWindow += bytes
        self.writeWindowUpdate(bytes, on: call.id)
    }

    final override func writeReset(_ code: HTTP2ErrorCode, on call: WireCall) {
        guard self.streams[call.id] === call else { return }
        self.reset(code, call)
    }

    final override func flushNow() { if self.isDirty { self.flushOut() } }

    // MARK: The end

    /// The connection is over: the client hears why.
    final func fail(_ fault: HTTP2Fault) {
        guard self.isActive, !self.hasFailed else { return }
        self.hasFailed = true
        self.writeGoAway(last: self.lastStreamID, code: fault.code)
        self.close()
        // Not when the channel says so: nothing of this client's is looked at any more.
        self.becomeInactive()
    }

    /// Closes after what was written before has left.
    final func close() {
        guard let context = self.context, self.isActive else { return }
        self.flushNow()
        context.close(promise: nil)
    }
}

/// What one connection may take.
struct HTTP2Limits {
    var streams: Int
    var headerListBytes: Int
    var frameBytes: Int
    var streamWindowBytes: Int
    var connectionWindowBytes: Int
    var controlFramesPerSecond: Int
    var resetsPerSecond: Int
    /// In 30 seconds.
    var streamErrors: Int

    /// DATA frames without data and without an end, in a row.
    static let emptyDataFrames = 8
    /// Of one header block.
    static let continuations = 16
    /// A client that reads nothing is not owed more than this of header blocks, PING and SETTINGS answers. Replies are not meant:
    /// they wait on their streams while the channel is full.
    static let backlogBytes = 8 << 20

    init(_ settings: GRPCServerSettings) {
        self.streams = settings.maxConcurrentStreams
        self.headerListBytes = settings.maxHeaderListBytes
        self.frameBytes = settings.maxFrameBytes
        self.streamWindowBytes = settings.streamWindowBytes
        self.connectionWindowBytes = settings.connectionWindowBytes
        self.controlFramesPerSecond = settings.maxControlFramesPerSecond
        self.resetsPerSecond = settings.maxResetsPerSecond
        self.streamErrors = settings.maxStreamErrors
    }
}
