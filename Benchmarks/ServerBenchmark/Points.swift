import GRPC
import NIOCore
import Primitives
import TestSupport
import Wire

/// Clustered unit vectors: nearer to what embeddings look like than uniform noise. Seeded.
struct Points {
    let count: Int
    let dimension: Int
    private var rng: SeededRNG
    private let centres: [[Float]]

    init(count: Int, dimension: Int, seed: UInt64 = 1) {
        self.count = count
        self.dimension = dimension
        var rng = SeededRNG(seed: seed)
        self.centres = (0..<200).map { _ in (0..<dimension).map { _ in Float.random(in: -1...1, using: &rng) } }
        self.rng = rng
    }

    /// More of the same kind: other vectors around the same centres.
    init(_ count: Int, like points: Points, seed: UInt64) {
        self.count = count
        self.dimension = points.dimension
        self.centres = points.centres
        self.rng = SeededRNG(seed: seed)
    }

    mutating func vector() -> [Float] {
        let centre = self.centres[Int.random(in: 0..<self.centres.count, using: &self.rng)]
        return centre.map { $0 + Float.random(in: -0.7...0.7, using: &self.rng) }
    }

    /// Encoded upsert requests of `batch` points each, all made before any clock runs.
    mutating func requests(collection: String, batch: Int) -> [[UInt8]] {
        var requests: [[UInt8]] = []
        var next = 0
        while next < self.count {
            var request = VecraftV1.UpsertRequest(collection: collection)
            for i in next..<min(next + batch, self.count) {
                let vector = self.vector()
                request.points.append(
                    VecraftV1.Point(
                        id: "point-\(i)", vector: VecraftV1.Vector(packed: vector.withUnsafeBytes { [UInt8]($0) }),
                        payload: VecraftV1.Payload(json: Array("{\"number\":\(i),\"group\":\"g\(i % 10)\"}".utf8))))
            }
            requests.append(request.encode())
            next += batch
        }
        return requests
    }
}

/// A node of its own with one collection.
struct BenchServer {
    let server: ServerProcess
    let client: GRPCClient

    static func start(
        _ name: String, dimension: Int, settings: [String] = [], environment: [String: String] = [:],
        group: any EventLoopGroup
    ) async throws -> BenchServer {
        let server = try ServerProcess(
            dataDirectory: try temporaryDirectory(name), settings: ["log.level=warning"] + settings,
            environment: environment)
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: server.grpcPort, group: group)
        let request = VecraftV1.CreateCollectionRequest(
            name: "bench",
            config: VecraftV1.CollectionConfig(
                vector: VecraftV1.VectorConfig(dimension: UInt32(dimension), distance: .cosine)))
        _ = try await client.unary("/vecraft.v1.Collections/CreateCollection", request.encode())
        return BenchServer(server: server, client: client)
    }

    /// Sends everything over one stream; returns when the last is acknowledged as durable.
    func load(_ requests: [[UInt8]]) async throws {
        let call = try await self.client.bidirectional("/vecraft.v1.Points/UpsertStream")
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                for request in requests { try await call.send(request) }
                call.finishSending()
            }
            group.addTask {
                for try await reply in call.replies {
                    let response = try reply.withUnsafeReadableBytes { try VecraftV1.UpsertResponse.decode($0) }
                    guard response.code == 0 else { throw VecraftError(.unknown, response.message) }
                }
            }
            try await group.waitForAll()
        }
    }

    func describe() async throws -> VecraftV1.CollectionStatus {
        let bytes = try await self.client.unary(
            "/vecraft.v1.Collections/DescribeCollection", VecraftV1.DescribeCollectionRequest(name: "bench").encode())
        return try VecraftV1.DescribeCollectionResponse.decode(bytes).collection?.status ?? VecraftV1.CollectionStatus()
    }

    /// Waits until every point is applied and linked into the graph.
    func settle(_ count: Int) async throws {
        while true {
            let status = try await self.describe()
            if status.points == count, status.indexedVectors == status.totalVectors { return }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    func stop() async {
        await self.client.close()
        self.server.terminate()
        removeTree(self.server.dataDirectory)
    }
}
