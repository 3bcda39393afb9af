import NIOCore
import NIOPosix
import Synchronization

/// A TCP connection with no protocol at all.
final class RawSocket: Sendable {
    /// The head of an HTTP/2 frame (RFC 9113, 4.1).
    struct Frame: Equatable {
        var type: UInt8
        var flags: UInt8
        var stream: UInt32
        var payload: [UInt8]

        static let data: UInt8 = 0
        static let headers: UInt8 = 1
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let ping: UInt8 = 6
        static let goAway: UInt8 = 7
        var endsStream: Bool { self.type <= 1 && self.flags & 1 == 1 }
    }

    let channel: any Channel
    let closed = Signal()
    private let received = Mutex<[UInt8]>([])

    static func connect(port: Int) async throws -> RawSocket {
        let bootstrap = ClientBootstrap(group: testLoops).connectTimeout(.minutes(10))
        let socket = RawSocket(try await bootstrap.connect(host: "127.0.0.1", port: port).get())
        try await socket.channel.pipeline.addHandler(Collector { bytes in socket.received.withLock { $0 += bytes } })
            .get()
        return socket
    }

    private init(_ channel: any Channel) {
        self.channel = channel
        channel.closeFuture.whenComplete { _ in self.closed.set() }
    }

    private final class Collector: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let take: @Sendable ([UInt8]) -> Void
        init(_ take: @escaping @Sendable ([UInt8]) -> Void) { self.take = take }
        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            self.take(Array(self.unwrapInboundIn(data).readableBytesView))
        }
    }

    /// The whole frames that came so far.
    var frames: [Frame] {
        let bytes = self.received.withLock { $0 }
        var frames: [Frame] = []
        var at = 0
        while at + 9 <= bytes.count {
            let length = Int(bytes[at]) << 16 | Int(bytes[at + 1]) << 8 | Int(bytes[at + 2])
            guard at + 9 + length <= bytes.count else { break }
            let stream = bytes[at + 5..<at + 9].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let payload = Array(bytes[at + 9..<at + 9 + length])
            frames.append(Frame(type: bytes[at + 3], flags: bytes[at + 4], stream: stream, payload: payload))
            at += 9 + length
        }
        return frames
    }

    /// Bytes a closed connection cannot take are no failure: the server may hang up at any time.
    func send(_ bytes: [UInt8]) async { try? await self.channel.writeAndFlush(ByteBuffer(bytes: bytes)).get() }
    func close() async { try? await self.channel.close().get() }

    // MARK: HTTP/2 by hand

    static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    static let settingsFrame = frame(4)

    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        let length = payload.count
        var frame: [UInt8] = [UInt8(length >> 16 & 255), UInt8(length >> 8 & 255), UInt8(length & 255), type, flags]
        frame += [UInt8(stream >> 24), UInt8(stream >> 16 & 255), UInt8(stream >> 8 & 255), UInt8(stream & 255)]
        return frame + payload
    }

    /// :method POST, :scheme http, :path literal, content-type literal.
    static func headers(_ path: String, stream: UInt32) -> [UInt8] {
        let path = Array(path.utf8)
        let type = Array("application/grpc".utf8)
        let block = [0x83, 0x86, 0x04, UInt8(path.count)] + path + [0x0f, 0x10, UInt8(type.count)] + type
        return self.frame(1, flags: 4, stream: stream, block)
    }

    /// A whole unary request.
    static func request(_ path: String, stream: UInt32, _ message: [UInt8] = [7]) -> [UInt8] {
        let prefix: [UInt8] = [0, 0, 0, 0, UInt8(message.count)]
        return self.headers(path, stream: stream) + self.frame(0, flags: 1, stream: stream, prefix + message)
    }
}
