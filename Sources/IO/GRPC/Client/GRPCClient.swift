package import NIOCore
package import Primitives

/// What a unary call came back with.
package struct GRPCReply: Sendable {
    package var message: ByteBuffer
    package var initialMetadata: GRPCMetadata
    package var trailers: GRPCMetadata
}

/// Limits and habits of a ``GRPCClient``.
package struct GRPCClientSettings: Sendable {
    package var maxMessageBytes = Limits.messageBytes
    package var maxHeaderListBytes = 16 << 10
    package var streamWindowBytes = 1 << 20
    package var connectionWindowBytes = 8 << 20
    package var unsentBytes = 64 << 10
    package var batchBytes = 32 << 10
    /// Requests at least this large are sent gzipped. nil: never.
    package var compressRequestsFrom: Int?
    package var connectTimeout: Duration = .seconds(5)
    /// Waits between attempts to reconnect grow from here ...
    package var minBackoff: Duration = .milliseconds(100)
    /// ... by doubling up to here, each shortened by up to a fifth at random.
    package var maxBackoff: Duration = .seconds(10)
    /// Calls on the connection and waiting for it. One more is RESOURCE_EXHAUSTED.
    package var maxCalls = 10_000
    /// A silent connection with calls on it is sent a PING ...
    package var keepaliveInterval: Duration = .seconds(30)
    /// ... and closed when the answer takes longer than this.
    package var keepaliveTimeout: Duration = .seconds(10)
    /// Sent with every call, after "grpc-vecraft".
    package var userAgent = "vecraft"
    /// Fills `field`, `reason` and `retryAfter` from the bytes of `grpc-status-details-bin`.
    package var statusDetails: (@Sendable ([UInt8], inout VecraftError) -> Void)?

    package init() {}
}

/// One connection to one server, shared by any number of callers, made again when it is lost.
///
/// Calls made while connecting wait for it; calls made while waiting to try again fail with UNAVAILABLE and `retryAfter`.
/// A call the server says it never looked at (refused, or beyond its GOAWAY) is sent again by itself, once.
package final class GRPCClient: Sendable {
    let core: ClientCore

    /// Connects at the first call.
    package init(
        host: String, port: Int, tls: GRPCTLS? = nil, settings: GRPCClientSettings = GRPCClientSettings(),
        group: any EventLoopGroup
    ) throws(VecraftError) {
        self.core = try ClientCore(host: host, port: port, tls: tls, settings: settings, group: group)
    }

    deinit { self.core.abandon() }

    /// A client that is connected, or UNAVAILABLE.
    package static func connect(
        host: String, port: Int, tls: GRPCTLS? = nil, settings: GRPCClientSettings = GRPCClientSettings(),
        group: any EventLoopGroup
    ) async throws(VecraftError) -> GRPCClient {
        let client = try GRPCClient(host: host, port: port, tls: tls, settings: settings, group: group)
        try await client.core.connect()
        return client
    }

    /// - Parameter timeout: Sent as `grpc-timeout` and kept here too. nil: no limit.
    package func unary(
        _ method: String, _ message: ByteBuffer, metadata: GRPCMetadata = [:], timeout: Duration? = nil
    ) async throws(VecraftError) -> GRPCReply {
        try await self.core.unary(method, message, metadata, timeout)
    }

    package func unary(
        _ method: String, _ message: [UInt8], metadata: GRPCMetadata = [:], timeout: Duration? = nil
    ) async throws(VecraftError) -> [UInt8] {
        let reply = try await self.unary(method, ByteBuffer(bytes: message), metadata: metadata, timeout: timeout)
        return Array(reply.message.readableBytesView)
    }

    /// The completion runs once, on the client's event loop, and must not block.
    @discardableResult
    package func unary(
        _ method: String, _ message: ByteBuffer, metadata: GRPCMetadata = [:], timeout: Duration? = nil,
        completion: @escaping @Sendable (Result<GRPCReply, VecraftError>) -> Void
    ) -> GRPCCancellation {
        self.core.unary(method, message, metadata, timeout, completion)
    }

    /// One request, any number of replies.
    package func serverStreaming(
        _ method: String, _ message: ByteBuffer, metadata: GRPCMetadata = [:], timeout: Duration? = nil
    ) async throws(VecraftError) -> GRPCClientCall {
        let call = try await self.bidirectional(method, metadata: metadata, timeout: timeout)
        try await call.send(message)
        call.finishSending()
        return call
    }

    /// Any number of requests, one reply: `send`, then `finish()`.
    package func clientStreaming(
        _ method: String, metadata: GRPCMetadata = [:], timeout: Duration? = nil
    ) async throws(VecraftError) -> GRPCClientCall {
        try await self.bidirectional(method, metadata: metadata, timeout: timeout)
    }

    package func bidirectional(
        _ method: String, metadata: GRPCMetadata = [:], timeout: Duration? = nil
    ) async throws(VecraftError) -> GRPCClientCall {
        try self.core.stream(method, metadata, timeout)
    }

    /// A streaming call in the hands of a driver, to which everything is told, also that no connection could be made. The call
    /// is cancelled when nobody holds it.
    package func bidirectional(
        _ method: String, metadata: GRPCMetadata = [:], timeout: Duration? = nil, driver: any GRPCStreamDriver
    ) throws(VecraftError) -> GRPCClientCall {
        try self.core.stream(method, metadata, timeout, driver: driver)
    }

    /// Cancels what is running, closes the connection, refuses what follows.
    package func close() async { await self.core.close() }
}

extension VecraftError {
    /// The reason of a deadline that passed while the call waited for a connection.
    package static let notSent = "NOT_SENT"

    /// The call never left, since there was no connection to send it on. A connection lost under a call has no `retryAfter`.
    package var wasNeverSent: Bool {
        self.reason == Self.notSent || self.reason == "CONNECTION_LOST" && self.retryAfter != nil
    }
}
