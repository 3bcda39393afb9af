import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Testing

@testable import GRPC

@Suite(.ownThreads) struct DrainTests {
    /// Callers that go on until they are told UNAVAILABLE: no call is lost or told anything else.
    @Test func aDrainUnderLoadLosesNoCall() async throws {
        let pool = NIOThreadPool(numberOfThreads: 2)
        pool.start()
        let later = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            pool.submit { _ in reply.reply([1]) }
            return .later
        }
        let accepted = Counter()
        let observed = Recorder()
        let server = try GRPCServer(
            settings: .patient, methods: ["/t/Later": later, "/t/Echo": Methods.echo], observer: observed,
            group: testLoops)
        let host = ownHost()
        let port = try await server.start(host: host, port: 0)
        var clients: [GRPCClient] = []
        for _ in 0..<16 { clients.append(try await connect(host: host, port: port)) }
        let outcomes = try await withThrowingTaskGroup(of: [VecraftError].self) { group in
            for (caller, client) in clients.enumerated() {
                group.addTask {
                    var errors: [VecraftError] = []
                    while errors.isEmpty {
                        let method = caller % 2 == 0 ? "/t/Later" : "/t/Echo"
                        if let error = await failure(of: { try await client.unary(method, [1]) }) {
                            errors.append(error)
                        } else {
                            accepted.add()
                        }
                    }
                    await client.close()
                    return errors
                }
            }
            group.addTask {
                try await until { accepted.count > 500 }
                await server.drain(grace: .seconds(600))
                return []
            }
            var all: [VecraftError] = []
            for try await errors in group { all += errors }
            return all
        }
        #expect(outcomes.count == 16)
        // Every call a server began it also answered; what came after found nobody listening.
        #expect(outcomes.allSatisfy { $0.code == .unavailable && $0.reason == "CONNECTION_LOST" }, "\(outcomes)")
        let finished = observed.events.filter { $0.hasPrefix("finished") }
        #expect(finished.count == accepted.count)
        #expect(finished.allSatisfy { $0.contains(" OK ") })
        #expect(server.connectionCount == 0)
        try await pool.shutdownGracefully()
    }

    @Test func runningCallsFinishWithinTheGrace() async throws {
        let held = Slot<GRPCDeferredReply>()
        let streaming = Signal()
        let finish = Signal()
        let unary = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            held.put(call.deferred())
            return .later
        }
        let stream = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            try await call.send([1])
            streaming.set()
            await finish.wait()
            try await call.send([2])
        }
        let server = try GRPCServer(settings: .patient, methods: ["/t/U": unary, "/t/S": stream], group: testLoops)
        let host = ownHost()
        let port = try await server.start(host: host, port: 0)
        let client = try await connect(host: host, port: port)
        let running = Beside { try await client.unary("/t/U", [1]) }
        let reply = try await held.take()
        let call = try await client.serverStreaming("/t/S", bytes(""))
        await streaming.wait()
        let drained = Signal()
        let drain = Beside {
            await server.drain(grace: .seconds(600))
            drained.set()
        }
        // New calls find nobody; the running ones do not notice.
        try await until { server.core.isDraining }
        await #expect(throws: VecraftError.self) {
            try await connect(host: host, port: port)
        }
        #expect(!drained.isSet)
        #expect(reply.reply([7]))
        let answer = try await running.value
        #expect(answer == [7])
        #expect(!drained.isSet)
        finish.set()
        var received: [ByteBuffer] = []
        for try await message in call.replies { received.append(message) }
        #expect(received.count == 2)
        try await drain.value
        #expect(server.connectionCount == 0)
        await client.close()
    }

    @Test func whatOutlivesTheGraceIsToldUnavailable() async throws {
        let began = Counter()
        let cancelled = Counter()
        let unary = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel {
                _ = reply
                cancelled.add()
            }
            began.add()
            return .later
        }
        let stream = GRPCMethod.bidirectional { (call) throws(VecraftError) in
            began.add()
            defer { cancelled.add() }
            for try await _ in call.requests {}
        }
        let server = try GRPCServer(settings: .patient, methods: ["/t/U": unary, "/t/S": stream], group: testLoops)
        let port = try await server.start(host: "127.0.0.1", port: 0)
        let client = try await connect(port: port)
        let running = Beside { await failure { try await client.unary("/t/U", [1]) } }
        let call = try await client.bidirectional("/t/S")
        try await until { began.count == 2 }
        await server.drain(grace: .zero)
        let error = try await running.value
        #expect(error?.code == .unavailable)
        await expectFailure(.unavailable) { for try await _ in call.replies {} }
        try await until { cancelled.count == 2 && server.connectionCount == 0 }
        await client.close()
    }

    /// A client that has not read the GOAWAY yet begins a call: the calls before it are answered all the same, and this one
    /// is answered too, or refused so that it may be sent elsewhere.
    @Test func aCallThatCrossesTheGoAwayHarmsNobody() async throws {
        let held = Slot<GRPCDeferredReply>()
        let later = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            held.put(call.deferred())
            return .later
        }
        let server = try GRPCServer(
            settings: .patient, methods: ["/t/Later": later, "/t/Echo": Methods.echo], group: testLoops)
        let port = try await server.start(host: "127.0.0.1", port: 0)
        let socket = try await RawSocket.connect(port: port)
        await socket.send(RawSocket.preface + RawSocket.settingsFrame + RawSocket.request("/t/Later", stream: 1))
        let reply = try await held.take()
        let drain = Beside { await server.drain(grace: .seconds(600)) }
        try await until { socket.frames.contains { $0.type == RawSocket.Frame.goAway } }
        await socket.send(RawSocket.request("/t/Echo", stream: 3))
        func ends(_ stream: UInt32) -> Bool {
            socket.frames.contains { $0.stream == stream && ($0.endsStream || $0.type == RawSocket.Frame.reset) }
        }
        try await until { ends(3) || socket.closed.isSet }
        reply.reply([1])
        try await until { ends(1) || socket.closed.isSet }
        #expect(socket.frames.contains { $0.stream == 1 && $0.endsStream }, "\(socket.frames)")
        #expect(ends(3))
        try await drain.value
        await socket.closed.wait()
    }

    @Test func aDrainedServerCannotListenAgain() async throws {
        let server = try GRPCServer(settings: .patient, methods: Methods.all, group: testLoops)
        await server.drain(grace: .zero)
        await expectFailure(.unavailable) { try await server.start(host: "127.0.0.1", port: 0) }
    }

    @Test func anAddressInUseIsUnavailable() async throws {
        try await withServer(Methods.all) { _, port in
            let second = try GRPCServer(settings: .patient, methods: Methods.all, group: testLoops)
            await expectFailure(.unavailable) { try await second.start(host: "127.0.0.1", port: port) }
            await second.drain(grace: .zero)
        }
    }
}
