import Glibc
import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Testing

@testable import GRPC

/// The event loops of all tests here: a server and a client may share one.
let testLoops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

extension GRPCServerSettings {
    /// For tests that are not about these limits: a thread may stand still for long on a busy machine.
    static var patient: GRPCServerSettings {
        var settings = GRPCServerSettings()
        settings.handshakeTimeout = .seconds(600)
        settings.keepaliveTimeout = .seconds(600)
        return settings
    }
}

extension GRPCClientSettings {
    static var patient: GRPCClientSettings {
        var settings = GRPCClientSettings()
        settings.connectTimeout = .seconds(600)
        settings.keepaliveTimeout = .seconds(600)
        return settings
    }
}

/// A server on a free port for as long as `body` runs.
func withServer(
    _ methods: [String: GRPCMethod], settings: GRPCServerSettings = .patient, tls: GRPCTLS? = nil,
    observer: (any GRPCObserver)? = nil, _ body: (GRPCServer, Int) async throws -> Void
) async throws {
    let server = try GRPCServer(settings: settings, methods: methods, observer: observer, group: testLoops)
    let port = try await server.start(host: "127.0.0.1", port: 0, tls: tls)
    do {
        try await body(server, port)
        await server.drain(grace: .seconds(60))
    } catch {
        await server.drain(grace: .zero)
        throw error
    }
}

/// A client that is connected.
func connect(
    host: String = "127.0.0.1", port: Int, tls: GRPCTLS? = nil, settings: GRPCClientSettings = .patient
) async throws -> GRPCClient {
    try await GRPCClient.connect(host: host, port: port, tls: tls, settings: settings, group: testLoops)
}

/// A server and a client connected to it.
func withPair(
    _ methods: [String: GRPCMethod], settings: GRPCServerSettings = .patient,
    client clientSettings: GRPCClientSettings = .patient, observer: (any GRPCObserver)? = nil,
    _ body: (GRPCClient) async throws -> Void
) async throws {
    try await withServer(methods, settings: settings, observer: observer) { _, port in
        let client = try await connect(port: port, settings: clientSettings)
        do { try await body(client) } catch {
            await client.close()
            throw error
        }
        await client.close()
    }
}

/// A loopback address of the caller's own: nobody else listens on any of its ports, so that "nobody listens here" and
/// "the same port again" mean what they say while other tests run, in this process and in others.
func ownHost() -> String {
    let number = UInt32(hostsTaken.add()) &* 251 &+ UInt32(bitPattern: getpid()) &* 7919
    return "127.\(1 + number >> 16 & 127).\(number >> 8 & 255).\(1 + number % 253)"
}
private let hostsTaken = Counter()

/// The error a call ends with; nil when it succeeds.
func failure<T>(of body: () async throws -> T) async -> VecraftError? {
    do {
        _ = try await body()
        return nil
    } catch let error as VecraftError {
        return error
    } catch {
        return VecraftError(.unknown, "\(error)")
    }
}

func expectFailure<T>(
    _ code: VecraftError.Code, sourceLocation: SourceLocation = #_sourceLocation, _ body: () async throws -> T
) async {
    let error = await failure(of: body)
    #expect(error?.code == code, "\(String(describing: error))", sourceLocation: sourceLocation)
}

func bytes(_ text: String) -> ByteBuffer { ByteBuffer(string: text) }
func text(_ buffer: ByteBuffer) -> String { String(buffer: buffer) }
func zeros(_ count: Int) -> ByteBuffer { ByteBuffer(repeating: 0, count: count) }

/// Set once, waited for by any number. A wait ends early when its task is cancelled, so that a test out of time ends.
final class Signal: Sendable {
    private struct State {
        var isSet = false
        var waiters: [Int: CheckedContinuation<Void, Never>] = [:]
        var nextWaiter = 0
    }
    private let state = Mutex(State())

    var isSet: Bool { self.state.withLock { $0.isSet } }

    func set() {
        let waiters = self.state.withLock { state in
            state.isSet = true
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.resume() }
    }

    func wait() async {
        let ticket = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = self.state.withLock { state in
                    if state.isSet || Task.isCancelled { return true }
                    state.waiters[ticket] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume()
        }
    }
}

/// A value that one side leaves for the other.
final class Slot<Value: Sendable>: Sendable {
    private let content = Mutex<Value?>(nil)
    private let filled = Signal()
    func put(_ value: Value) {
        self.content.withLock { $0 = value }
        self.filled.set()
    }
    func take() async throws -> Value {
        await self.filled.wait()
        guard let value = self.content.withLock({ $0.take() }) else { throw CancellationError() }
        return value
    }
}

final class Counter: Sendable {
    private let value = Atomic<Int>(0)
    @discardableResult func add(_ amount: Int = 1) -> Int { self.value.add(amount, ordering: .relaxed).newValue }
    var count: Int { self.value.load(ordering: .relaxed) }
}

/// Lets other tasks run until something holds. What never comes is the time limit's business.
func until(_ condition: () -> Bool) async throws {
    while !condition() { try await Task.sleep(for: .milliseconds(1)) }
}

/// The methods most tests use.
enum Methods {
    static let echo = GRPCMethod.unary { (_, message, reply) throws(VecraftError) in
        reply.writeBytes(message)
        return .reply
    }

    static let fail = GRPCMethod.unary { (_, message, _) throws(VecraftError) in
        throw VecraftError(.failedPrecondition, String(decoding: message, as: UTF8.self))
    }

    /// Replies "0", "1", ... as many as the request says.
    static let count = GRPCMethod.serverStreaming { (call) throws(VecraftError) in
        let number = Int(text(try await call.request())) ?? 0
        for i in 0..<number { try await call.send(Array("\(i)".utf8)) }
    }

    /// Adds up the lengths of the requests.
    static let sum = GRPCMethod.clientStreaming { (call) throws(VecraftError) in
        var total = 0
        for try await message in call.requests { total += message.readableBytes }
        try await call.send(Array("\(total)".utf8))
    }

    static let echoes = GRPCMethod.bidirectional { (call) throws(VecraftError) in
        for try await message in call.requests { try await call.send(message) }
    }

    static let all: [String: GRPCMethod] = [
        "/test.Test/Echo": echo, "/test.Test/Fail": fail, "/test.Test/Count": count, "/test.Test/Sum": sum,
        "/test.Test/Echoes": echoes,
    ]
}

/// `Issue.record` for a `guard` in a function that returns nothing.
func record(_ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation) {
    Issue.record(comment, sourceLocation: sourceLocation)
}
