import Foundation
import GRPC
import NIOCore
import NIOPosix
import Primitives
import TestSupport
import Wire

/// A real node and a client on it.
final class TestNode: Sendable {
    let server: ServerProcess
    let client: GRPCClient

    init(
        _ directory: String, settings: [String] = [], environment: [String: String] = [:]
    ) async throws {
        self.server = try await offThePool {
            try ServerProcess(dataDirectory: directory, settings: settings, environment: environment)
        }
        var client = GRPCClientSettings()
        client.statusDetails = { StatusDetails.decode($0, into: &$1) }
        // The node is there; calls have limits of their own.
        client.connectTimeout = .seconds(300)
        self.client = try GRPCClient(
            host: "127.0.0.1", port: self.server.grpcPort, settings: client,
            group: MultiThreadedEventLoopGroup.singleton)
    }

    func call<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, metadata: GRPCMetadata = [:],
        timeout: Duration = .seconds(20)
    ) async throws -> Reply {
        try Reply.decode(
            try await self.client.unary("/vecraft.v1.\(method)", request.encode(), metadata: metadata, timeout: timeout)
        )
    }

    @discardableResult
    func create(
        _ name: String, dimension: Int = 8, distance: VecraftV1.Distance = .cosine,
        indexes: [(String, VecraftV1.FieldType)] = [], shards: UInt32 = 0
    ) async throws -> VecraftV1.CreateCollectionResponse {
        try await self.call(
            "Collections/CreateCollection",
            VecraftV1.CreateCollectionRequest(
                name: name,
                config: VecraftV1.CollectionConfig(
                    vector: VecraftV1.VectorConfig(dimension: UInt32(dimension), distance: distance),
                    payloadIndexes: indexes.map { VecraftV1.PayloadIndexConfig(field: $0.0, type: $0.1) },
                    shards: shards)))
    }

    @discardableResult
    func upsert(
        _ collection: String, _ points: [VecraftV1.Point], wait: VecraftV1.Wait = .committed, key: String = "",
        metadata: GRPCMetadata = [:]
    ) async throws -> VecraftV1.UpsertResponse {
        try await self.call(
            "Points/Upsert",
            VecraftV1.UpsertRequest(collection: collection, points: points, wait: wait, idempotencyKey: key),
            metadata: metadata)
    }

    @discardableResult
    func delete(_ collection: String, _ ids: [String]) async throws -> VecraftV1.DeleteResponse {
        try await self.call("Points/Delete", VecraftV1.DeleteRequest(collection: collection, ids: ids))
    }

    func get(
        _ collection: String, _ ids: [String], read: VecraftV1.ReadOptions? = nil, vectors: Bool = false,
        metadata: GRPCMetadata = [:]
    ) async throws -> VecraftV1.GetResponse {
        try await self.call(
            "Points/Get", VecraftV1.GetRequest(collection: collection, ids: ids, withVectors: vectors, read: read),
            metadata: metadata)
    }

    func count(_ collection: String, filter: VecraftV1.Filter? = nil) async throws -> UInt64 {
        let reply: VecraftV1.CountResponse = try await self.call(
            "Points/Count",
            VecraftV1.CountRequest(collection: collection, filter: filter, read: .init(consistency: .strong)))
        return reply.count
    }

    /// Ends the node in order; the data directory stays.
    func stop() async -> Int32 {
        await self.client.close()
        return (try? await offThePool { self.server.terminate() }) ?? -1
    }

    func kill() async {
        try? await offThePool { self.server.kill() }
        await self.client.close()
    }
}

func point(_ id: String, _ vector: [Float], payload: String? = nil) -> VecraftV1.Point {
    VecraftV1.Point(
        id: id, vector: VecraftV1.Vector(values: vector),
        payload: payload.map { VecraftV1.Payload(json: Array($0.utf8)) })
}

func randomVector(_ dimension: Int, using rng: inout SeededRNG) -> [Float] {
    (0..<dimension).map { _ in Float.random(in: -1...1, using: &rng) }
}
