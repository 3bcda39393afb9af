package import GRPC
internal import Glibc
internal import NIOCore
internal import NIOPosix
package import Primitives
package import Wire

/// A node, as a command sees it: requests in, answers out.
package struct Node: Sendable {
    package let client: GRPCClient
    package let address: NodeAddress
    package var tenant: String
    package var timeout: Duration

    /// Sent with each call, so that the gateway remembers this caller's writes from one command to the next and its reads
    /// see them.
    private static let clientID: String = {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        let host = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return "vecraft-cli/\(getuid())@\(host)"
    }()

    /// Connects, hands the node to `body`, and closes the connection whatever comes of it.
    package static func with<R: Sendable>(
        _ options: GlobalOptions, _ body: (Node) async throws -> R
    ) async throws -> R {
        try await Self.with(
            address: try options.resolvedAddress(), tls: options.transportSecurity, tenant: options.tenant,
            timeout: options.timeout?.duration ?? .seconds(30), body)
    }

    package static func with<R: Sendable>(
        address: NodeAddress, tls: GRPCTLS? = nil, tenant: String = "default", timeout: Duration = .seconds(30),
        _ body: (Node) async throws -> R
    ) async throws -> R {
        // One command, one connection: a second thread would find nothing to do.
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let outcome: Result<R, any Error>
        do {
            let client = try await Self.connect(address, tls, timeout, group)
            let node = Node(client: client, address: address, tenant: tenant, timeout: timeout)
            do {
                outcome = .success(try await body(node))
            } catch {
                outcome = .failure(error)
            }
            await client.close()
        } catch {
            outcome = .failure(error)
        }
        try? await group.shutdownGracefully()
        return try outcome.get()
    }

    private static func connect(
        _ address: NodeAddress, _ tls: GRPCTLS?, _ timeout: Duration, _ group: any EventLoopGroup
    ) async throws(VecraftError) -> GRPCClient {
        var settings = GRPCClientSettings()
        settings.userAgent = "vecraft-cli"
        settings.connectTimeout = min(settings.connectTimeout, timeout)
        settings.statusDetails = StatusDetails.decode
        do throws(VecraftError) {
            return try await GRPCClient.connect(
                host: address.host, port: address.port, tls: tls, settings: settings, group: group)
        } catch {
            throw error.code == .unavailable
                ? VecraftError(
                    .unavailable, "no node answers at \(address) (\(error.message)). `vecraft serve` starts one.")
                : error
        }
    }

    package var metadata: GRPCMetadata { ["x-vecraft-client-id": Self.clientID] }

    /// One request, one answer.
    package func call<Request: WireMessage, Response: WireMessage>(
        _ method: MethodDescriptor, _ request: Request, as _: Response.Type = Response.self
    ) async throws(VecraftError) -> Response {
        let reply = try await self.client.unary(
            method.path, request.encode(), metadata: self.metadata, timeout: self.timeout)
        return try reply.withBytes { bytes throws(VecraftError) in try Response.decode(bytes) }
    }
}
