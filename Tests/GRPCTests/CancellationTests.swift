import NIOCore
import NIOHTTP2
import Primitives
import Testing

@testable import GRPC

@Suite(.ownThreads) struct CancellationTests {
    @Test func aDeadlineIsKeptByTheClientAlone() async throws {
        // The server never answers and the raw listener never even reads.
        let silent = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel { _ = reply }
            return .later
        }
        try await withPair(["/t/M": silent]) { client in
            await expectFailure(.deadlineExceeded) {
                try await client.unary("/t/M", bytes(""), timeout: .milliseconds(20))
            }
            let call = try await client.bidirectional("/t/M", timeout: .milliseconds(20))
            await expectFailure(.deadlineExceeded) { for try await _ in call.replies {} }
            await expectFailure(.deadlineExceeded) {
                try await client.unary("/t/M", bytes(""), timeout: .zero)
            }
        }
    }

    /// A method that keeps no deadline itself can have the server keep one for callers who named none, or a later one.
    @Test func aMethodCanLimitItsCalls() async throws {
        let silent = GRPCMethod.unary { (call, message, _) throws(VecraftError) in
            let milliseconds = Int64(message.count)
            let reply = call.deferred(until: .now() + .milliseconds(milliseconds))
            reply.onCancel { _ = reply }
            return .later
        }
        try await withPair(["/t/M": silent]) { client in
            for timeout in [nil, Duration.seconds(3_600)] {
                let error = await failure { try await client.unary("/t/M", zeros(20), timeout: timeout) }
                #expect(error?.code == .deadlineExceeded)
                #expect(error?.message == "the deadline passed on the server")
            }
            // An earlier one stays.
            await expectFailure(.deadlineExceeded) {
                try await client.unary("/t/M", zeros(100_000), timeout: .milliseconds(20))
            }
        }
    }

    @Test func aTaskThatIsCancelledAlreadyIsAnswered() async throws {
        try await withPair(Methods.all) { client in
            // Cancelled before the call is known anywhere: its end races with its beginning, so many of them.
            let outcomes = await withTaskGroup(of: [VecraftError.Code].self) { group in
                for _ in 0..<4 {
                    group.addTask {
                        withUnsafeCurrentTask { $0?.cancel() }
                        var codes: [VecraftError.Code] = []
                        for _ in 0..<2_000 {
                            do throws(VecraftError) {
                                _ = try await client.unary("/test.Test/Echo", bytes("1"))
                                codes.append(.ok)
                            } catch {
                                codes.append(error.code)
                            }
                        }
                        return codes
                    }
                }
                return await group.reduce(into: []) { $0 += $1 }
            }
            #expect(outcomes.count == 8_000)
            #expect(outcomes.allSatisfy { $0 == .cancelled })
        }
    }

    @Test func theDeadlineReachesTheHandler() async throws {
        let method = GRPCMethod.unary { (call, _, reply) throws(VecraftError) in
            let left = call.deadline.map { $0 - .now() }
            reply.writeString(left.map { $0 > .zero && $0 <= .hours(1) ? "within the hour" : "\($0)" } ?? "none")
            return .reply
        }
        try await withPair(["/t/M": method]) { client in
            let none = try await client.unary("/t/M", bytes(""))
            #expect(text(none.message) == "none")
            let hour = try await client.unary("/t/M", bytes(""), timeout: .seconds(3_600))
            #expect(text(hour.message) == "within the hour")
        }
    }

    @Test func cancellingTheTaskCancelsTheCallOnTheServer() async throws {
        let started = Signal()
        let cancelled = Signal()
        let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel {
                #expect(reply.isCancelled)
                cancelled.set()
            }
            started.set()
            return .later
        }
        try await withPair(["/t/M": method]) { client in
            let task = Beside { await failure { try await client.unary("/t/M", bytes("")) } }
            await started.wait()
            task.cancel()
            let error = try await task.value
            #expect(error?.code == .cancelled)
            await cancelled.wait()
        }
    }

    @Test func aCallbackCallCanBeCancelled() async throws {
        let started = Signal()
        let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel { _ = reply }
            started.set()
            return .later
        }
        try await withPair(["/t/M": method]) { client in
            let result = Slot<VecraftError?>()
            let handle = client.unary("/t/M", bytes("")) { outcome in
                guard case .failure(let error) = outcome else { return result.put(nil) }
                result.put(error)
            }
            await started.wait()
            handle.cancel()
            handle.cancel()
            let error = try await result.take()
            #expect(error?.code == .cancelled)
        }
    }

    @Test func aCallCancelledBeforeItBeganNeverStarts() async throws {
        let calls = Counter()
        let method = GRPCMethod.unary { (_, _, _) throws(VecraftError) in
            calls.add()
            return .reply
        }
        try await withPair(["/t/M": method]) { client in
            let go = Signal()
            let task = Beside {
                await go.wait()
                return await failure { try await client.unary("/t/M", bytes("")) }
            }
            task.cancel()
            go.set()
            let error = try await task.value
            #expect(error?.code == .cancelled)
            _ = try await client.unary("/t/M", bytes(""))
            #expect(calls.count == 1)
        }
    }

    @Test func aResetCancelsAStreamingFunction() async throws {
        let started = Signal()
        let ended = Slot<(VecraftError?, Bool)>()
        let method = GRPCMethod.bidirectional { (call) throws(VecraftError) in
            started.set()
            do throws(VecraftError) {
                for try await _ in call.requests {}
                ended.put((nil, call.isCancelled))
            } catch {
                ended.put((error, call.isCancelled && Task.isCancelled))
                throw error
            }
        }
        try await withPair(["/t/M": method]) { client in
            let call = try await client.bidirectional("/t/M")
            try await call.send([1])
            await started.wait()
            call.cancel()
            let (error, wasCancelled) = try await ended.take()
            #expect(error?.code == .cancelled)
            #expect(wasCancelled)
            await expectFailure(.cancelled) { for try await _ in call.replies {} }
            await expectFailure(.cancelled) { try await call.send([2]) }
        }
    }

    @Test func aSenderThatWaitsHearsTheReset() async throws {
        let ended = Slot<VecraftError?>()
        let method = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
            do throws(VecraftError) { while true { try await call.send([UInt8](repeating: 0, count: 10_000)) } } catch {
                ended.put(error)
                throw error
            }
        }
        try await withPair(["/t/M": method]) { client in
            do {
                let call = try await client.serverStreaming("/t/M", bytes(""))
                var replies = call.replies.makeAsyncIterator()
                _ = try await replies.next()
                // Dropped here, unread: that cancels it.
            }
            let error = try await ended.take()
            #expect(error?.code == .cancelled)
        }
    }

    @Test func aLostConnectionCancelsItsCalls() async throws {
        let started = Signal()
        let cancelled = Signal()
        let method = GRPCMethod.unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            reply.onCancel {
                _ = reply
                cancelled.set()
            }
            started.set()
            return .later
        }
        try await withServer(["/t/M": method]) { _, port in
            let peer = try await RawPeer.connect(port: port)
            try await peer.sendRequest(RawPeer.request("/t/M"), framed(bytes("")), on: 1)
            await started.wait()
            await peer.close()
            await cancelled.wait()
        }
    }

    @Test func aChildTaskMayStopReadingWithoutEndingTheCall() async throws {
        let method = GRPCMethod.bidirectional { (call) throws(VecraftError) in
            let reader = Task { await failure { for try await _ in call.requests {} } }
            reader.cancel()
            let error = await reader.value
            try await call.send(Array("\(error?.code.name ?? "none")".utf8))
        }
        try await withPair(["/t/M": method]) { client in
            let call = try await client.bidirectional("/t/M")
            var replies = call.replies.makeAsyncIterator()
            let reply = try await replies.next()
            #expect(reply.map(text) == "CANCELLED")
            let end = try await replies.next()
            #expect(end == nil)
        }
    }
}
