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
        self.client = try GRPCClient(
            host: "127.0.0.1", port: self.server.grpcPort, settings: client, group: MultiThreadedEventLoopGroup.singleton)
    }

    func call<Request: WireMessage, Reply: WireMessage>(
        _ method: String, _ request: Request, as: Reply.Type = Reply.self, metadata: GRPCMetadata = [:],
        timeout: Duration = .seconds(20)
    ) async throws -> Reply {
        try Reply.decode(try await self.client.unary("/vecraft.v1.\(method)", request.encode(), metadata: metadata, timeout: timeout))
    }

    @discardableResult
    func create(
        _ name: String, dimension: Int = 8, distance: VecraftV1.Distance = .cosine,
        indexes: [(String, VecraftV1.FieldType)] = []
    ) async throws -> VecraftV1.CreateCollectionResponse {
        try await self.call(
            "Collections/CreateCollection",
            VecraftV1.CreateCollectionRequest(
                name: name,
                config: VecraftV1.CollectionConfig(
                    vector: VecraftV1.VectorConfig(dimension: UInt32(dimension), distance: distance),
                    payloadIndexes: indexes.map { VecraftV1.PayloadIndexConfig(field: $0.0, type: $0.1) })))
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

/// A plain HTTP request by the system's own means, as any client would make it.
func http(
    _ method: String, _ port: Int, _ path: String, body: String? = nil, headers: [String: String] = [:]
) async throws -> (status: Int, headers: [String: String], body: String) {
    // One connection a request, read to its end: enough for a test, and no second HTTP stack.
    let request =
        "\(method) \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        + headers.map { "\($0): \($1)\r\n" }.joined()
        + (body.map { "Content-Type: application/json\r\nContent-Length: \($0.utf8.count)\r\n" } ?? "") + "\r\n" + (body ?? "")
    let collected = try await offThePool { try exchange(port, Array(request.utf8)) }
    let text = String(decoding: collected, as: UTF8.self)
    let halves = text.split(separator: "\r\n\r\n", maxSplits: 1, omittingEmptySubsequences: false)
    let lines = halves[0].split(separator: "\r\n")
    guard let first = lines.first, let status = first.split(separator: " ").dropFirst().first.flatMap({ Int($0) }) else {
        throw VecraftError(.internalError, "no HTTP answer: \(text.prefix(200))")
    }
    var fields: [String: String] = [:]
    for line in lines.dropFirst() {
        let parts = line.split(separator: ":", maxSplits: 1)
        if parts.count == 2 { fields[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces) }
    }
    var content = halves.count > 1 ? String(halves[1]) : ""
    if fields["transfer-encoding"] == "chunked" { content = unchunk(content) }
    return (status, fields, content)
}

private func unchunk(_ text: String) -> String {
    var bytes = Array(text.utf8)[...]
    var whole: [UInt8] = []
    while let end = bytes.firstIndex(of: 13) {
        guard let count = Int(String(decoding: bytes[..<end], as: UTF8.self), radix: 16), count > 0 else { break }
        let start = end + 2
        whole += bytes[start..<start + count]
        bytes = bytes[(start + count + 2)...]
    }
    return String(decoding: whole, as: UTF8.self)
}

private func exchange(_ port: Int, _ request: [UInt8]) throws -> [UInt8] {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(port).bigEndian
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    let connected = withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
    guard connected == 0 else { throw VecraftError(.unavailable, "connect: errno \(errno)") }
    var sent = 0
    while sent < request.count {
        let count = request[sent...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { throw VecraftError(.unavailable, "write: errno \(errno)") }
        sent += count
    }
    var whole: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 64 << 10)
    while true {
        let count = read(descriptor, &buffer, buffer.count)
        guard count > 0 else { return whole }
        whole += buffer[0..<count]
    }
}
