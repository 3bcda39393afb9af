package import GRPC
package import NIOCore
package import PeerTransport
package import Primitives
package import Raft
internal import Synchronization
internal import Wire

/// Calls to other nodes' `vecraft.internal.v1.Peer`, one connection to each.
package final class PeerClients: Sendable {
    private struct State {
        var addresses: [ReplicaID: PeerAddress] = [:]
        var clients: [ReplicaID: GRPCClient] = [:]
    }
    private let state = Mutex(State())
    private let tls: GRPCTLS?
    private let group: any EventLoopGroup
    private let settings: GRPCClientSettings

    /// - Parameter connectTimeout: A node that does not take a connection within it does not answer.
    package init(tls: GRPCTLS?, group: any EventLoopGroup, connectTimeout: Duration = .seconds(1)) {
        self.tls = tls
        self.group = group
        var settings = GRPCClientSettings()
        settings.statusDetails = { StatusDetails.decode($0, into: &$1) }
        settings.connectTimeout = connectTimeout
        settings.minBackoff = .milliseconds(20)
        settings.maxBackoff = .milliseconds(500)
        settings.userAgent = "vecraft-node"
        self.settings = settings
    }

    package func setPeers(_ peers: [ReplicaID: PeerAddress]) {
        self.state.withLock { state in
            // A client that nobody holds any more closes its connection.
            for node in state.clients.keys.filter({ peers[$0] != state.addresses[$0] }) { state.clients[node] = nil }
            state.addresses = peers
        }
    }

    private func client(_ node: ReplicaID) throws(VecraftError) -> GRPCClient {
        let known: Result<GRPCClient, VecraftError> = self.state.withLock { state in
            if let client = state.clients[node] { return .success(client) }
            guard let address = state.addresses[node] else {
                return .failure(VecraftError(.unavailable, "the address of node \(node) is not known", reason: "UNKNOWN_PEER"))
            }
            return Result { () throws(VecraftError) in
                let client = try GRPCClient(
                    host: address.host, port: address.port, tls: self.tls, settings: self.settings, group: self.group)
                state.clients[node] = client
                return client
            }
        }
        return try known.get()
    }

    func call<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, at node: ReplicaID, timeout: Duration,
        completion: @escaping @Sendable (Result<Reply, VecraftError>) -> Void
    ) {
        self.unary(PeerJournalAPI.service + method, request.encode(), at: node, timeout: timeout) { result in
            completion(
                result.flatMap { reply in
                    reply.withUnsafeReadableBytes { raw in Result { () throws(VecraftError) in try Reply.decode(raw) } }
                })
        }
    }

    /// One call of any service on the peers' listener; `completion` from an event loop.
    /// - Parameter method: Its full path.
    package func unary(
        _ method: String, _ request: [UInt8], at node: ReplicaID, metadata: GRPCMetadata = [:], timeout: Duration,
        completion: @escaping @Sendable (Result<ByteBuffer, VecraftError>) -> Void
    ) {
        let client: GRPCClient
        do throws(VecraftError) { client = try self.client(node) } catch { return completion(.failure(error)) }
        client.unary(method, ByteBuffer(bytes: request), metadata: metadata, timeout: timeout) {
            completion($0.map(\.message))
        }
    }

    /// The other nodes whose addresses are known.
    package var nodes: [ReplicaID] { self.state.withLock { $0.addresses.keys.sorted() } }

    /// One call of any service on the peers' listener.
    /// - Parameter method: Its full path.
    package func unary(
        _ method: String, _ request: [UInt8], at node: ReplicaID, timeout: Duration
    ) async throws(VecraftError) -> ByteBuffer {
        try await self.client(node).unary(method, ByteBuffer(bytes: request), timeout: timeout).message
    }

    /// A connection of its own, so that what is much stands before no other call. The caller closes it.
    package func dial(_ node: ReplicaID) throws(VecraftError) -> GRPCClient {
        guard let address = self.state.withLock({ $0.addresses[node] }) else {
            throw VecraftError(.unavailable, "the address of node \(node) is not known", reason: "UNKNOWN_PEER")
        }
        return try GRPCClient(
            host: address.host, port: address.port, tls: self.tls, settings: self.settings, group: self.group)
    }

    package func close() async {
        let clients = self.state.withLock { state in
            defer { state.clients = [:] }
            return Array(state.clients.values)
        }
        for client in clients { await client.close() }
    }
}
