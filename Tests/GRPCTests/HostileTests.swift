import NIOCore
import NIOHPACK
import NIOHTTP2
import NIOPosix
import Primitives
import Testing

@testable import GRPC

/// Clients that break the rules. Whatever they send, the server goes on answering others.
@Suite(.ownThreads) struct HostileTests {
    /// Runs `attack` against a server and then makes a call that must succeed.
    private func survive(
        settings: GRPCServerSettings = .patient, _ attack: (Int) async throws -> Void
    ) async throws {
        try await withServer(Methods.all, settings: settings) { _, port in
            try await attack(port)
            let client = try await connect(port: port)
            let reply = try await client.unary("/test.Test/Echo", bytes("alive"))
            #expect(text(reply.message) == "alive")
            await client.close()
        }
    }

    static let preface = RawSocket.preface
    static let settingsFrame = RawSocket.settingsFrame
    static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        RawSocket.frame(type, flags: flags, stream: stream, payload)
    }

    @Test(arguments: [
        Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8),
        [UInt8](repeating: 0, count: 4_096),
        [UInt8](repeating: 255, count: 4_096),
        preface + [UInt8](repeating: 255, count: 64),
        // The first frame must be SETTINGS.
        preface + frame(6, [0, 0, 0, 0, 0, 0, 0, 0]),
        // SETTINGS on a stream; DATA on stream 0; DATA on a stream that never began; a length over the limit.
        preface + settingsFrame + frame(4, stream: 1),
        preface + settingsFrame + frame(0, stream: 0, [1]),
        preface + settingsFrame + frame(0, stream: 9, [1]),
        preface + settingsFrame + [255, 255, 255, 0, 0, 0, 0, 0, 1],
        // A window that overflows; a window update of nothing; a header block that is no HPACK.
        preface + settingsFrame + frame(8, [0x7f, 255, 255, 255]) + frame(8, [0x7f, 255, 255, 255]),
        preface + settingsFrame + frame(8, [0, 0, 0, 0]),
        preface + settingsFrame + frame(1, flags: 4, stream: 1, [UInt8](repeating: 0xff, count: 32)),
        // CONTINUATION without HEADERS; a push; an even stream; padding longer than the frame.
        preface + settingsFrame + frame(9, flags: 4, stream: 1, [0x82]),
        preface + settingsFrame + frame(5, flags: 4, stream: 1, [0, 0, 0, 2, 0x82]),
        preface + settingsFrame + frame(1, flags: 4, stream: 2, [0x82]),
        preface + settingsFrame + frame(0, flags: 8, stream: 1, [200, 1]),
    ])
    func brokenRulesCloseTheConnection(bytes: [UInt8]) async throws {
        try await self.survive { port in
            let socket = try await RawSocket.connect(port: port)
            await socket.send(bytes)
            await socket.closed.wait()
        }
    }

    /// A refused request that goes on as if it were a new one: the stream is over, the connection is sound.
    @Test func aRefusedRequestCannotBeginAgain() async throws {
        try await withServer(Methods.all) { _, port in
            let socket = try await RawSocket.connect(port: port)
            // :method GET, :scheme http, :path /, not ended; then a gRPC request as its trailers, ended.
            var again = RawSocket.headers("/test.Test/Echo", stream: 1)
            again[4] |= 1
            await socket.send(
                Self.preface + Self.settingsFrame + Self.frame(1, flags: 4, stream: 1, [0x82, 0x86, 0x84]) + again
                    + RawSocket.request("/test.Test/Echo", stream: 3))
            try await until { socket.closed.isSet || socket.frames.contains { $0.stream == 3 && $0.endsStream } }
            #expect(!socket.closed.isSet, "\(socket.frames)")
            await socket.close()
        }
    }

    @Test func halfRequestsHarmNobody() async throws {
        try await self.survive { port in
            let whole = Self.preface + Self.settingsFrame + RawSocket.request("/test.Test/Echo", stream: 1, [7, 7])
            for length in 0..<whole.count {
                let socket = try await RawSocket.connect(port: port)
                await socket.send(Array(whole[..<length]))
                await socket.close()
            }
        }
    }

    /// Valid beginnings with bytes changed at random.
    @Test(arguments: 0..<150)
    func flippedBytesHarmNobody(seed: Int) async throws {
        var random = SeededRNG(seed: UInt64(seed))
        var attack = Self.preface + Self.settingsFrame
        for stream in stride(from: UInt32(1), through: 9, by: 2) {
            attack += RawSocket.headers("/test.Test/Echoes", stream: stream)
            attack += Self.frame(0, flags: UInt8(stream & 2 >> 1), stream: stream, [0, 0, 0, 0, 3, 1, 2, 3])
        }
        for _ in 0..<Int.random(in: 1...8, using: &random) {
            let at = Int.random(in: Self.preface.count..<attack.count, using: &random)
            attack[at] = UInt8.random(in: 0...255, using: &random)
        }
        try await self.survive { port in
            let socket = try await RawSocket.connect(port: port)
            await socket.send(attack)
            await socket.close()
        }
    }

    @Test func aFloodOfPingsIsCutOff() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxControlFramesPerSecond = 1_000
        try await self.survive(settings: settings) { port in
            let socket = try await RawSocket.connect(port: port)
            let ping = Self.frame(6, [0, 0, 0, 0, 0, 0, 0, 0])
            await socket.send(Self.preface + Self.settingsFrame)
            let burst = [[UInt8]](repeating: ping, count: 10_000).flatMap { $0 }
            await socket.send(burst)
            await socket.closed.wait()
        }
    }

    @Test func bandwidthPingsAreNoFlood() async throws {
        try await withServer(Methods.all) { _, port in
            let peer = try await RawPeer.connect(port: port)
            for _ in 0..<500 { try await peer.roundTrip() }
            await peer.close()
        }
    }

    @Test func aFloodOfResetsIsCutOff() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxResetsPerSecond = 100
        try await self.survive(settings: settings) { port in
            let peer = try await RawPeer.connect(port: port)
            // Rapid reset (CVE-2023-44487): open and cancel, without end. In bursts: a machine may be too slow for a flood
            // of single frames.
            var stream = 1
            while peer.channel.isActive, !Task.isCancelled {
                var burst: [(Int, HTTP2Frame.FramePayload)] = []
                for _ in 0..<500 {
                    burst.append((stream, .headers(.init(headers: RawPeer.request("/test.Test/Echo")))))
                    burst.append((stream, .rstStream(.cancel)))
                    stream += 2
                }
                try? await peer.sendTogether(burst)
            }
        }
    }

    @Test func emptyDataFramesAreCutOff() async throws {
        try await self.survive { port in
            let peer = try await RawPeer.connect(port: port)
            try await peer.sendHeaders(RawPeer.request("/test.Test/Echo"), on: 1)
            while peer.channel.isActive, !Task.isCancelled { try? await peer.sendData(ByteBuffer(), on: 1) }
        }
    }

    @Test func aHeaderListOverTheLimitIsRefused() async throws {
        try await self.survive { port in
            let peer = try await RawPeer.connect(port: port)
            let huge = RawPeer.request("/test.Test/Echo", [("x-huge", String(repeating: "a", count: 100_000))])
            try? await peer.sendHeaders(huge, on: 1)
            while await peer.next(on: 1) != nil {}
            await peer.close()
        }
    }

    @Test func aSilentConnectionIsNotKept() async throws {
        var settings = GRPCServerSettings.patient
        settings.handshakeTimeout = .zero
        try await self.survive(settings: settings) { port in
            // No preface at all: the handshake never ends. The first second's round of the loop ends it.
            let socket = try await RawSocket.connect(port: port)
            await socket.closed.wait()
        }
    }

    @Test func aPeerThatAnswersNoPingIsDropped() async throws {
        var settings = GRPCServerSettings.patient
        settings.keepaliveInterval = .zero
        settings.keepaliveTimeout = .zero
        try await withServer(Methods.all, settings: settings) { _, port in
            // Speaks the preface and falls silent.
            let socket = try await RawSocket.connect(port: port)
            await socket.send(Self.preface + Self.settingsFrame)
            await socket.closed.wait()
        }
    }

    @Test func aPeerThatAnswersItsPingsStays() async throws {
        var settings = GRPCServerSettings.patient
        settings.keepaliveInterval = .zero
        try await withServer(Methods.all, settings: settings) { _, port in
            let peer = try await RawPeer.connect(port: port)
            var pings = 0
            while pings < 2, let payload = await peer.next(on: 0) {
                if case .ping(_, ack: false) = payload { pings += 1 }
            }
            try await peer.sendRequest(RawPeer.request("/test.Test/Echo"), framed(bytes("here")), on: 1)
            #expect(await peer.nextHeaders(on: 1)?.fields.first(name: ":status") == "200")
            await peer.close()
        }
    }

    @Test func anIdleConnectionIsSentAway() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxConnectionIdle = .zero
        try await withServer(Methods.all, settings: settings) { server, port in
            let peer = try await RawPeer.connect(port: port)
            var goAways = 0
            while let payload = await peer.next(on: 0) { if case .goAway = payload { goAways += 1 } }
            #expect(goAways == 2)
        }
    }

    /// A client sends the rest of a message nobody wants: the connection's window is still given back.
    @Test func dataForEndedCallsDoesNotCloseTheWindow() async throws {
        var settings = GRPCServerSettings.patient
        settings.connectionWindowBytes = 100_000
        settings.streamWindowBytes = 70_000
        settings.maxMessageBytes = 1_000
        try await withServer(Methods.all, settings: settings) { _, port in
            let client = try await connect(port: port)
            for _ in 0..<50 {
                await expectFailure(.resourceExhausted) { try await client.unary("/test.Test/Echo", zeros(60_000)) }
            }
            let reply = try await client.unary("/test.Test/Echo", bytes("room"))
            #expect(text(reply.message) == "room")
            await client.close()
        }
    }
}
