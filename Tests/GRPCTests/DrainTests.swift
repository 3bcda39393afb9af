import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Testing

@testable import GRPC

@Suite(.timeLimit(.minutes(2))) struct DrainTests {
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
            methods: ["/t/Later": later, "/t/Echo": Methods.echo], observer: observed, group: testLoops)
        let port = try await server.start(host: "127.0.0.1", port: 0)
        let outcomes = try await withThrowingTaskGroup(of: [VecraftError].self) { group in
            for caller in 0..<16 {
                group.addTask {
                    let client = try await GRPCClient.connect(host: "127.0.0.1", port: port, group: testLoops)
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
                await server.drain(grace: .seconds(30))
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
        let server = try GRPCServer(methods: ["/t/U": unary, "/t/S": stream], group: testLoops)
        let port = try await server.start(host: "127.0.0.1", port: 0)
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: port, group: testLoops)
        let running = Task { try await client.unary("/t/U", [1]) }
        let reply = await held.take()
        let call = try await client.serverStreaming("/t/S", bytes(""))
        await streaming.wait()
        let drained = Signal()
        let drain = Task {
            await server.drain(grace: .seconds(60))
            drained.set()
        }
        // New calls find nobody; the running ones do not notice.
        try await until { server.core.isDraining }
        await #expect(throws: VecraftError.self) {
            try await GRPCClient.connect(host: "127.0.0.1", port: port, group: testLoops)
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
        await drain.value
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
        let server = try GRPCServer(methods: ["/t/U": unary, "/t/S": stream], group: testLoops)
        let port = try await server.start(host: "127.0.0.1", port: 0)
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: port, group: testLoops)
        let running = Task { await failure { try await client.unary("/t/U", [1]) } }
        let call = try await client.bidirectional("/t/S")
        try await until { began.count == 2 }
        await server.drain(grace: .zero)
        let error = await running.value
        #expect(error?.code == .unavailable)
        await expectFailure(.unavailable) { for try await _ in call.replies {} }
        #expect(cancelled.count == 2)
        #expect(server.connectionCount == 0)
        await client.close()
    }

    @Test func aDrainedServerCannotListenAgain() async throws {
        let server = try GRPCServer(methods: Methods.all, group: testLoops)
        await server.drain(grace: .zero)
        await expectFailure(.unavailable) { try await server.start(host: "127.0.0.1", port: 0) }
    }

    @Test func anAddressInUseIsUnavailable() async throws {
        try await withServer(Methods.all) { _, port in
            let second = try GRPCServer(methods: Methods.all, group: testLoops)
            await expectFailure(.unavailable) { try await second.start(host: "127.0.0.1", port: port) }
            await second.drain(grace: .zero)
        }
    }
}
