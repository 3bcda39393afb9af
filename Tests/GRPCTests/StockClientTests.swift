import Foundation
import NIOCore
import Primitives
import Synchronization
import TestSupport
import Testing

@testable import GRPC

/// The Python client of the gRPC project against our server: what users have. Needs Python, see `PythonEnvironment`.
@Suite(
    .ownThreads(limit: .seconds(1_200)), .serialized,
    .enabled("no Python with grpcio: run .ci/python") { await PythonEnvironment.python(modules: [.grpc]) != nil })
struct StockClientTests {
    /// Calls a test can wait for by name.
    final class Waiting: Sendable {
        private let state = Mutex<[String: (started: Signal, cancelled: Signal)]>([:])
        func signals(_ name: String) -> (started: Signal, cancelled: Signal) {
            self.state.withLock { state in
                if let known = state[name] { return known }
                let new = (started: Signal(), cancelled: Signal())
                state[name] = new
                return new
            }
        }
    }

    private func methods() -> [String: GRPCMethod] {
        let waiting = Waiting()
        var methods = Methods.all
        methods["/test.Test/Fail"] = .unary { (_, message, _) throws(VecraftError) in
            throw VecraftError(
                .failedPrecondition, String(decoding: message, as: UTF8.self), retryAfter: .milliseconds(1_500))
        }
        methods["/test.Test/CountAndFail"] = .serverStreaming { (call) throws(VecraftError) in
            for i in 0..<(Int(text(try await call.request())) ?? 0) { try await call.send(Array("\(i)".utf8)) }
            throw VecraftError(.aborted, "enough")
        }
        methods["/test.Test/Later"] = .unary { (call, _, _) throws(VecraftError) in
            let reply = call.deferred()
            Thread.detachNewThread { reply.reply(Array("later \(text(reply.message))".utf8)) }
            return .later
        }
        methods["/test.Test/Metadata"] = .unary { (call, _, _) throws(VecraftError) in
            call.addInitialMetadata("x-echo", call.metadata["x-echo"] ?? "")
            call.addTrailer("x-echo-bin", binary: call.metadata.binary("x-echo-bin") ?? [])
            return .reply
        }
        methods["/test.Test/Never"] = .unary { (call, message, _) throws(VecraftError) in
            let signals = waiting.signals(String(decoding: message, as: UTF8.self))
            let reply = call.deferred()
            reply.onCancel {
                _ = reply
                signals.cancelled.set()
            }
            signals.started.set()
            return .later
        }
        methods["/test.Test/NeverStream"] = .serverStreaming { (call) throws(VecraftError) in
            for try await _ in call.requests {}
            while !Task.isCancelled { try? await Task.sleep(for: .seconds(60)) }
        }
        methods["/test.Test/WaitForStart"] = .serverStreaming { (call) throws(VecraftError) in
            await waiting.signals(text(try await call.request())).started.wait()
            try await call.send(Array("started".utf8))
        }
        methods["/test.Test/WaitForCancel"] = .serverStreaming { (call) throws(VecraftError) in
            await waiting.signals(text(try await call.request())).cancelled.wait()
            try await call.send(Array("cancelled".utf8))
        }
        return methods
    }

    private func runClient(_ arguments: [String]) async throws {
        let python = try #require(await PythonEnvironment.python(modules: [.grpc]))
        let script = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
            "Python/stock_client.py")
        let outcome = try await PythonEnvironment.run(python, [script.path] + arguments, limit: .seconds(900))
        #expect(outcome.succeeded, "\(outcome)")
        #expect(outcome.output.contains("ok check_unary"))
    }

    private var settings: GRPCServerSettings {
        var settings = GRPCServerSettings.patient
        settings.statusDetails = { _ in Array("details".utf8) }
        return settings
    }

    @Test func everythingInPlaintext() async throws {
        try await withServer(self.methods(), settings: self.settings) { _, port in
            try await self.runClient(["\(port)", "plain"])
        }
    }

    @Test func everythingUnderMutualTLS() async throws {
        let certificates = try await TLSTests.Certificates()
        defer { certificates.remove() }
        let tls = certificates.identity("server", trusting: "ca")
        try await withServer(self.methods(), settings: self.settings, tls: tls) { _, port in
            try await self.runClient(
                ["\(port)", "tls"] + ["ca.pem", "client.pem", "client.key"].map { certificates.path($0) })
        }
    }
}
