import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives

/// One HTTP/2 connection, either end: takes frames straight from `NIOHTTP2Handler`, with no channel per stream.
///
/// NIOHTTP2Handler keeps HPACK, the stream state machine, outbound flow control and the flood limits; the calls, the
/// inbound windows, keepalive and the timing of flushes are ours. Measured, this is the cheapest of the shapes it offers.
///
/// Confined to its event loop.
class HTTP2Connection: ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame
    typealias OutboundOut = HTTP2Frame

    final let eventLoop: any EventLoop
    final let flusher: Flusher
    private let windowBytes: Int
    final private(set) var context: ChannelHandlerContext?
    final private(set) var isActive = false
    private var isReading = false
    /// Something was written since the last flush.
    fileprivate(set) final var isDirty = false
    /// Something arrived since keepalive last looked.
    final var hasRead = false

    init(flusher: Flusher, windowBytes: Int) {
        self.eventLoop = flusher.eventLoop
        self.flusher = flusher
        self.windowBytes = windowBytes
    }

    // MARK: What the two ends do in their own way

    func connectionActive() {}
    func connectionInactive() {}
    func received(headers: HTTP2Frame.FramePayload.Headers, on id: HTTP2StreamID) {}
    /// - Parameter windowBytes: What the frame took of the windows: the data and its padding.
    func received(data: ByteBuffer, windowBytes: Int, isLast: Bool, on id: HTTP2StreamID) {}
    func receivedGoAway(lastStreamID: HTTP2StreamID, code: HTTP2ErrorCode) {}
    func receivedSettings() {}
    func receivedPingAck(_ data: HTTP2PingData) {}
    func streamClosed(_ id: HTTP2StreamID, reason: HTTP2ErrorCode?) {}
    func connectionFailed(_ error: any Error) {}

    // MARK: Writing

    @inline(__always)
    final func write(_ payload: HTTP2Frame.FramePayload, on id: HTTP2StreamID, promise: EventLoopPromise<Void>? = nil) {
        guard let context = self.context, self.isActive else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        if !self.isDirty {
            self.isDirty = true
            // While reading, the end of the read flushes.
            if !self.isReading { self.flusher.add(self) }
        }
        context.write(self.wrapOutboundOut(HTTP2Frame(streamID: id, payload: payload)), promise: promise)
    }

    final func writeHeaders(
        _ headers: HPACKHeaders, endStream: Bool = false, on id: HTTP2StreamID, promise: EventLoopPromise<Void>? = nil
    ) {
        self.write(.headers(.init(headers: headers, endStream: endStream)), on: id, promise: promise)
    }

    final func writeData(
        _ data: ByteBuffer, endStream: Bool = false, on id: HTTP2StreamID, promise: EventLoopPromise<Void>? = nil
    ) {
        self.write(.data(.init(data: .byteBuffer(data), endStream: endStream)), on: id, promise: promise)
    }

    final func writeWindowUpdate(_ bytes: Int, on id: HTTP2StreamID) {
        self.write(.windowUpdate(windowSizeIncrement: bytes), on: id)
    }

    final func flushNow() {
        guard self.isDirty else { return }
        self.isDirty = false
        self.context?.flush()
    }

    /// Closes after what was written before has left.
    final func close() {
        guard let context = self.context, self.isActive else { return }
        self.flushNow()
        context.close(promise: nil)
    }

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
        self.connectionActive()
        // SETTINGS set the windows of streams; the connection's own only grows by WINDOW_UPDATE (RFC 9113, 6.9.2).
        if self.windowBytes > 65_535 { self.writeWindowUpdate(self.windowBytes - 65_535, on: .rootStream) }
    }

    private func becomeInactive() {
        guard self.isActive else { return }
        self.isActive = false
        self.connectionInactive()
    }

    final func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.isReading = true
        self.hasRead = true
        let frame = self.unwrapInboundIn(data)
        switch frame.payload {
        case .data(let data):
            guard case .byteBuffer(let bytes) = data.data else { return }
            let windowBytes = bytes.readableBytes + (data.paddingBytes.map { $0 + 1 } ?? 0)
            self.received(data: bytes, windowBytes: windowBytes, isLast: data.endStream, on: frame.streamID)
        case .headers(let headers):
            self.received(headers: headers, on: frame.streamID)
        case .goAway(let last, let code, _):
            self.receivedGoAway(lastStreamID: last, code: code)
        case .settings(.settings): self.receivedSettings()
        case .ping(let data, ack: true): self.receivedPingAck(data)
        // Resets come as StreamClosedEvent; the rest NIOHTTP2Handler has seen to.
        default: break
        }
    }

    final func channelReadComplete(context: ChannelHandlerContext) {
        self.isReading = false
        self.flushNow()
        context.fireChannelReadComplete()
    }

    final func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if let update = event as? NIOHTTP2WindowUpdatedEvent {
            self.windowChanged(update)
        } else if let closed = event as? StreamClosedEvent {
            self.streamClosed(closed.streamID, reason: closed.reason)
        } else {
            context.fireUserInboundEventTriggered(event)
        }
    }

    /// The connection's window is given back as data arrives; what a call may hold is bounded by its stream's window and
    /// by the loop's budget. Taken from NIOHTTP2Handler's own account, which also counts frames it drops for closed streams.
    private func windowChanged(_ event: NIOHTTP2WindowUpdatedEvent) {
        guard event.streamID == .rootStream, let size = event.inboundWindowSize, size < self.windowBytes / 2 else { return }
        self.writeWindowUpdate(self.windowBytes - size, on: .rootStream)
    }

    final func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIOHTTP2Handler has answered with RST_STREAM; the connection is sound.
        if error is NIOHTTP2Errors.StreamError { return }
        self.connectionFailed(error)
        context.close(promise: nil)
    }
}

/// Flushes the connections of one event loop that were written to outside a read, once per turn of the loop.
final class Flusher {
    let eventLoop: any EventLoop
    private var dirty: [HTTP2Connection] = []
    private var isScheduled = false
    /// Set while a batch of completions is worked off: its end flushes.
    private var isHeld = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func add(_ connection: HTTP2Connection) {
        self.dirty.append(connection)
        guard !self.isScheduled, !self.isHeld else { return }
        self.isScheduled = true
        self.eventLoop.assumeIsolated().execute {
            self.isScheduled = false
            self.flushAll()
        }
    }

    /// Runs `body` and flushes what it wrote, once.
    func batch(_ body: () -> Void) {
        self.isHeld = true
        body()
        self.isHeld = false
        self.flushAll()
    }

    private func flushAll() {
        // A flush can write again (a promise resumes a pump): those wait for the next turn.
        let connections = self.dirty
        self.dirty.removeAll(keepingCapacity: true)
        for connection in connections { connection.flushNow() }
    }
}
