package import NIOCore
package import Primitives

/// How a method is served. Messages are bytes; the wire knows nothing of protobuf.
package enum GRPCMethod: Sendable {
    /// Runs on the event loop and must not block. Appends its reply message to the buffer and returns `.reply`, or keeps
    /// `call.deferred()` and returns `.later`. The message pointer is valid until the handler returns.
    case unary(GRPCUnaryHandler)
    /// One request (`call.request()`), any number of replies (`call.send`).
    case serverStreaming(GRPCFunction)
    /// Any number of requests (`call.requests`), exactly one `call.send`.
    case clientStreaming(GRPCFunction)
    /// Both, in any order.
    case bidirectional(GRPCFunction)
}

/// A unary method: the call, its request message, the buffer its reply message goes to.
package typealias GRPCUnaryHandler =
    @Sendable (borrowing GRPCCall, UnsafeRawBufferPointer, inout ByteBuffer) throws(VecraftError) -> GRPCUnaryOutcome

/// A streaming method.
package typealias GRPCFunction = @Sendable (GRPCStreamCall) async throws(VecraftError) -> Void

package enum GRPCUnaryOutcome: Sendable {
    /// The reply is in the buffer.
    case reply
    /// The handler kept `call.deferred()`, which answers from any thread.
    case later
}

/// A gRPC server over HTTP/2, plaintext (prior knowledge) or TLS.
///
/// Unary handlers run on the event loop of their connection; streaming methods are async functions.
/// The event loops belong to the caller and outlive the server.
package final class GRPCServer: Sendable {
    let core: ServerCore

    /// - Parameters:
    ///   - methods: By full path, "/package.Service/Method".
    ///   - group: Connections are spread over its loops.
    /// - Throws: INVALID_ARGUMENT when a setting makes no sense.
    package init(
        settings: GRPCServerSettings = GRPCServerSettings(), methods: [String: GRPCMethod],
        observer: (any GRPCObserver)? = nil, group: any EventLoopGroup
    ) throws(VecraftError) {
        try settings.validate()
        self.core = ServerCore(settings: settings, methods: methods, observer: observer, group: group)
    }

    /// Listens on one more address.
    /// - Parameter port: 0 lets the system choose.
    /// - Returns: The port bound.
    /// - Throws: INVALID_ARGUMENT for bad certificates, UNAVAILABLE when the address cannot be bound or the server drains.
    @discardableResult
    package func start(host: String, port: Int, tls: GRPCTLS? = nil) async throws(VecraftError) -> Int {
        try await self.core.listen(host: host, port: port, tls: tls)
    }

    /// Stops listening, tells every client to go elsewhere (GOAWAY), lets running calls finish for up to `grace`, fails the
    /// rest with UNAVAILABLE and closes. Returns when the last connection is closed.
    package func drain(grace: Duration) async { await self.core.drain(grace: grace) }

    /// Connections open now.
    package var connectionCount: Int { self.core.connectionCount }
}
