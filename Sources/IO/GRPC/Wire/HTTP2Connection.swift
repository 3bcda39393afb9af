import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives

/// The client's end of one HTTP/2 connection: takes frames straight from `NIOHTTP2Handler`, with no channel per stream.
///
/// NIOHTTP2Handler keeps HPACK, the stream state machine, outbound flow control and the flood limits; the calls, the
/// inbound windows, keepalive and the timing of flushes are ours. Measured, this is the cheapest of the shapes it offers.
/// (The server's end, where each call counts, does without it: ``HTTP2Server``.)
///
/// Confined to its event loop.
class HTTP2Connection: CallWire, ChannelInboundHandler {
    typealias InboundIn = HTTP2Frame
    typealias OutboundOut = HTTP2Frame

    private let windowBytes: Int
    final private(set) var context: ChannelHandlerContext?
    final private(set) var isActive = false
    private var isReading = false
    /// Something was written since the last flush.
    private var isDirty = false
    /// Something arrived since keepalive last looked.
    final var hasRead = false

    init(flusher: Flusher, windowBytes: Int) {
        self.windowBytes = windowBytes
        super.init(flusher: flusher)
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

    final override func writeData(
        _ data: ByteBuffer, endStream: Bool, on call: WireCall, promise: EventLoopPromise<Void>?
    ) {
        self.write(.data(.init(data: .byteBuffer(data), endStream: endStream)), on: call.id, promise: promise)
    }

    final override func writeWindowUpdate(_ bytes: Int, on call: WireCall) {
        self.write(.windowUpdate(windowSizeIncrement: bytes), on: call.id)
    }

    final override func writeReset(_ code: HTTP2ErrorCode, on call: WireCall) {
        self.write(.rstStream(code), on: call.id)
    }

    final override func flushNow() {
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
        if self.windowBytes > 65_535 { self.renewWindow(by: self.windowBytes - 65_535) }
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
        self.renewWindow(by: self.windowBytes - size)
    }

    private func renewWindow(by bytes: Int) { self.write(.windowUpdate(windowSizeIncrement: bytes), on: .rootStream) }

    final func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // NIOHTTP2Handler has answered with RST_STREAM; the connection is sound.
        if error is NIOHTTP2Errors.StreamError { return }
        self.connectionFailed(error)
        context.close(promise: nil)
    }
}
