import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives
import Synchronization
import Testing

@testable import GRPC

/// The server's own HTTP/2, part by part: against nio-http2's HPACK as the judge, and byte by byte.
@Suite struct HTTP2PartTests {
    // MARK: Frames

    @Test(arguments: 0..<50)
    func framesAreTheSameHoweverTheyArrive(seed: Int) throws {
        var random = SeededRNG(seed: UInt64(seed))
        var sent: [(kind: UInt8, stream: UInt32, payload: [UInt8])] = []
        var bytes = RawSocket.preface
        for _ in 0..<30 {
            let size =
                Bool.random(using: &random)
                ? Int.random(in: 0...40, using: &random) : Int.random(in: 0...20_000, using: &random)
            let payload = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ seed) }
            sent.append(
                (UInt8.random(in: 0...9, using: &random), UInt32.random(in: 0...0x7fff_ffff, using: &random), payload))
            // The reserved bit may be set and means nothing.
            let reserved: UInt32 = Bool.random(using: &random) ? 1 << 31 : 0
            bytes += RawSocket.frame(sent.last!.kind, stream: sent.last!.stream | reserved, payload)
        }
        var reader = FrameReader(maxFrameBytes: 65_536)
        var received: [HTTP2RawFrame] = []
        var at = 0
        while at < bytes.count {
            let count = min(bytes.count - at, Int.random(in: 1...(seed % 2 == 0 ? 30 : 9_000), using: &random))
            var piece = ByteBuffer(bytes: bytes[at..<at + count])
            while let frame = try reader.next(&piece) { received.append(frame) }
            #expect(piece.readableBytes == 0)
            at += count
        }
        #expect(received.count == sent.count)
        for (frame, expected) in zip(received, sent) {
            #expect(frame.kind == expected.kind && UInt32(Int(frame.stream)) == expected.stream)
            #expect(Array(frame.payload.readableBytesView) == expected.payload)
        }
    }

    @Test func aFrameOverTheLimitIsNotWaitedFor() throws {
        var reader = FrameReader(maxFrameBytes: 16_384)
        var bytes = ByteBuffer(bytes: RawSocket.preface + [0, 0x40, 1, 0, 0, 0, 0, 0, 1])
        let fault = #expect(throws: HTTP2Fault.self) { _ = try reader.next(&bytes) }
        #expect(fault?.code == .frameSizeError)
    }

    // MARK: Header blocks out

    private func decoded(_ bytes: ByteBuffer, by decoder: inout HPACKDecoder) throws -> [String] {
        var bytes = bytes
        return try decoder.decodeHeaders(from: &bytes).map { "\($0.name): \($0.value)" }
    }

    private static let head = [":status: 200", "content-type: application/grpc"]

    @Test(arguments: [nil, 0, 100, 4_095, 4_096, 1 << 20])
    func headerBlocksMeanWhatTheySay(peerTableBytes: Int?) throws {
        var encoder = HeaderEncoder()
        var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
        var random = SeededRNG(seed: UInt64(peerTableBytes ?? 7))
        for round in 0..<60 {
            if round == 20, let peerTableBytes {
                encoder.limitTable(bytes: peerTableBytes)
                decoder.maxDynamicTableLength = min(peerTableBytes, 4_096)
            }
            let block: HeaderBlock
            let expected: [String]
            switch Int.random(in: 0..<4, using: &random) {
            case 0: (block, expected) = (.head, Self.head)
            case 1: (block, expected) = (.ok, ["grpc-status: 0"])
            case 2:
                let value = String(repeating: "ü~", count: Int.random(in: 0...200, using: &random))
                block = .fields([":status": "415", "x-long": value, "x-empty": ""])
                expected = [":status: 415", "x-long: \(value)", "x-empty: "]
            default:
                var fields: HPACKHeaders = [":status": "200", "grpc-status": "5"]
                fields.add(name: "grpc-message", value: "secret", indexing: .neverIndexed)
                block = .fields(fields)
                expected = [":status: 200", "grpc-status: 5", "grpc-message: secret"]
            }
            var out = ByteBuffer()
            encoder.write(block, into: &out)
            let read = try self.decoded(out, by: &decoder)
            #expect(read == expected)
        }
    }

    @Test func aReplyCostsAByteAFieldOnceItIsKnown() throws {
        for first in [HeaderBlock.head, .ok] {
            var encoder = HeaderEncoder()
            var decoder = HPACKDecoder(allocator: ByteBufferAllocator())
            var blocks: [ByteBuffer] = []
            for block in [first, .head, .ok, .head, .ok] {
                var out = ByteBuffer()
                encoder.write(block, into: &out)
                blocks.append(out)
            }
            #expect(blocks[3].readableBytes == 2 && blocks[4].readableBytes == 1)
            let texts = try blocks.map { try self.decoded($0, by: &decoder) }
            #expect(texts[3] == Self.head && texts[4] == ["grpc-status: 0"])
        }
    }

    // MARK: Header blocks in

    /// Blocks as clients of all habits write them, many of them again and again: always what a plain decoder reads.
    @Test(arguments: 0..<40)
    func knownHeaderBlocksAreReadAsIfDecoded(seed: Int) throws {
        var random = SeededRNG(seed: UInt64(seed))
        var ours = HeaderDecoder(maxListBytes: 16 << 10)
        var plain = HPACKDecoder(allocator: ByteBufferAllocator())
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        for _ in 0..<300 {
            var fields = HPACKHeaders()
            fields.add(name: ":method", value: "POST")
            fields.add(
                name: ":path", value: "/a/\(Int.random(in: 0..<12, using: &random))",
                indexing: seed % 3 == 0 ? .nonIndexable : .indexable)
            if Int.random(in: 0..<4, using: &random) == 0 {
                let indexing =
                    [HPACKIndexing.indexable, .nonIndexable, .neverIndexed].randomElement(using: &random) ?? .indexable
                fields.add(
                    name: "x-\(Int.random(in: 0..<3, using: &random))",
                    value: "\(Int.random(in: 0..<5, using: &random))", indexing: indexing)
            }
            // Large enough, now and then, to push all others out of the table.
            if Int.random(in: 0..<30, using: &random) == 0 {
                fields.add(name: "x-large", value: String(repeating: "l", count: 4_000))
            }
            if Int.random(in: 0..<40, using: &random) == 0 {
                try encoder.setDynamicTableSize(Int.random(in: 0...4_096, using: &random))
            }
            var bytes = ByteBuffer()
            try encoder.encode(headers: fields, to: &bytes)
            var copy = bytes
            let expected = try plain.decodeHeaders(from: &copy)
            let read = try ours.decode(bytes).fields
            #expect(read == expected)
        }
    }

    @Test func aRepeatedBlockIsNotDecodedAgain() throws {
        var decoder = HeaderDecoder(maxListBytes: 16 << 10)
        var encoder = HPACKEncoder(allocator: ByteBufferAllocator())
        func block(_ fields: HPACKHeaders) throws -> RequestBlock {
            var bytes = ByteBuffer()
            try encoder.encode(headers: fields, to: &bytes)
            return try decoder.decode(bytes)
        }
        let one: HPACKHeaders = [":method": "POST", ":path": "/a"]
        _ = try block(one)
        let second = try block(one)
        #expect(try block(one) === second)
        // The table has changed: the same bytes could mean something else.
        _ = try block([":method": "POST", ":path": "/b"])
        #expect(try block(one) !== second)
    }

    @Test(
        arguments: [
            ([0x82, 0x86, 0xbf], true), ([0xff, 0x00], true), ([0x04, 0x01, 0x61], true),
            ([0x00, 0x01, 0x61, 0x01, 0x62], true), ([], true),
            // Enters the table; changes its size; a secret; cut short.
            ([0x44, 0x01, 0x61], false), ([0x20], false), ([0x14, 0x01, 0x61], false), ([0x82, 0x44], false),
            ([0x04, 0x05, 0x61], false),
            ([0xff], false), ([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], false), ([0x04], false),
        ] as [([UInt8], Bool)])
    func onlyBlocksThatChangeNoTableLast(bytes: [UInt8], lasts: Bool) {
        #expect(bytes.withUnsafeBytes { HeaderDecoder.changesNoTable($0) } == lasts)
    }

    @Test func aRateIsCountedInItsStretch() {
        var rate = RateLimit(3, in: .seconds(1))
        let start = NIODeadline.uptimeNanoseconds(1 << 40)
        let verdicts = [0, 0, 0, 900, 1_001].map { rate.isExceeded(now: start + .milliseconds($0)) }
        #expect(verdicts == [false, false, false, true, false])
    }
}

/// The same on the wire: what a client may do, and what it may not.
@Suite(.ownThreads) struct HTTP2WireTests {
    private static let begin = RawSocket.preface + RawSocket.settingsFrame
    private static func frame(_ type: UInt8, flags: UInt8 = 0, stream: UInt32 = 0, _ payload: [UInt8] = []) -> [UInt8] {
        RawSocket.frame(type, flags: flags, stream: stream, payload)
    }
    private static func word(_ value: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (24 - 8 * $0)) }
    }

    private func withSocket(
        _ methods: [String: GRPCMethod] = Methods.all, settings: GRPCServerSettings = .patient,
        _ body: (RawSocket) async throws -> Void
    ) async throws {
        try await withServer(methods, settings: settings) { _, port in
            let socket = try await RawSocket.connect(port: port)
            do { try await body(socket) } catch {
                await socket.close()
                throw error
            }
            await socket.close()
        }
    }

    /// Waits for an answer to stream `stream`, or for the end of the connection, which is wrong.
    private func expectAnswer(
        _ socket: RawSocket, on stream: UInt32, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        try await until { socket.closed.isSet || socket.frames.contains { $0.stream == stream && $0.endsStream } }
        #expect(!socket.closed.isSet, "\(socket.frames.suffix(4))", sourceLocation: sourceLocation)
        #expect(
            socket.frames.contains { $0.stream == stream && $0.type == RawSocket.Frame.data },
            sourceLocation: sourceLocation)
    }

    private func expectGoAway(
        _ socket: RawSocket, _ code: UInt8, sourceLocation: SourceLocation = #_sourceLocation
    ) async {
        await socket.closed.wait()
        let last = socket.frames.last { $0.type == RawSocket.Frame.goAway }
        #expect(last?.payload.last == code, "\(socket.frames.suffix(3))", sourceLocation: sourceLocation)
    }

    @Test func whatThePaddingHidesIsNotSeen() async throws {
        try await self.withSocket { socket in
            var head = RawSocket.headers("/test.Test/Echo", stream: 1)
            let block = Array(head[9...])
            // Padded, with a priority: 3 bytes of padding, 5 of priority.
            head = Self.frame(1, flags: 4 | 8 | 0x20, stream: 1, [3, 0, 0, 0, 0, 15] + block + [0, 0, 0])
            await socket.send(Self.begin + head + Self.frame(0, flags: 1 | 8, stream: 1, [2, 0, 0, 0, 0, 1, 7, 0, 0]))
            try await self.expectAnswer(socket, on: 1)
            let data = socket.frames.first { $0.stream == 1 && $0.type == RawSocket.Frame.data }
            #expect(data?.payload == [0, 0, 0, 0, 1, 7])
        }
    }

    @Test func aHeaderBlockMayBeContinued() async throws {
        try await self.withSocket { socket in
            let block = Array(RawSocket.headers("/test.Test/Echo", stream: 1)[9...])
            await socket.send(
                Self.begin + Self.frame(1, stream: 1, Array(block[..<3]))
                    + Self.frame(9, stream: 1, Array(block[3..<9]))
                    + Self.frame(9, flags: 4, stream: 1, Array(block[9...]))
                    + Self.frame(0, flags: 1, stream: 1, [0, 0, 0, 0, 1, 7]))
            try await self.expectAnswer(socket, on: 1)
        }
    }

    @Test func aHeaderBlockWithoutEndIsCutOff() async throws {
        try await self.withSocket { socket in
            let pieces = (0..<20).flatMap { _ in Self.frame(9, stream: 1, [0x82]) }
            await socket.send(Self.begin + Self.frame(1, stream: 1, [0x82]) + pieces)
            await self.expectGoAway(socket, 11)
        }
    }

    @Test(
        arguments: [
            // Between a header block and its continuation; the continuation of another stream's.
            (frame(1, stream: 1, [0x82]) + frame(6, [0, 0, 0, 0, 0, 0, 0, 0]), 1),
            (frame(1, stream: 1, [0x82]) + frame(9, flags: 4, stream: 3, [0x82]), 1),
            // Sizes that no frame of its kind has.
            (frame(6, [0]), 6), (frame(4, [0]), 6), (frame(4, flags: 1, [0, 0, 0, 0, 0, 0]), 6),
            (frame(8, [0, 0, 1]), 6),
            (RawSocket.headers("/test.Test/Echo", stream: 1) + frame(3, stream: 1, [0]), 6),
            (frame(2, stream: 1, [0]), 6), (frame(7, [0]), 6),
            // Of a stream that never began.
            (frame(3, stream: 5, [0, 0, 0, 8]), 1), (frame(8, stream: 5, [0, 0, 0, 1]), 1),
            // Settings that make no sense.
            (frame(4, [0, 2, 0, 0, 0, 2]), 1), (frame(4, [0, 4, 0x80, 0, 0, 0]), 3), (frame(4, [0, 5, 0, 0, 0, 1]), 1),
            // Where they do not belong.
            (frame(6, stream: 1, [0, 0, 0, 0, 0, 0, 0, 0]), 1), (frame(7, stream: 1, [0, 0, 0, 0, 0, 0, 0, 0]), 1),
            (frame(2, [0, 0, 0, 0, 0]), 1),
            // An index far beyond the table.
            (frame(1, flags: 4, stream: 1, [0xfe]), 9),
        ] as [([UInt8], UInt8)])
    func aBrokenRuleIsNamed(bytes: [UInt8], code: UInt8) async throws {
        try await self.withSocket { socket in
            await socket.send(Self.begin + bytes)
            await self.expectGoAway(socket, code)
        }
    }

    @Test func unknownFramesAndSettingsAreIgnored() async throws {
        try await self.withSocket { socket in
            await socket.send(
                Self.begin + Self.frame(0xfa, flags: 0xff, stream: 77, [1, 2, 3])
                    + Self.frame(4, [0x0a, 0x0a, 1, 2, 3, 4])
                    + Self.frame(2, stream: 9, [0, 0, 0, 0, 1]) + RawSocket.request("/test.Test/Echo", stream: 1))
            try await self.expectAnswer(socket, on: 1)
        }
    }

    /// Late frames of a call that is over, as a client sends that has not heard yet.
    @Test func whatComesTooLateHarmsNobody() async throws {
        try await self.withSocket { socket in
            await socket.send(Self.begin + RawSocket.headers("/test.Test/Nope", stream: 1))
            try await until {
                socket.closed.isSet || socket.frames.contains { $0.stream == 1 && $0.type == RawSocket.Frame.reset }
            }
            await socket.send(
                Self.frame(8, stream: 1, Self.word(10)) + Self.frame(0, stream: 1, [0, 0, 0, 0, 1])
                    + Self.frame(0, flags: 1, stream: 1, [7])
                    + Self.frame(3, stream: 1, Self.word(8)) + RawSocket.request("/test.Test/Echo", stream: 3))
            try await self.expectAnswer(socket, on: 3)
            #expect(socket.frames.filter { $0.stream == 1 && $0.type == RawSocket.Frame.reset }.count == 1)
        }
    }

    @Test func dataBehindTheEndIsAnErrorOfItsStream() async throws {
        let held = Slot<GRPCDeferredReply>()
        let later = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            held.put(call.deferred())
            return .later
        }
        try await self.withSocket(["/t/Later": later, "/test.Test/Echo": Methods.echo]) { socket in
            await socket.send(Self.begin + RawSocket.request("/t/Later", stream: 1) + Self.frame(0, stream: 1, [1]))
            try await until {
                socket.closed.isSet || socket.frames.contains { $0.stream == 1 && $0.type == RawSocket.Frame.reset }
            }
            #expect(socket.frames.last { $0.type == RawSocket.Frame.reset }?.payload == Self.word(5))
            let reply = try await held.take()
            #expect(reply.isCancelled)
            await socket.send(RawSocket.request("/test.Test/Echo", stream: 3))
            try await self.expectAnswer(socket, on: 3)
        }
    }

    @Test func brokenStreamsHaveALimit() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxStreamErrors = 5
        try await self.withSocket(settings: settings) { socket in
            // A WINDOW_UPDATE of nothing (RFC 9113, 6.9): the server resets the stream, again and again.
            let broken = stride(from: UInt32(1), through: 11, by: 2).flatMap { stream in
                RawSocket.headers("/test.Test/Echo", stream: stream) + Self.frame(8, stream: stream, Self.word(0))
            }
            await socket.send(Self.begin + broken)
            await self.expectGoAway(socket, 11)
        }
    }

    /// Answers to PING need no room in a window: who asks and never reads is cut off before they fill the memory.
    @Test func answersNobodyReadsEndTheConnection() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxControlFramesPerSecond = 1_000_000_000
        try await withServer(Methods.all, settings: settings) { server, port in
            let socket = try await RawSocket.connect(port: port)
            try await socket.channel.setOption(.autoRead, value: false).get()
            try await until { server.connectionCount == 1 }
            await socket.send(Self.begin)
            let pings = (0..<10_000).flatMap { _ in Self.frame(6, [0, 0, 0, 0, 0, 0, 0, 0]) }
            while server.connectionCount > 0, !Task.isCancelled { await socket.send(pings) }
            await socket.close()
        }
    }

    // MARK: Windows

    @Test func moreThanTheStreamsWindowIsReset() async throws {
        var settings = GRPCServerSettings.patient
        settings.streamWindowBytes = 65_535
        let never = GRPCMethod.bidirectional { (call) throws(VecraftError) in
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(600)) }
        }
        try await self.withSocket(["/t/Never": never, "/test.Test/Echo": Methods.echo], settings: settings) { socket in
            // Whole messages, which nobody reads: the fifth is too many.
            let part = Self.frame(0, stream: 1, [0] + Self.word(16_000) + [UInt8](repeating: 0, count: 16_000))
            await socket.send(Self.begin + RawSocket.headers("/t/Never", stream: 1) + (0..<5).flatMap { _ in part })
            try await until {
                socket.closed.isSet || socket.frames.contains { $0.stream == 1 && $0.type == RawSocket.Frame.reset }
            }
            #expect(socket.frames.last { $0.type == RawSocket.Frame.reset }?.payload == Self.word(3))
            await socket.send(RawSocket.request("/test.Test/Echo", stream: 3))
            try await self.expectAnswer(socket, on: 3)
        }
    }

    /// A client that changes its mind about how much it takes: what it takes is what it gets, and in the end all of it.
    @Test func windowsMayShrinkAndGrow() async throws {
        let grow = GRPCMethod.unary { (_, _, reply) throws(VecraftError) in
            reply.writeRepeatingByte(5, count: 100_000)
            return .reply
        }
        try await self.withSocket(["/t/Grow": grow]) { socket in
            func received(_ stream: UInt32) -> Int {
                socket.frames.filter { $0.stream == stream && $0.type == RawSocket.Frame.data }.reduce(0) {
                    $0 + $1.payload.count
                }
            }
            func ended(_ stream: UInt32) -> Bool { socket.frames.contains { $0.stream == stream && $0.endsStream } }
            func initialWindow(_ bytes: UInt32) -> [UInt8] { Self.frame(4, [0, 4] + Self.word(bytes)) }
            func roundTrip(_ number: UInt8) async throws {
                await socket.send(Self.frame(6, [0, 0, 0, 0, 0, 0, 0, number]))
                try await until {
                    socket.frames.contains { $0.type == RawSocket.Frame.ping && $0.payload.last == number }
                }
            }
            await socket.send(RawSocket.preface + initialWindow(1_000) + Self.frame(8, Self.word(1 << 20)))
            await socket.send(RawSocket.request("/t/Grow", stream: 1) + RawSocket.request("/t/Grow", stream: 3))
            try await roundTrip(1)
            #expect(received(1) == 1_000 && received(3) == 1_000)
            // 500 less than was sent: 600 more are 100 of room, on one stream only.
            await socket.send(initialWindow(500) + Self.frame(8, stream: 1, Self.word(600)))
            try await roundTrip(2)
            #expect(received(1) == 1_100 && received(3) == 1_000)
            await socket.send(initialWindow(200_000))
            try await until { socket.closed.isSet || (ended(1) && ended(3)) }
            #expect(received(1) == 100_005 && received(3) == 100_005)
        }
    }

    /// The connection's window is shared in turn.
    @Test func streamsShareTheConnection() async throws {
        let grow = GRPCMethod.unary { (_, _, reply) throws(VecraftError) in
            reply.writeRepeatingByte(5, count: 1 << 20)
            return .reply
        }
        try await self.withSocket(["/t/Grow": grow, "/test.Test/Echo": Methods.echo]) { socket in
            let windows = Self.frame(4, [0, 4] + Self.word(1 << 24))
            await socket.send(
                RawSocket.preface + windows + RawSocket.request("/t/Grow", stream: 1)
                    + RawSocket.request("/t/Grow", stream: 3))
            func received(_ stream: UInt32) -> Int {
                socket.frames.filter { $0.stream == stream && $0.type == RawSocket.Frame.data }.reduce(0) {
                    $0 + $1.payload.count
                }
            }
            try await until { received(1) + received(3) == 65_535 }
            await socket.send(RawSocket.request("/test.Test/Echo", stream: 5) + Self.frame(8, Self.word(100_000)))
            try await self.expectAnswer(socket, on: 5)
            try await until { received(1) + received(3) + received(5) == 165_535 }
            #expect(received(1) > 16_384 && received(3) > 16_384)
            await socket.send(Self.frame(8, Self.word(1 << 24)))
            try await until { received(1) == 5 + 1 << 20 && received(3) == 5 + 1 << 20 }
        }
    }

    @Test func aSmallHeaderTableIsRespected() async throws {
        try await self.withSocket { socket in
            await socket.send(RawSocket.preface + Self.frame(4, [0, 1, 0, 0, 0, 0]))
            var decoder = HPACKDecoder(allocator: ByteBufferAllocator(), maxDynamicTableSize: 0)
            for stream in [UInt32(1), 3, 5] {
                await socket.send(RawSocket.request("/test.Test/Echo", stream: stream))
                try await self.expectAnswer(socket, on: stream)
                let blocks = socket.frames.filter { $0.stream == stream && $0.type == RawSocket.Frame.headers }
                var texts: [String] = []
                for block in blocks {
                    var bytes = ByteBuffer(bytes: block.payload)
                    texts += try decoder.decodeHeaders(from: &bytes).map { "\($0.name): \($0.value)" }
                }
                #expect(texts == [":status: 200", "content-type: application/grpc", "grpc-status: 0"])
            }
        }
    }

    @Test func tooManyStreamsAreRefused() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxConcurrentStreams = 2
        try await self.withSocket(settings: settings) { socket in
            await socket.send(Self.begin + [1, 3, 5].flatMap { RawSocket.headers("/test.Test/Echo", stream: $0) })
            try await until { socket.closed.isSet || socket.frames.contains { $0.stream == 5 } }
            #expect(socket.frames.last { $0.stream == 5 }?.payload == Self.word(7))
            await socket.send(
                [1, 3].flatMap { Self.frame(0, flags: 1, stream: $0, [0, 0, 0, 0, 1, 7]) }
                    + RawSocket.request("/test.Test/Echo", stream: 7))
            for stream in [UInt32(1), 3, 7] { try await self.expectAnswer(socket, on: stream) }
        }
    }

    // MARK: Answers

    /// Answers given together arrive, each to its own call, whichever loop it is on.
    @Test func answersMayBeGathered() async throws {
        let held = Held()
        let later = GRPCMethod.unary { (call, message, _) throws(VecraftError) in
            held.add(call.deferred(keepingMessage: false), String(decoding: message, as: UTF8.self))
            return .later
        }
        try await withServer(["/t/Later": later]) { _, port in
            var clients: [GRPCClient] = []
            for _ in 0..<4 { clients.append(try await connect(port: port)) }
            let texts = try await withThrowingTaskGroup(of: String.self) { group in
                for (i, client) in (clients + clients + clients).enumerated() {
                    group.addTask { text(try await client.unary("/t/Later", bytes("call \(i)")).message) }
                }
                try await until { held.count == 12 }
                GRPCServer.gatherAnswers {
                    GRPCServer.gatherAnswers { held.answerAll() }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(texts == Set((0..<12).map { "call \($0)" }))
            for client in clients { await client.close() }
        }
    }
}

/// Replies that wait, with what they will say.
private final class Held: Sendable {
    private let replies = Mutex<[(GRPCDeferredReply, String)]>([])
    var count: Int { self.replies.withLock { $0.count } }
    func add(_ reply: GRPCDeferredReply, _ text: String) { self.replies.withLock { $0.append((reply, text)) } }
    func answerAll() { for (reply, text) in self.replies.withLock({ $0 }) { reply.reply(Array(text.utf8)) } }
}
