import NIOCore
import NIOPosix
import Primitives
import TestSupport
import Testing

@testable import GRPC

@Suite(.ownThreads) struct ClientTests {
    @Test func nobodyListeningIsUnavailableWithARetryHint() async throws {
        let client = try GRPCClient(host: ownHost(), port: 7_400, settings: .patient, group: testLoops)
        let first = await failure { try await client.unary("/t/M", bytes("")) }
        #expect(first?.code == .unavailable)
        #expect(first?.retryAfter != nil)
        await client.close()
        await expectFailure(.cancelled) { try await client.unary("/t/M", bytes("")) }
    }

    @Test func theClientComesBackWhenTheServerDoes() async throws {
        var settings = GRPCClientSettings.patient
        settings.minBackoff = .milliseconds(1)
        settings.maxBackoff = .milliseconds(20)
        let first = try GRPCServer(methods: Methods.all, group: testLoops)
        let host = ownHost()
        let port = try await first.start(host: host, port: 0)
        let client = try await connect(host: host, port: port, settings: settings)
        _ = try await client.unary("/test.Test/Echo", bytes("1"))
        await first.drain(grace: .zero)
        await expectFailure(.unavailable) { try await client.unary("/test.Test/Echo", bytes("2")) }
        let second = try GRPCServer(methods: Methods.all, group: testLoops)
        try await second.start(host: host, port: port)
        var reply: GRPCReply?
        while reply == nil, !Task.isCancelled { reply = try? await client.unary("/test.Test/Echo", bytes("3")) }
        #expect(reply.map { text($0.message) } == "3")
        await client.close()
        await second.drain(grace: .zero)
    }

    /// Streams are numbered from 1 on each connection: what ends on one that retires is not what runs on its successor.
    @Test func callsOfTwoConnectionsAreNotConfused() async throws {
        var settings = GRPCClientSettings.patient
        settings.minBackoff = .milliseconds(1)
        settings.maxBackoff = .milliseconds(20)
        func keeping(_ slot: Slot<GRPCDeferredReply>) -> [String: GRPCMethod] {
            let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
                slot.put(call.deferred())
                return .later
            }
            return ["/t/M": method]
        }
        let (oldHeld, newHeld) = (Slot<GRPCDeferredReply>(), Slot<GRPCDeferredReply>())
        let first = try GRPCServer(settings: .patient, methods: keeping(oldHeld), group: testLoops)
        let host = ownHost()
        let port = try await first.start(host: host, port: 0)
        let client = try await connect(host: host, port: port, settings: settings)
        let old = Beside { try await client.unary("/t/M", [1]) }
        let oldReply = try await oldHeld.take()
        let drain = Beside { await first.drain(grace: .seconds(600)) }
        // The connection retires when the client has read the GOAWAY; the port is free when the listener is closed.
        while try await client.core.eventLoop.submit({ if case .idle = client.core.link { false } else { true } }).get()
        {
            try await Task.sleep(for: .milliseconds(1))
        }
        var listening: GRPCServer?
        while listening == nil {
            let second = try GRPCServer(settings: .patient, methods: keeping(newHeld), group: testLoops)
            if await failure(of: { try await second.start(host: host, port: port) }) == nil { listening = second }
        }
        let second = listening!
        let new = Beside { try await client.unary("/t/M", [2]) }
        let newReply = try await newHeld.take()
        #expect(oldReply.reply([3]))
        let oldAnswer = try await old.value
        #expect(oldAnswer == [3])
        try await drain.value
        #expect(newReply.reply([4]))
        let newAnswer = try await new.value
        #expect(newAnswer == [4])
        await client.close()
        await second.drain(grace: .zero)
    }

    @Test func callsMadeAtOnceShareTheFirstConnection() async throws {
        try await withServer(Methods.all) { server, port in
            let client = try GRPCClient(host: "localhost", port: port, settings: .patient, group: testLoops)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for i in 0..<50 {
                    group.addTask {
                        let reply = try await client.unary("/test.Test/Echo", bytes("\(i)"))
                        #expect(text(reply.message) == "\(i)")
                    }
                }
                try await group.waitForAll()
            }
            #expect(server.connectionCount == 1)
            await client.close()
        }
    }

    @Test func callsOverTheClientsLimitAreRefused() async throws {
        var settings = GRPCClientSettings.patient
        settings.maxCalls = 2
        let held = Slot<GRPCDeferredReply>()
        let method = GRPCMethod.unary { (call, message, _) throws(VecraftError) in
            held.put(call.deferred())
            return .later
        }
        let sink = GRPCMethod.bidirectional { (call) throws(VecraftError) in for try await _ in call.requests {} }
        try await withPair(["/t/M": method, "/t/S": sink], client: settings) { client in
            let stream = try await client.bidirectional("/t/S")
            let first = Beside { try await client.unary("/t/M", [1]) }
            let reply = try await held.take()
            let third = await failure { try await client.unary("/t/M", bytes("")) }
            #expect(third?.reason == "CLIENT_BUSY")
            reply.reply([5])
            let answer = try await first.value
            #expect(answer == [5])
            stream.cancel()
        }
    }

    @Test func aServerThatSpeaksSomethingElseIsUnavailable() async throws {
        final class Greeter: ChannelInboundHandler {
            typealias InboundIn = ByteBuffer
            typealias OutboundOut = ByteBuffer
            func channelActive(context: ChannelHandlerContext) {
                let greeting = ByteBuffer(string: "220 mail.example.com ESMTP\r\n")
                context.writeAndFlush(self.wrapOutboundOut(greeting), promise: nil)
            }
        }
        let channel = try await ServerBootstrap(group: testLoops)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(Greeter()) }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        await expectFailure(.unavailable) {
            try await connect(port: port)
        }
        try await channel.close().get()
    }

    @Test func aServerThatSaysNothingIsGivenUpOn() async throws {
        var settings = GRPCClientSettings.patient
        settings.connectTimeout = .milliseconds(50)
        let channel = try await ServerBootstrap(group: testLoops).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        await expectFailure(.unavailable) {
            try await connect(port: port, settings: settings)
        }
        try await channel.close().get()
    }

    @Test func aCallKnowsWhetherItWasSent() async throws {
        // Takes connections and says nothing: the deadline of a call passes while it waits for a connection.
        let channel = try await ServerBootstrap(group: testLoops).bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        let client = try GRPCClient(host: "127.0.0.1", port: port, settings: .patient, group: testLoops)
        let late = await #expect(throws: VecraftError.self) {
            try await client.unary("/test.Test/Echo", bytes("1"), timeout: .milliseconds(50))
        }
        #expect(late?.code == .deadlineExceeded && late?.wasNeverSent == true)
        await client.close()
        try await channel.close().get()
        let nobody = FreePorts.Silent()
        let refused = try GRPCClient(host: "127.0.0.1", port: nobody.port, settings: .patient, group: testLoops)
        let error = await #expect(throws: VecraftError.self) {
            try await refused.unary("/test.Test/Echo", bytes("1"))
        }
        #expect(error?.code == .unavailable && error?.wasNeverSent == true)
        await refused.close()
        withExtendedLifetime(nobody) {}
    }

    @Test func aDroppedClientLetsItsConnectionGo() async throws {
        try await withServer(Methods.all) { server, port in
            do {
                let client = try await connect(port: port)
                _ = try await client.unary("/test.Test/Echo", bytes("1"))
            }
            try await until { server.connectionCount == 0 }
        }
    }

    @Test func backoffDoublesUpToItsBound() {
        var backoff = Backoff(from: .milliseconds(100), upTo: .seconds(1))
        var random = SeededRNG(seed: 3)
        let ceilings = [100, 200, 400, 800, 1_000, 1_000].map { Duration.milliseconds($0) }
        for ceiling in ceilings {
            let wait = backoff.next(using: &random)
            #expect(wait <= ceiling && wait >= ceiling * 0.79)
        }
        backoff.reset()
        #expect(backoff.next(using: &random) <= .milliseconds(100))
    }
}
