import ClusterSupport
import Foundation
import GRPC
import NIOPosix
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// What a node answers another that asks for shards in a way that no node of ours does.
    @Suite("Hostile reads of shards", .enabled(if: ServerProcess.takesPeers))
    struct ShardReadTests {
        @Test(.timeLimit(.minutes(10))) func areRefusedAndHarmNothing() async throws {
            let run = try await ClusterRun.start(shards: 4)
            let node = run.cluster[1]
            let described = try await run.cluster.describe(ClusterRun.collection, on: node)
            let address = node.peerAddress.split(separator: ":")
            var settings = GRPCClientSettings()
            settings.statusDetails = { StatusDetails.decode($0, into: &$1) }
            let client = try GRPCClient(
                host: String(address[0]), port: Int(address[1])!, settings: settings,
                group: MultiThreadedEventLoopGroup.singleton)
            func ask(
                timeout: Duration = .seconds(20), _ change: (inout VecraftInternalV1.ShardReadRequest) -> Void
            ) async throws -> VecraftInternalV1.ShardReadResponse {
                var request = VecraftInternalV1.ShardReadRequest(
                    operation: .count, request: VecraftV1.CountRequest(collection: "whatever").encode(),
                    collection: described.id,
                    shards: [0, 1, 2, 3])
                change(&request)
                let reply = try await client.unary(
                    "/vecraft.internal.v1.ShardReads/Read", request.encode(), timeout: timeout)
                return try VecraftInternalV1.ShardReadResponse.decode(reply)
            }
            let good = try VecraftV1.CountResponse.decode(try await ask { _ in }.reply)
            #expect(good.count == 0, "the id says which collection is meant, not the name")
            let refusals: [(VecraftError.Code, (inout VecraftInternalV1.ShardReadRequest) -> Void)] = [
                (.invalidArgument, { $0.shards = [] }), (.invalidArgument, { $0.shards = [1, 1] }),
                (.unavailable, { $0.shards = [4] }), (.unavailable, { $0.shards = [.max] }),
                (.invalidArgument, { $0.operation = .unspecified }),
                (.invalidArgument, { $0.operation = .init(rawValue: 99) }),
                (.notFound, { $0.collection = 1 }), (.invalidArgument, { $0.request = [0xff, 0xff, 0xff] }),
                (.invalidArgument, { $0.operation = .search }), (.invalidArgument, { $0.operation = .get }),
                (.deadlineExceeded, { $0.neededOffset = .max }),
            ]
            for (i, (code, change)) in refusals.enumerated() {
                let error = await #expect(throws: VecraftError.self) {
                    // The one whose time must run out.
                    try await ask(timeout: code == .deadlineExceeded ? .seconds(2) : .seconds(20), change)
                }
                #expect(error?.code == code, "\(i): \(String(describing: error))")
            }
            #expect(try await ask { $0.pageBytes = .max }.reply.isEmpty == false)
            await client.close()
            try await eventually("it is ready") { await node.readiness() == 200 }
            try await run.finish()
        }
    }
}
