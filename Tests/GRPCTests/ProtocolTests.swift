import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives
import Testing

@testable import GRPC

/// What stands on the wire, seen frame by frame.
@Suite(.ownThreads) struct ProtocolTests {
    private func withPeer(
        _ methods: [String: GRPCMethod] = Methods.all, settings: GRPCServerSettings = .patient,
        _ body: (RawPeer) async throws -> Void
    ) async throws {
        try await withServer(methods, settings: settings) { _, port in
            let peer = try await RawPeer.connect(port: port)
            do { try await body(peer) } catch {
                await peer.close()
                throw error
            }
            await peer.close()
        }
    }

    private func answers(_ peer: RawPeer, on stream: Int) async throws {
        try await peer.sendRequest(RawPeer.request("/test.Test/Echo"), framed(bytes("ping")), on: stream)
        let head = try #require(await peer.nextHeaders(on: stream))
        #expect(head.fields.first(name: ":status") == "200")
        let trailers = try #require(await peer.nextHeaders(on: stream))
        #expect(trailers.fields.first(name: "grpc-status") == "0")
        #expect(trailers.end)
    }

    @Test func aUnaryReplyIsHeadDataAndTrailers() async throws {
        try await withPeer { peer in
            try await peer.sendRequest(RawPeer.request("/test.Test/Echo"), framed(bytes("ping")), on: 1)
            guard case .headers(let head) = await peer.next(on: 1), case .data(let data) = await peer.next(on: 1),
                case .headers(let trailers) = await peer.next(on: 1)
            else { return record("not head, data, trailers") }
            #expect(head.headers.first(name: ":status") == "200")
            #expect(head.headers.first(name: "content-type") == "application/grpc")
            #expect(!head.endStream && !data.endStream && trailers.endStream)
            #expect(data.data == .byteBuffer(framed(bytes("ping"))))
            #expect(trailers.headers.first(name: "grpc-status") == "0")
        }
    }

    @Test func anEarlyErrorIsTrailersOnly() async throws {
        try await withPeer { peer in
            try await peer.sendRequest(RawPeer.request("/test.Test/Fail"), framed(bytes("naïve 5 %")), on: 1)
            let only = try #require(await peer.nextHeaders(on: 1))
            #expect(only.end)
            #expect(only.fields.first(name: ":status") == "200")
            #expect(only.fields.first(name: "content-type") == "application/grpc")
            #expect(only.fields.first(name: "grpc-status") == "9")
            #expect(only.fields.first(name: "grpc-message") == "na%C3%AFve 5 %25")
        }
    }

    @Test func whatIsNotGRPCIsRefusedAsHTTP() async throws {
        try await withPeer { peer in
            var headers = RawPeer.request("/test.Test/Echo")
            headers.replaceOrAdd(name: "content-type", value: "application/json")
            try await peer.sendHeaders(headers, on: 1, end: true)
            let type = try #require(await peer.nextHeaders(on: 1))
            #expect(type.fields.first(name: ":status") == "415")
            headers.replaceOrAdd(name: "content-type", value: "application/grpcx")
            try await peer.sendHeaders(headers, on: 3)
            let other = try #require(await peer.nextHeaders(on: 3))
            #expect(other.fields.first(name: ":status") == "415")
            let get: HPACKHeaders = [":method": "GET", ":scheme": "http", ":path": "/"]
            try await peer.sendHeaders(get, on: 5, end: true)
            let method = try #require(await peer.nextHeaders(on: 5))
            #expect(method.fields.first(name: ":status") == "405")
            headers.replaceOrAdd(name: "content-type", value: "application/grpc+proto")
            try await peer.sendRequest(headers, framed(bytes("x")), on: 7)
            let fine = try #require(await peer.nextHeaders(on: 7))
            #expect(fine.fields.first(name: ":status") == "200")
        }
    }

    @Test(arguments: [
        [(":method", "POST"), (":scheme", "http"), ("content-type", "application/grpc")],
        [(":method", "POST"), (":path", "/test.Test/Echo"), ("content-type", "application/grpc")],
        [(":scheme", "http"), (":path", "/test.Test/Echo"), ("content-type", "application/grpc")],
        [(":method", "POST"), (":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo")],
        [("content-type", "application/grpc"), (":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo"), (":status", "200")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo"), ("X-Upper", "1")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo"), ("connection", "close")],
        [(":method", "POST"), (":scheme", "http"), (":path", "/test.Test/Echo"), ("te", "gzip")],
    ])
    func aMalformedRequestIsResetAndTheConnectionLives(headers: [(String, String)]) async throws {
        try await withPeer { peer in
            try await peer.sendHeaders(HPACKHeaders(headers), on: 1)
            guard case .rstStream(let code) = await peer.next(on: 1) else { return record("not reset") }
            #expect(code == .protocolError)
            try await self.answers(peer, on: 3)
        }
    }

    @Test func anUnknownEncodingIsUnimplementedAndNamesOurs() async throws {
        try await withPeer { peer in
            try await peer.sendHeaders(RawPeer.request("/test.Test/Echo", [("grpc-encoding", "zstd")]), on: 1)
            let only = try #require(await peer.nextHeaders(on: 1))
            #expect(only.fields.first(name: "grpc-status") == "12")
            #expect(only.fields.first(name: "grpc-accept-encoding") == "identity,gzip")
        }
    }

    @Test func gzipIsMirroredForLargeReplies() async throws {
        try await withPeer { peer in
            let headers = RawPeer.request(
                "/test.Test/Echo", [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip")])
            var packed = ByteBuffer()
            try Gzip.deflate(zeros(100_000), into: &packed)
            try await peer.sendRequest(headers, framed(packed, flag: 1), on: 1)
            let head = try #require(await peer.nextHeaders(on: 1))
            #expect(head.fields.first(name: "grpc-encoding") == "gzip")
            guard case .data(let data) = await peer.next(on: 1), case .byteBuffer(let reply) = data.data else {
                return record("no data")
            }
            #expect(reply.readableBytes < 1_000)
            #expect(reply.getInteger(at: reply.readerIndex, as: UInt8.self) == 1)
            // A small reply is not worth it, and says so in its flag.
            try await peer.sendRequest(headers, framed(bytes("small")), on: 3)
            _ = await peer.nextHeaders(on: 3)
            guard case .data(let plain) = await peer.next(on: 3) else { return record("no data") }
            #expect(plain.data == .byteBuffer(framed(bytes("small"))))
        }
    }

    /// The messages of a unary call must be one, whole, and alone; each of these is an INTERNAL status, not a reset.
    @Test(arguments: [
        ByteBuffer(), ByteBuffer(bytes: [0, 0, 0]), ByteBuffer(bytes: [0, 0, 0, 0, 9, 1]),
        ByteBuffer(bytes: [7, 0, 0, 0, 0]),
        ByteBuffer(bytes: [1, 0, 0, 0, 0]), ByteBuffer(bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ])
    func aBadMessageFrameIsAStatus(data: ByteBuffer) async throws {
        try await withPeer { peer in
            try await peer.sendRequest(RawPeer.request("/test.Test/Echo"), data, on: 1)
            let only = try #require(await peer.nextHeaders(on: 1))
            #expect(only.fields.first(name: "grpc-status") == "13")
            try await self.answers(peer, on: 3)
        }
    }

    @Test func aMessageMayComeInPiecesAndItsEndLater() async throws {
        try await withPeer { peer in
            try await peer.sendHeaders(RawPeer.request("/test.Test/Echo"), on: 1)
            for byte in framed(bytes("abc")).readableBytesView {
                try await peer.sendData(ByteBuffer(bytes: [byte]), on: 1)
                try await peer.roundTrip()
            }
            try await peer.sendData(ByteBuffer(), on: 1, end: true)
            _ = await peer.nextHeaders(on: 1)
            guard case .data(let data) = await peer.next(on: 1) else { return record("no data") }
            #expect(data.data == .byteBuffer(framed(bytes("abc"))))
        }
    }

    @Test func aClientMayEndWithTrailers() async throws {
        try await withPeer { peer in
            try await peer.sendHeaders(RawPeer.request("/test.Test/Echo"), on: 1)
            try await peer.sendData(framed(bytes("abc")), on: 1)
            try await peer.sendHeaders(["x-checksum": "1"], on: 1, end: true)
            #expect(await peer.nextHeaders(on: 1)?.fields.first(name: ":status") == "200")
        }
    }

    @Test func theServerSendsDeadlineExceededItself() async throws {
        let began = Counter()
        let cancelled = Signal()
        let deferred = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel {
                // Held until here: dropping it would be an answer.
                #expect(reply.isCancelled)
                cancelled.set()
            }
            began.add()
            return .later
        }
        let stream = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            for try await _ in call.requests {}
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(600)) }
        }
        try await withPeer(["/t/Deferred": deferred, "/t/Stream": stream]) { peer in
            // The time may be over before the handler begins: then once more, with twice the time.
            var id = 1
            var milliseconds = 30
            while began.count == 0, !Task.isCancelled {
                let head = RawPeer.request("/t/Deferred", [("grpc-timeout", "\(milliseconds)m")])
                try await peer.sendRequest(head, framed(bytes("")), on: id)
                #expect(await peer.nextHeaders(on: id)?.fields.first(name: "grpc-status") == "4")
                id += 2
                milliseconds *= 2
            }
            await cancelled.wait()
            // A request that never becomes whole runs out of time as well; so does a stream; so does what is late on arrival.
            try await peer.sendHeaders(RawPeer.request("/t/Deferred", [("grpc-timeout", "30m")]), on: id)
            #expect(await peer.nextHeaders(on: id)?.fields.first(name: "grpc-status") == "4")
            try await peer.sendRequest(
                RawPeer.request("/t/Stream", [("grpc-timeout", "30m")]), framed(bytes("")), on: id + 2)
            #expect(await peer.nextHeaders(on: id + 2)?.fields.first(name: "grpc-status") == "4")
            try await peer.sendHeaders(RawPeer.request("/t/Deferred", [("grpc-timeout", "0n")]), on: id + 4)
            #expect(await peer.nextHeaders(on: id + 4)?.fields.first(name: "grpc-status") == "4")
        }
    }

    @Test func aClientThatIsToldEarlyIsAlsoToldToStop() async throws {
        try await withPeer { peer in
            try await peer.sendHeaders(RawPeer.request("/test.Test/Nope"), on: 1)
            let only = try #require(await peer.nextHeaders(on: 1))
            #expect(only.end)
            guard case .rstStream(let code) = await peer.next(on: 1) else { return record("not told to stop") }
            #expect(code == .noError)
            try await self.answers(peer, on: 3)
        }
    }
}
