import GRPC
import NIOPosix
import Primitives
import TestSupport
package import Wire

extension ClusterNode {
    /// What it tells other nodes of its shards, by collection and shard. Its digests are computed anew from every point.
    package func shardStates(
        timeout: Duration = .seconds(60)
    ) async throws -> [String: VecraftInternalV1.ShardState] {
        let parts = self.peerAddress.split(separator: ":")
        let client = try GRPCClient(
            host: self.host, port: Int(parts.last ?? "") ?? 0, group: MultiThreadedEventLoopGroup.singleton)
        let request = VecraftInternalV1.ShardStatesRequest(clusterID: "vecraft", to: UInt64(self.id), recompute: true)
        let result: Result<[UInt8], VecraftError>
        do throws(VecraftError) {
            result = .success(
                try await client.unary("/vecraft.internal.v1.Shards/States", request.encode(), timeout: timeout))
        } catch {
            result = .failure(error)
        }
        await client.close()
        let reply = try VecraftInternalV1.ShardStatesResponse.decode(try result.get())
        return Dictionary(
            uniqueKeysWithValues: reply.shards.map { ("\($0.shard?.collection ?? 0)/\($0.shard?.shard ?? 0)", $0) })
    }

    /// The body of `GET /readyz`; nil when nothing answers.
    package func readinessText() async -> String? {
        (try? await http("GET", self.httpPort, "/readyz", host: self.host))?.body
    }
}
