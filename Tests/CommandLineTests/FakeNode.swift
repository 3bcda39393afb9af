import GRPC
import NIOCore
import NIOPosix
import Primitives
import Synchronization
import Wire
import vecraft

/// A node that answers what a test tells it to, over a real connection.
final class FakeNode: Sendable {
    typealias Handler = @Sendable ([UInt8]) throws(VecraftError) -> [UInt8]

    let address: NodeAddress
    private let server: GRPCServer
    private let group: MultiThreadedEventLoopGroup

    private init(_ server: GRPCServer, _ group: MultiThreadedEventLoopGroup, port: Int) {
        self.server = server
        self.group = group
        self.address = NodeAddress(host: "127.0.0.1", port: port)
    }

    /// Runs `body` against a node with these methods; those it lacks are UNIMPLEMENTED.
    static func with<R: Sendable>(
        _ unary: [MethodDescriptor: Handler] = [:], upsertStream: UpsertStream? = nil, port: Int = 0,
        _ body: (FakeNode) async throws -> R
    ) async throws -> R {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var methods: [String: GRPCMethod] = [:]
        for (method, handler) in unary {
            methods[method.path] = .unary { (_, message, reply) throws(VecraftError) in
                reply.writeBytes(try handler(Array(message)))
                return .reply
            }
        }
        if let upsertStream {
            methods[VecraftV1.Points.upsertStream.path] = .bidirectional { call throws(VecraftError) in
                try await upsertStream.serve(call)
            }
        }
        let server = try GRPCServer(methods: methods, group: group)
        let node = FakeNode(server, group, port: try await server.start(host: "127.0.0.1", port: port))
        let outcome: Result<R, any Error>
        do { outcome = .success(try await body(node)) } catch { outcome = .failure(error) }
        await server.drain(grace: .zero)
        try? await group.shutdownGracefully()
        return try outcome.get()
    }

    static func answer<Request: WireMessage, Response: WireMessage>(
        _ body: @escaping @Sendable (Request) throws(VecraftError) -> Response
    ) -> Handler {
        { bytes throws(VecraftError) in try body(try Request.decode(bytes)).encode() }
    }
}

/// `Points.UpsertStream` that stores what it is sent, once for each idempotency key, and fails when told to.
final class UpsertStream: Sendable {
    enum Fault: Sendable {
        /// Answers this request with a code; the stream goes on.
        case refuse(VecraftError.Code)
        /// Answers this request as the gateway does when one point of it cannot be taken.
        case refusePoint(Int)
        /// Stores the request, then breaks the stream before answering.
        case breakAfterStoring
    }

    struct State: Sendable {
        /// Requests received, faults included.
        var received = 0
        var keys: [String: [UInt8]] = [:]
        /// In the order stored.
        var ids: [String] = []
        var vectors: [String: [Float]] = [:]
        var reusedKeys = 0
    }

    private let state = Mutex(State())
    private let faults: [Int: Fault]

    /// - Parameter faults: By number of the request received, from 0.
    init(faults: [Int: Fault] = [:]) { self.faults = faults }

    var result: State { self.state.withLock { $0 } }

    func serve(_ call: GRPCStreamCall) async throws(VecraftError) {
        for try await message in call.requests {
            let bytes = Array(message.readableBytesView)
            let request = try VecraftV1.UpsertRequest.decode(bytes)
            let fault = self.state.withLock { state -> Fault? in
                defer { state.received += 1 }
                return self.faults[state.received]
            }
            if case .refuse(let code) = fault {
                try await call.send(VecraftV1.UpsertResponse(code: UInt32(code.rawValue), message: "as told").encode())
                continue
            }
            if case .refusePoint(let index) = fault {
                let error = VecraftError.invalid("points[\(index)].vector", "has 2 components, not 3")
                try await call.send(VecraftV1.UpsertResponse(code: UInt32(error.code.rawValue), message: error.message).encode())
                continue
            }
            let replayed = self.store(request, bytes)
            if case .breakAfterStoring = fault { throw VecraftError(.unavailable, "as told") }
            let write = VecraftV1.WriteInfo(partition: "data-0", offset: 1, requestID: "r", replayed: replayed)
            try await call.send(VecraftV1.UpsertResponse(write: write, accepted: UInt32(request.points.count)).encode())
        }
    }

    private func store(_ request: VecraftV1.UpsertRequest, _ bytes: [UInt8]) -> Bool {
        self.state.withLock { state in
            if let before = state.keys[request.idempotencyKey] {
                if before != bytes { state.reusedKeys += 1 }
                return true
            }
            state.keys[request.idempotencyKey] = bytes
            for point in request.points {
                state.ids.append(point.id)
                state.vectors[point.id] = point.vector.map { vector in
                    vector.packed.withUnsafeBytes { Array($0.bindMemory(to: Float.self)) }
                }
            }
            return false
        }
    }
}
