import Foundation
import GRPC
import NIOCore
import Primitives
import TestSupport
import Wire

/// 25,000 real points through gRPC, a kill -9 in the middle, and recall@10 at default settings against the ground truth.
enum RecallBenchmark {
    static func run(group: any EventLoopGroup) async throws {
        let folder = ProcessInfo.processInfo.environment["VECRAFT_DATASET"] ?? "../shared/data/debian-packages"
        guard let data = try DebianPackages(folder: folder) else {
            print("skipped: no data set in \(folder) (VECRAFT_DATASET names another folder)")
            return
        }
        let directory = try temporaryDirectory("recall")
        var node = try await Self.start(directory, group, create: true)
        let requests = data.requests(collection: "bench", batch: 250)
        let acknowledged = try await Self.loadUntilKilled(node, requests, killAfter: requests.count / 2)

        node = try await Self.start(directory, group, create: false)
        let present = try await Self.check(node, data, acknowledged: acknowledged * 250)
        var report = Report("recall")
        report.header("what", "value")
        report.row("points acknowledged before kill -9", "\(acknowledged * 250)")
        report.row("points found after the restart", "\(present)")

        try await node.load(requests)
        try await node.settle(data.count)
        let count = try await Self.count(node)
        guard count == data.count else { throw VecraftError(.dataLoss, "\(count) points instead of \(data.count)") }
        report.row("points after importing all again", "\(count)")
        for (name, filter, allowed) in data.filters {
            let (recall, calls) = try await Self.recall(node, data, filter, allowed)
            report.row("recall@10, \(name)", recall.text(4))
            report.row("calls/s, one caller, \(name)", calls.text(0))
            report.value("recall_" + name.replacingOccurrences(of: " ", with: "_"), recall)
            if recall < 0.95 { report.note("recall@10 of \(name) is below 0.95") }
        }
        try report.finish()
        await node.stop()
    }

    private static func start(
        _ directory: String, _ group: any EventLoopGroup, create: Bool
    ) async throws -> BenchServer {
        let server = try ServerProcess(dataDirectory: directory, settings: ["log.level=warning"])
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: server.grpcPort, group: group)
        if create {
            let request = VecraftV1.CreateCollectionRequest(
                name: "bench",
                config: VecraftV1.CollectionConfig(
                    vector: VecraftV1.VectorConfig(dimension: 384, distance: .cosine),
                    payloadIndexes: [
                        VecraftV1.PayloadIndexConfig(field: "section", type: .keyword),
                        VecraftV1.PayloadIndexConfig(field: "installed_kib", type: .integer),
                    ]))
            _ = try await client.unary("/vecraft.v1.Collections/CreateCollection", request.encode())
        }
        return BenchServer(server: server, client: client)
    }

    /// Returns how many requests were acknowledged, in order, before the kill.
    private static func loadUntilKilled(
        _ node: BenchServer, _ requests: [[UInt8]], killAfter: Int
    ) async throws -> Int {
        let call = try await node.client.bidirectional("/vecraft.v1.Points/UpsertStream")
        let acknowledged = await withTaskGroup(of: Int.self) { group in
            group.addTask {
                do { for request in requests { try await call.send(request) } } catch {}
                return 0
            }
            group.addTask {
                var count = 0
                do {
                    for try await reply in call.replies {
                        let response = try reply.withUnsafeReadableBytes { try VecraftV1.UpsertResponse.decode($0) }
                        guard response.code == 0 else { break }
                        count += 1
                        if count == killAfter { node.server.kill() }
                    }
                } catch {}
                return count
            }
            var total = 0
            for await count in group { total += count }
            return total
        }
        await node.client.close()
        return acknowledged
    }

    /// Every acknowledged point is there, and the count has no point twice.
    private static func check(_ node: BenchServer, _ data: DebianPackages, acknowledged: Int) async throws -> Int {
        var next = 0
        while next < data.count {
            let ids = Array(data.ids[next..<min(next + 1000, data.count)])
            let request = VecraftV1.GetRequest(
                collection: "bench", ids: ids, withoutPayload: true, read: .init(consistency: .strong))
            let reply = try VecraftV1.GetResponse.decode(
                try await node.client.unary("/vecraft.v1.Points/Get", request.encode()))
            let lost = reply.missing.compactMap { id in data.ids.firstIndex(of: id) }.filter { $0 < acknowledged }
            guard lost.isEmpty else { throw VecraftError(.dataLoss, "\(lost.count) acknowledged points are lost") }
            guard Set(reply.points.map(\.id)).count == reply.points.count else {
                throw VecraftError(.dataLoss, "a point came twice")
            }
            next += 1000
        }
        return try await Self.count(node)
    }

    private static func count(_ node: BenchServer) async throws -> Int {
        let request = VecraftV1.CountRequest(collection: "bench", read: .init(consistency: .strong))
        let reply = try VecraftV1.CountResponse.decode(
            try await node.client.unary("/vecraft.v1.Points/Count", request.encode(), timeout: .seconds(60)))
        return Int(reply.count)
    }

    private static func recall(
        _ node: BenchServer, _ data: DebianPackages, _ filter: VecraftV1.Filter?, _ allowed: [Bool]?
    ) async throws -> (Double, Double) {
        let truth = data.truth(allowed)
        var hits = 0
        var wanted = 0
        let spent = try await seconds {
            for q in 0..<data.queryCount {
                let request = VecraftV1.SearchRequest(
                    collection: "bench",
                    vector: VecraftV1.Vector(packed: data.query(q).withUnsafeBytes { [UInt8]($0) }),
                    limit: 10, filter: filter, withoutPayload: true)
                let reply = try VecraftV1.SearchResponse.decode(
                    try await node.client.unary("/vecraft.v1.Points/Search", request.encode()))
                let expected = Set(truth[q].map { data.ids[$0] })
                guard reply.hits.count == expected.count else {
                    throw VecraftError(.internalError, "\(reply.hits.count) hits, \(expected.count) match")
                }
                hits += reply.hits.count { expected.contains($0.id) }
                wanted += expected.count
            }
        }
        return (Double(hits) / Double(wanted), Double(data.queryCount) / spent)
    }
}

/// The data set: names, payloads, vectors, questions and their exact answers.
struct DebianPackages {
    let ids: [String]
    private let payloads: [[UInt8]]
    private let vectors: [Float]
    private let queries: [Float]
    private let groundTruth: [UInt32]
    let queryCount: Int
    var count: Int { self.ids.count }
    static let dimension = 384

    init?(folder: String) throws {
        guard FileManager.default.fileExists(atPath: folder + "/vectors.f16.npy") else { return nil }
        self.vectors = try Self.halves(folder + "/vectors.f16.npy")
        self.queries = try Self.halves(folder + "/queries.f16.npy")
        self.queryCount = self.queries.count / Self.dimension
        let truth = try Self.body(folder + "/groundtruth.u32.npy")
        self.groundTruth = truth.withUnsafeBytes { raw in
            (0..<raw.count / 4).map { raw.loadUnaligned(fromByteOffset: $0 * 4, as: UInt32.self) }
        }
        let unpack = Process()
        unpack.executableURL = URL(fileURLWithPath: "/bin/gzip")
        unpack.arguments = ["-dc", folder + "/points.jsonl.gz"]
        let pipe = Pipe()
        unpack.standardOutput = pipe
        try unpack.run()
        let lines = try pipe.fileHandleForReading.readToEnd() ?? Data()
        unpack.waitUntilExit()
        var ids: [String] = []
        var payloads: [[UInt8]] = []
        for line in lines.split(separator: 10) {
            let value = try JSONValue(parsing: [UInt8](line))
            ids.append(value["id"]?.stringValue ?? "")
            payloads.append((value["payload"] ?? .object([])).encoded())
        }
        self.ids = ids
        self.payloads = payloads
    }

    func requests(collection: String, batch: Int) -> [[UInt8]] {
        stride(from: 0, to: self.count, by: batch).map { start in
            VecraftV1.UpsertRequest(
                collection: collection,
                points: (start..<min(start + batch, self.count)).map { i in
                    VecraftV1.Point(
                        id: self.ids[i],
                        vector: VecraftV1.Vector(packed: self.row(self.vectors, i).withUnsafeBytes { [UInt8]($0) }),
                        payload: VecraftV1.Payload(json: self.payloads[i]))
                }
            ).encode()
        }
    }

    func query(_ q: Int) -> [Float] { self.row(self.queries, q) }

    /// Filters of falling selectivity, as the server gets them and as rows.
    var filters: [(String, VecraftV1.Filter?, [Bool]?)] {
        let documents = self.payloads.map { try? JSONValue(parsing: $0) }
        func section(_ name: String) -> (VecraftV1.Filter, [Bool]) {
            (
                VecraftV1.Filter(must: [
                    .init(key: "section", test: .match(.init(kind: .value(.init(kind: .stringValue(name))))))
                ]),
                documents.map { $0?["section"]?.stringValue == name }
            )
        }
        let libraries = section("libs")
        let games = section("games")
        let small = VecraftV1.Filter(must: [.init(key: "installed_kib", test: .range(.init(lt: .init(value: 100))))])
        let isSmall = documents.map { ($0?["installed_kib"]?.doubleValue).map { $0 < 100 } ?? false }
        return [
            ("unfiltered", nil, nil), ("installed_kib below 100", small, isSmall),
            ("section libs", libraries.0, libraries.1),
            ("section games", games.0, games.1),
        ]
    }

    /// The ten nearest allowed rows of each question: given for all rows, brute force otherwise.
    func truth(_ allowed: [Bool]?) -> [[Int]] {
        guard let allowed else {
            return (0..<self.queryCount).map { q in (0..<10).map { Int(self.groundTruth[q * 100 + $0]) } }
        }
        let rows = self.ids.indices.filter { allowed[$0] }
        return (0..<self.queryCount).map { q in
            let query = self.query(q)
            let scored = rows.map { row -> (Float, Int) in
                var dot: Float = 0, norm: Float = 0
                self.vectors.withUnsafeBufferPointer { all in
                    for d in 0..<Self.dimension {
                        let x = all[row * Self.dimension + d]
                        dot += x * query[d]
                        norm += x * x
                    }
                }
                return (-dot / norm.squareRoot(), row)
            }
            return scored.sorted { $0 < $1 }.prefix(10).map(\.1)
        }
    }

    private func row(_ all: [Float], _ i: Int) -> [Float] {
        Array(all[i * Self.dimension..<(i + 1) * Self.dimension])
    }

    /// What is behind the header of a NumPy file.
    private static func body(_ path: String) throws -> Data {
        let file = try Data(contentsOf: URL(fileURLWithPath: path))
        let header = Int(file[8]) | Int(file[9]) << 8
        return file.dropFirst(10 + header)
    }

    static func halves(_ path: String) throws -> [Float] {
        let body = try Self.body(path)
        return body.withUnsafeBytes { raw in
            (0..<raw.count / 2).map { Self.widen(raw.loadUnaligned(fromByteOffset: $0 * 2, as: UInt16.self)) }
        }
    }

    /// IEEE 754 half to single.
    private static func widen(_ half: UInt16) -> Float {
        let sign: Float = half & 0x8000 == 0 ? 1 : -1
        let exponent = Int(half >> 10 & 0x1f)
        let fraction = Float(half & 0x3ff)
        if exponent == 0 { return sign * fraction * 0x1p-24 }
        return sign * (1 + fraction / 1024) * Float(sign: .plus, exponent: exponent - 15, significand: 1)
    }
}
