import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix

/// An HTTP/2 client that sends and receives single frames: what a well-behaved client never does, and what it never sees.
final class RawPeer: Sendable {
    let channel: any Channel
    private let frames: AsyncStream<HTTP2Frame>

    /// A peer that has read the server's SETTINGS: what it may send no longer changes.
    /// - Parameter window: Bytes a stream may send us before we allow more.
    static func connect(host: String = "127.0.0.1", port: Int, window: Int = 65_535) async throws -> RawPeer {
        let (frames, continuation) = AsyncStream<HTTP2Frame>.makeStream()
        let channel = try await ClientBootstrap(group: testLoops)
            .connectTimeout(.minutes(10))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    var settings = NIOHTTP2Handler.ConnectionConfiguration()
                    settings.initialSettings = [HTTP2Setting(parameter: .initialWindowSize, value: window)]
                    settings.headerBlockValidation = .disabled
                    settings.contentLengthValidation = .disabled
                    // Every PING of ours is answered by one.
                    settings.controlFrameRateLimit.maximumCount = .max
                    let pipeline = channel.pipeline.syncOperations
                    try pipeline.addHandler(NIOHTTP2Handler(mode: .client, connectionConfiguration: settings))
                    try pipeline.addHandler(Collector(continuation))
                }
            }
            .connect(host: host, port: port).get()
        let peer = RawPeer(channel: channel, frames: frames)
        while let payload = await peer.next(on: 0) { if case .settings(.settings) = payload { break } }
        return peer
    }

    private init(channel: any Channel, frames: AsyncStream<HTTP2Frame>) {
        self.channel = channel
        self.frames = frames
    }

    private final class Collector: ChannelInboundHandler {
        typealias InboundIn = HTTP2Frame
        typealias OutboundOut = HTTP2Frame
        private let continuation: AsyncStream<HTTP2Frame>.Continuation
        init(_ continuation: AsyncStream<HTTP2Frame>.Continuation) { self.continuation = continuation }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.continuation.yield(self.unwrapInboundIn(data))
        }
        func channelInactive(context: ChannelHandlerContext) { self.continuation.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) {
            // Of one stream: the connection is sound. Any other ends it, also for those who wait for frames.
            if !(error is NIOHTTP2Errors.StreamError) { context.close(promise: nil) }
        }
    }

    func send(_ payload: HTTP2Frame.FramePayload, on stream: Int) async throws {
        try await self.channel.writeAndFlush(HTTP2Frame(streamID: HTTP2StreamID(stream), payload: payload)).get()
    }

    /// Sends several frames in one turn of the loop: nothing the server answers can come between them.
    func sendTogether(_ frames: [(stream: Int, payload: HTTP2Frame.FramePayload)]) async throws {
        try await self.channel.eventLoop.flatSubmit { [channel] in
            for (stream, payload) in frames.dropLast() {
                channel.write(HTTP2Frame(streamID: HTTP2StreamID(stream), payload: payload), promise: nil)
            }
            guard let (stream, payload) = frames.last else { return channel.eventLoop.makeSucceededVoidFuture() }
            return channel.writeAndFlush(HTTP2Frame(streamID: HTTP2StreamID(stream), payload: payload))
        }.get()
    }

    /// A whole request, or its beginning, in one go: an early answer may end the stream at any time.
    func sendRequest(_ headers: HPACKHeaders, _ data: ByteBuffer, on stream: Int, end: Bool = true) async throws {
        try await self.sendTogether([
            (stream, .headers(.init(headers: headers))),
            (stream, .data(.init(data: .byteBuffer(data), endStream: end))),
        ])
    }

    static func request(_ path: String, _ more: [(String, String)] = []) -> HPACKHeaders {
        HPACKHeaders(
            [
                (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "test"), ("te", "trailers"),
                ("content-type", "application/grpc"),
            ] + more)
    }

    func sendHeaders(_ headers: HPACKHeaders, on stream: Int, end: Bool = false) async throws {
        try await self.send(.headers(.init(headers: headers, endStream: end)), on: stream)
    }

    func sendData(_ data: ByteBuffer, on stream: Int, end: Bool = false) async throws {
        try await self.send(.data(.init(data: .byteBuffer(data), endStream: end)), on: stream)
    }

    /// The next frame of a stream, others dropped; nil when the connection is closed.
    func next(on stream: Int) async -> HTTP2Frame.FramePayload? {
        for await frame in self.frames where frame.streamID == HTTP2StreamID(stream) { return frame.payload }
        return nil
    }

    /// The next header block of a stream and whether it ends it.
    func nextHeaders(on stream: Int) async -> (fields: HPACKHeaders, end: Bool)? {
        while let payload = await self.next(on: stream) {
            if case .headers(let headers) = payload { return (headers.headers, headers.endStream) }
        }
        return nil
    }

    /// Waits until the server has answered a PING: it has read all we sent before.
    func roundTrip() async throws {
        try await self.send(.ping(HTTP2PingData(withInteger: 42), ack: false), on: 0)
        while let payload = await self.next(on: 0) { if case .ping(_, ack: true) = payload { return } }
    }

    func close() async { try? await self.channel.close().get() }
}

/// A message in its gRPC frame.
func framed(_ message: ByteBuffer, flag: UInt8 = 0) -> ByteBuffer {
    var buffer = ByteBuffer()
    buffer.writeInteger(flag)
    buffer.writeInteger(UInt32(message.readableBytes))
    buffer.writeImmutableBuffer(message)
    return buffer
}
