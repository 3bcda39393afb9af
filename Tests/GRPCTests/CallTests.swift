import NIOCore
import NIOPosix
import Primitives
import Testing

@testable import GRPC

@Suite(.ownThreads) struct CallTests {
    @Test func unaryBothWays() async throws {
        try await withPair(Methods.all) { client in
            let reply = try await client.unary("/test.Test/Echo", Array("hello".utf8))
            #expect(reply == Array("hello".utf8))
            let nothing = try await client.unary("/test.Test/Echo", [UInt8]())
            #expect(nothing == [])
        }
    }

    @Test func serverStreaming() async throws {
        try await withPair(Methods.all) { client in
            let call = try await client.serverStreaming("/test.Test/Count", bytes("1000"))
            var received: [String] = []
            for try await reply in call.replies { received.append(text(reply)) }
            #expect(received == (0..<1_000).map(String.init))
            let none = try await client.serverStreaming("/test.Test/Count", bytes("0"))
            for try await reply in none.replies { Issue.record("unexpected \(reply)") }
        }
    }

    @Test func clientStreaming() async throws {
        try await withPair(Methods.all) { client in
            let call = try await client.clientStreaming("/test.Test/Sum")
            for size in 0..<200 { try await call.send(zeros(size)) }
            let callReply = text(try await call.finish())
            #expect(callReply == "\((0..<200).reduce(0, +))")
            let empty = try await client.clientStreaming("/test.Test/Sum")
            let emptyReply = text(try await empty.finish())
            #expect(emptyReply == "0")
        }
    }

    @Test func bidirectionalInStep() async throws {
        try await withPair(Methods.all) { client in
            let call = try await client.bidirectional("/test.Test/Echoes")
            var replies = call.replies.makeAsyncIterator()
            for i in 0..<100 {
                try await call.send(bytes("message \(i)"))
                let reply = try await replies.next()
                #expect(reply.map(text) == "message \(i)")
            }
            call.finishSending()
            let end = try await replies.next()
            #expect(end == nil)
        }
    }

    @Test func streamingFunctionsMayRunOnTheSharedPool() async throws {
        var settings = GRPCServerSettings.patient
        settings.streamExecutor = .shared
        try await withPair(Methods.all, settings: settings) { client in
            let call = try await client.bidirectional("/test.Test/Echoes")
            for i in 0..<100 { try await call.send(bytes("\(i)")) }
            call.finishSending()
            var received: [String] = []
            for try await reply in call.replies { received.append(text(reply)) }
            #expect(received == (0..<100).map(String.init))
        }
    }

    @Test func manyCallersShareOneConnection() async throws {
        try await withPair(Methods.all) { client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for caller in 0..<64 {
                    group.addTask {
                        for i in 0..<20 {
                            let message = Array("\(caller)/\(i)".utf8)
                            let reply = try await client.unary("/test.Test/Echo", message)
                            #expect(reply == message)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func aStatusKeepsItsCodeAndNonASCIIMessage() async throws {
        try await withPair(Methods.all) { client in
            let error = await failure { try await client.unary("/test.Test/Fail", bytes("größer als 100 % – 日本")) }
            #expect(error == VecraftError(.failedPrecondition, "größer als 100 % – 日本"))
        }
    }

    @Test func anUnknownMethodIsUnimplemented() async throws {
        try await withPair(Methods.all) { client in
            await expectFailure(.unimplemented) { try await client.unary("/test.Test/Nope", bytes("")) }
            let call = try await client.bidirectional("/test.Test/Nope")
            await expectFailure(.unimplemented) { try await call.finish() }
        }
    }

    @Test func aStreamFailsAfterItsMessages() async throws {
        let method = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            for i in 0..<3 { try await call.send(Array("\(i)".utf8)) }
            throw VecraftError(.aborted, "enough")
        }
        try await withPair(["/t/M": method]) { client in
            let call = try await client.serverStreaming("/t/M", bytes(""))
            var received: [String] = []
            let error = await failure { for try await reply in call.replies { received.append(text(reply)) } }
            #expect(received == ["0", "1", "2"])
            #expect(error == VecraftError(.aborted, "enough"))
        }
    }

    @Test func aClientStreamingMethodWithoutReplyIsAnError() async throws {
        let method = GRPCMethod.clientStreaming { (_) throws(VecraftError) in }
        try await withPair(["/t/M": method]) { client in
            let call = try await client.clientStreaming("/t/M")
            await expectFailure(.internalError) { try await call.finish() }
        }
    }

    // MARK: Deferred replies

    @Test func aDeferredReplyComesFromAnotherThread() async throws {
        let pool = NIOThreadPool(numberOfThreads: 1)
        pool.start()
        let method = GRPCMethod.unary { (call, message, _) throws(VecraftError) in
            let reply = call.deferred()
            let address = UInt(bitPattern: message.baseAddress)
            pool.submit { _ in
                // The message is still where the handler saw it.
                let same = reply.message.withUnsafeReadableBytes { UInt(bitPattern: $0.baseAddress) == address }
                #expect(reply.reply(Array("\(same) \(text(reply.message))".utf8), trailers: ["late": "yes"]))
                #expect(!reply.reply([]), "only the first answer counts")
                #expect(!reply.fail(VecraftError(.aborted, "too late")))
            }
            return .later
        }
        try await withPair(["/t/M": method]) { client in
            let reply = try await client.unary("/t/M", bytes("message"))
            #expect(text(reply.message) == "true message")
            #expect(reply.trailers["late"] == "yes")
        }
        try await pool.shutdownGracefully()
    }

    @Test func aDeferredReplyMayComeBeforeTheHandlerReturns() async throws {
        let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            call.deferred().reply(Array("at once".utf8))
            return .later
        }
        try await withPair(["/t/M": method]) { client in
            let reply = try await client.unary("/t/M", [1])
            #expect(reply == Array("at once".utf8))
        }
    }

    @Test func aDroppedOrForgottenCallIsInternal() async throws {
        let dropped = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            _ = call.deferred()
            return .later
        }
        let forgotten = GRPCMethod.unary { (_, _, _) throws(VecraftError) in .later }
        try await withPair(["/t/Dropped": dropped, "/t/Forgotten": forgotten]) { client in
            await expectFailure(.internalError) { try await client.unary("/t/Dropped", bytes("")) }
            await expectFailure(.internalError) { try await client.unary("/t/Forgotten", bytes("")) }
        }
    }

    @Test func aDeferredCallCanFail() async throws {
        let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            call.deferred().fail(VecraftError(.notFound, "no such point", retryAfter: .milliseconds(1_500)))
            return .later
        }
        try await withPair(["/t/M": method]) { client in
            let error = await failure { try await client.unary("/t/M", bytes("")) }
            #expect(error == VecraftError(.notFound, "no such point", retryAfter: .seconds(2)))
        }
    }

    // MARK: Metadata

    @Test func metadataTravelsBothWays() async throws {
        let method = GRPCMethod.unary { (call, _, reply) throws(VecraftError) in
            #expect(call.method == "/t/M")
            #expect(call.metadata["x-request-id"] == "r1")
            #expect(call.metadata.binary("key-bin") == [0, 1, 254, 255])
            #expect(call.metadata["user-agent"]?.contains("vecraft") == true)
            #expect(call.peer.address.hasPrefix("127.0.0.1:"))
            call.addInitialMetadata("x-first", "1")
            call.addTrailer("x-last", "2")
            call.addTrailer("x-last-bin", binary: [9, 8])
            return .reply
        }
        try await withPair(["/t/M": method]) { client in
            var metadata: GRPCMetadata = ["x-request-id": "r1"]
            metadata.add("key-bin", binary: [0, 1, 254, 255])
            let reply = try await client.unary("/t/M", bytes(""), metadata: metadata)
            #expect(reply.initialMetadata["x-first"] == "1")
            #expect(reply.trailers["x-last"] == "2")
            #expect(reply.trailers.binary("x-last-bin") == [9, 8])
        }
    }

    @Test func streamsCarryMetadataToo() async throws {
        let method = GRPCMethod.bidirectional { (call) throws(VecraftError) in
            call.sendInitialMetadata(["x-first": call.metadata["x-echo"] ?? "none"])
            for try await message in call.requests { try await call.send(message) }
            call.addTrailer("x-last", "end")
        }
        try await withPair(["/t/M": method]) { client in
            let call = try await client.bidirectional("/t/M", metadata: ["x-echo": "hi"])
            // The header block comes before any message.
            try await until { call.initialMetadata != nil }
            #expect(call.initialMetadata?["x-first"] == "hi")
            #expect(call.trailers == nil)
            call.finishSending()
            for try await _ in call.replies {}
            #expect(call.trailers?["x-last"] == "end")
        }
    }

    @Test func statusDetailsGoThroughTheHooks() async throws {
        var server = GRPCServerSettings.patient
        server.statusDetails = { error in Array("\(error.field ?? "")|\(error.reason ?? "")".utf8) }
        var settings = GRPCClientSettings.patient
        settings.statusDetails = { bytes, error in
            let parts = String(decoding: bytes, as: UTF8.self).split(separator: "|")
            error.field = String(parts[0])
            error.reason = String(parts[1])
        }
        let wanted = VecraftError(
            .invalidArgument, "k: at most 16384", field: "k", reason: "LIMIT", retryAfter: .seconds(3))
        let method = GRPCMethod.unary { (_, _, _) throws(VecraftError) in throw wanted }
        try await withPair(["/t/M": method], settings: server, client: settings) { client in
            let error = await failure { try await client.unary("/t/M", bytes("")) }
            #expect(error == wanted)
        }
    }

    // MARK: Per-loop storage and observation

    final class Scratch { var uses = 0 }

    @Test func everyLoopHasItsOwnScratch() async throws {
        var settings = GRPCServerSettings.patient
        let made = Counter()
        settings.loopLocal = {
            made.add()
            return Scratch()
        }
        let method = GRPCMethod.unary { (call, _, reply) throws(VecraftError) in
            #expect(call.eventLoop.inEventLoop)
            let scratch = call.loopLocal(Scratch.self)
            scratch.uses += 1
            reply.writeString("\(scratch.uses)")
            return .reply
        }
        try await withPair(["/t/M": method], settings: settings) { client in
            for i in 1...5 {
                let reply = try await client.unary("/t/M", bytes(""))
                #expect(text(reply.message) == "\(i)")
            }
            #expect(made.count == 1)
        }
    }

    @Test func theObserverSeesEveryCallOnce() async throws {
        let observer = Recorder()
        try await withPair(Methods.all, observer: observer) { client in
            _ = try await client.unary("/test.Test/Echo", bytes("12345"))
            _ = await failure { try await client.unary("/test.Test/Fail", bytes("x")) }
            _ = await failure { try await client.unary("/test.Test/Nope", bytes("")) }
            let call = try await client.serverStreaming("/test.Test/Count", bytes("2"))
            for try await _ in call.replies {}
        }
        let seen = observer.events
        #expect(observer.methods.last == "unknown")
        #expect(seen.filter { $0.hasPrefix("started") }.count == 4)
        #expect(
            Set(seen.filter { $0.hasPrefix("finished") }) == [
                "finished /test.Test/Echo OK in 10 out 10", "finished /test.Test/Fail FAILED_PRECONDITION in 6 out 0",
                "finished unknown UNIMPLEMENTED in 0 out 0", "finished /test.Test/Count OK in 6 out 12",
            ])
        #expect(seen.first == "opened" && seen.last == "closed")
    }
}
