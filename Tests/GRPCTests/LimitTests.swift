import NIOCore
import NIOHPACK
import NIOHTTP2
import Primitives
import Testing

@testable import GRPC

@Suite(.ownThreads) struct LimitTests {
    @Test func theLargestMessageGoesBothWays() async throws {
        try await withPair(Methods.all) { client in
            let message = ByteBuffer(repeating: 5, count: 64 << 20)
            let reply = try await client.unary("/test.Test/Echo", message)
            #expect(reply.message == message)
        }
    }

    @Test func aMessageOverTheLimitIsAStatusAndTheConnectionLives() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxMessageBytes = 100_000
        let grow = GRPCMethod.unary { (_, _, reply) throws(VecraftError) in
            reply.writeRepeatingByte(0, count: 100_001)
            return .reply
        }
        let growing = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            try await call.send([UInt8](repeating: 0, count: 100_001))
        }
        var methods = Methods.all
        methods["/test.Test/Grow"] = grow
        methods["/test.Test/Growing"] = growing
        try await withPair(methods, settings: settings) { client in
            let exact = try await client.unary("/test.Test/Echo", zeros(100_000))
            #expect(exact.message.readableBytes == 100_000)
            await expectFailure(.resourceExhausted) { try await client.unary("/test.Test/Echo", zeros(100_001)) }
            await expectFailure(.resourceExhausted) { try await client.unary("/test.Test/Echo", zeros(20 << 20)) }
            await expectFailure(.resourceExhausted) { try await client.unary("/test.Test/Grow", bytes("")) }
            let stream = try await client.serverStreaming("/test.Test/Growing", bytes(""))
            await expectFailure(.resourceExhausted) { for try await _ in stream.replies {} }
            let upload = try await client.clientStreaming("/test.Test/Sum")
            await expectFailure(.resourceExhausted) {
                try await upload.send(zeros(200_000))
                return try await upload.finish()
            }
            // The same connection all along.
            let again = try await client.unary("/test.Test/Echo", bytes("still here"))
            #expect(text(again.message) == "still here")
        }
    }

    @Test func theClientLimitsWhatItSendsAndReceives() async throws {
        var settings = GRPCClientSettings.patient
        settings.maxMessageBytes = 1_000
        let grow = GRPCMethod.unary { (_, message, reply) throws(VecraftError) in
            reply.writeRepeatingByte(0, count: message.count + 1)
            return .reply
        }
        try await withPair(["/t/Grow": grow, "/t/Echo": Methods.echo], client: settings) { client in
            await expectFailure(.resourceExhausted) { try await client.unary("/t/Echo", zeros(1_001)) }
            await expectFailure(.resourceExhausted) { try await client.unary("/t/Grow", zeros(1_000)) }
            let tooLarge = Slot<VecraftError?>()
            client.unary("/t/Echo", zeros(1_001)) { outcome in
                if case .failure(let error) = outcome { tooLarge.put(error) } else { tooLarge.put(nil) }
            }
            let error = try await tooLarge.take()
            #expect(error?.code == .resourceExhausted)
            let fine = try await client.unary("/t/Grow", zeros(999))
            #expect(fine.message.readableBytes == 1_000)
        }
    }

    @Test func gzipGoesBothWaysAndBombsAreCapped() async throws {
        var server = GRPCServerSettings.patient
        server.maxMessageBytes = 1 << 20
        var settings = GRPCClientSettings.patient
        settings.compressRequestsFrom = 100
        try await withPair(Methods.all, settings: server, client: settings) { client in
            for size in [10, 100, 1 << 20] {
                let reply = try await client.unary("/test.Test/Echo", ByteBuffer(repeating: 3, count: size))
                #expect(reply.message == ByteBuffer(repeating: 3, count: size))
            }
            let call = try await client.bidirectional("/test.Test/Echoes")
            var replies = call.replies.makeAsyncIterator()
            for size in [10, 5_000, 500_000] {
                try await call.send(ByteBuffer(repeating: 4, count: size))
                let reply = try await replies.next()
                #expect(reply == ByteBuffer(repeating: 4, count: size))
            }
            // A thousandth of it on the wire.
            await expectFailure(.resourceExhausted) { try await client.unary("/test.Test/Echo", zeros(16 << 20)) }
            await expectFailure(.resourceExhausted) {
                // More than fits at once, even packed: the status may come while it is being sent, or after.
                try await call.send(zeros(16 << 20))
                return try await replies.next()
            }
            let again = try await client.unary("/test.Test/Echo", bytes("still here"))
            #expect(text(again.message) == "still here")
        }
    }

    @Test func oneConnectionTooManyIsClosed() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxConnections = 2
        let observer = Recorder()
        try await withServer(Methods.all, settings: settings, observer: observer) { server, port in
            let first = try await connect(port: port)
            let second = try await connect(port: port)
            await expectFailure(.unavailable) {
                try await connect(port: port)
            }
            #expect(observer.events.contains("refused"))
            #expect(server.connectionCount == 2)
            await second.close()
            try await until { server.connectionCount == 1 }
            let third = try await connect(port: port)
            for client in [first, third] {
                let reply = try await client.unary("/test.Test/Echo", bytes("in"))
                #expect(text(reply.message) == "in")
                await client.close()
            }
        }
    }

    @Test func streamsOverTheLimitWaitTheirTurn() async throws {
        var settings = GRPCServerSettings.patient
        settings.maxConcurrentStreams = 4
        let running = Counter()
        let most = Counter()
        let method = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            let now = running.add()
            if now > most.count { most.add(now - most.count) }
            await Task.yield()
            running.add(-1)
        }
        try await withPair(["/t/M": method], settings: settings) { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<40 {
                    group.addTask {
                        let call = try await client.serverStreaming("/t/M", bytes(""))
                        for try await _ in call.replies {}
                    }
                }
                try await group.waitForAll()
            }
            #expect(most.count <= 4)
        }
    }

    @Test func unfinishedMessagesHaveABudget() async throws {
        var settings = GRPCServerSettings.patient
        settings.bufferedBytesPerLoop = 300_000
        try await withServer(Methods.all, settings: settings) { _, port in
            let peer = try await RawPeer.connect(port: port)
            // Eight halves of large messages.
            for stream in stride(from: 1, through: 15, by: 2) {
                var half = ByteBuffer(bytes: [0, 0, 16, 0, 0])
                half.writeRepeatingByte(0, count: 60_000)
                try await peer.sendRequest(RawPeer.request("/test.Test/Echo"), half, on: stream, end: false)
            }
            // Four fit.
            let only = try #require(await peer.nextHeaders(on: 9))
            #expect(only.fields.first(name: "grpc-status") == "8")
            #expect(only.fields.first(name: "retry-after") == "1")
            await peer.close()
            // And the budget is whole again once they are gone.
            let client = try await connect(port: port)
            let reply = try await client.unary("/test.Test/Echo", zeros(250_000))
            #expect(reply.message.readableBytes == 250_000)
            await client.close()
        }
    }

    @Test func repliesNobodyReadsStopNewCalls() async throws {
        var settings = GRPCServerSettings.patient
        settings.unreadReplyBytesPerConnection = 500_000
        let method = GRPCMethod.unary { (_, _, reply) throws(VecraftError) in
            reply.writeRepeatingByte(0, count: 300_000)
            return .reply
        }
        try await withServer(["/t/M": method], settings: settings) { _, port in
            let peer = try await RawPeer.connect(port: port)
            for stream in [1, 3, 5] {
                try await peer.sendRequest(RawPeer.request("/t/M"), framed(bytes("")), on: stream)
            }
            let refused = try #require(await peer.nextHeaders(on: 5))
            #expect(refused.fields.first(name: "grpc-status") == "8")
            await peer.close()
        }
    }

    /// A header block that no peer takes is an error of its call, not the end of the connection.
    @Test func metadataTooLargeIsAStatusAndTheConnectionLives() async throws {
        let large = String(repeating: "~", count: 60_000)
        var methods = Methods.all
        methods["/t/Initial"] = .unary { (call, _, _) throws(VecraftError) in
            call.addInitialMetadata("x-large", large)
            return .reply
        }
        methods["/t/Trailer"] = .unary { (call, _, _) throws(VecraftError) in
            call.addTrailer("x-large", large)
            return .reply
        }
        methods["/t/Fail"] = .unary { (call, _, _) throws(VecraftError) in
            call.addTrailer("x-large", large)
            throw VecraftError(.notFound, "nothing here")
        }
        methods["/t/InitialStream"] = .serverStreaming { (call) throws(VecraftError) in
            call.addInitialMetadata("x-large", large)
            try await call.send([1])
        }
        methods["/t/TrailerStream"] = .serverStreaming { (call) throws(VecraftError) in
            try await call.send([1])
            call.addTrailer("x-large", large)
        }
        try await withPair(methods) { client in
            let open = try await client.bidirectional("/test.Test/Echoes")
            for method in ["/t/Initial", "/t/Trailer"] {
                await expectFailure(.resourceExhausted) { try await client.unary(method, bytes("")) }
            }
            await expectFailure(.notFound) { try await client.unary("/t/Fail", bytes("")) }
            for method in ["/t/InitialStream", "/t/TrailerStream"] {
                let call = try await client.serverStreaming(method, bytes(""))
                await expectFailure(.resourceExhausted) { for try await _ in call.replies {} }
            }
            let metadata: GRPCMetadata = ["x-large": large]
            await expectFailure(.resourceExhausted) { try await client.unary("/t/Fail", bytes(""), metadata: metadata) }
            await expectFailure(.resourceExhausted) { try await client.bidirectional("/t/Fail", metadata: metadata) }
            // The same connection all along.
            try await open.send([1])
            open.finishSending()
            var replies = open.replies.makeAsyncIterator()
            let reply = try await replies.next()
            #expect(reply == ByteBuffer(bytes: [1]))
        }
    }

    @Test func senselessSettingsAreRefused() {
        var settings = GRPCServerSettings.patient
        settings.streamWindowBytes = 10
        let error = #expect(throws: VecraftError.self) {
            try GRPCServer(settings: settings, methods: [:], group: testLoops)
        }
        #expect(error?.field == "streamWindowBytes")
    }
}
