import GRPC
import NIOCore
import Primitives
import TestSupport
import Testing
import Wire

@Suite("A node's limits, end to end")
struct LimitTests {
    private static let payload = "{\"t\":\"\(String(repeating: "x", count: 60_000))\"}"

    private func filled(_ directory: String, settings: [String] = []) async throws -> TestNode {
        let node = try await TestNode(directory, settings: settings)
        try await node.create("c", dimension: 4)
        for start in stride(from: 100, to: 200, by: 10) {
            try await node.upsert(
                "c", (start..<start + 10).map { point("p\($0)", [1, 0, 0, 0], payload: Self.payload) }, wait: .applied)
        }
        return node
    }

    @Test func anAnswerTooLargeIsRefusedByEitherWire() async throws {
        let directory = try TemporaryDirectory()
        // 100 points of 60 KB: 6 MB.
        let node = try await self.filled(directory.path + "/data", settings: ["grpc.max_message_bytes=4194304"])
        let search = await #expect(throws: VecraftError.self) {
            let _: VecraftV1.SearchResponse = try await node.call(
                "Points/Search",
                VecraftV1.SearchRequest(collection: "c", vector: .init(values: [1, 0, 0, 0]), limit: 100))
        }
        #expect(search?.code == .resourceExhausted)
        #expect(search?.reason == "ANSWER_TOO_LARGE")
        let get = await #expect(throws: VecraftError.self) {
            try await node.get("c", [String](repeating: "p100", count: 10_000))
        }
        #expect(get?.reason == "ANSWER_TOO_LARGE")
        #expect(try await node.get("c", ["p100", "p100"]).points.map(\.id) == ["p100", "p100"])
        let lineage = await #expect(throws: VecraftError.self) {
            for _ in 0..<80 { try await node.upsert("c", [point("p100", [1, 0, 0, 0], payload: Self.payload)]) }
            let _: VecraftV1.LineageResponse = try await node.call(
                "Lineage/Record", VecraftV1.RecordLineageRequest(collection: "c", id: "p100"))
        }
        #expect(lineage?.reason == "ANSWER_TOO_LARGE")

        let port = node.server.httpPort
        let tooMuch = try await http(
            "POST", port, "/v1/collections/c/points:search", body: #"{"vector":[1,0,0,0],"limit":100}"#)
        #expect(tooMuch.status == 413)
        #expect(tooMuch.body.contains("ANSWER_TOO_LARGE"))
        let record = try await http("GET", port, "/v1/collections/c/points/p100/lineage")
        #expect(record.status == 413)
        let little = try await http("GET", port, "/v1/collections/c/points/p100/lineage?limit=2")
        #expect(little.status == 200)
        #expect(await node.stop() == 0)
    }

    @Test func pagesAreCutByBytesAndLoseNothing() async throws {
        let directory = try TemporaryDirectory()
        let node = try await self.filled(directory.path + "/data")
        var pages: [Int] = []
        var ids: [String] = []
        var token = ""
        repeat {
            let page: VecraftV1.ScrollResponse = try await node.call(
                "Points/Scroll", VecraftV1.ScrollRequest(collection: "c", pageSize: 1000, pageToken: token))
            pages.append(page.encode().count)
            ids += page.points.map(\.id)
            token = page.nextPageToken
        } while !token.isEmpty
        #expect(ids == (100..<200).map { "p\($0)" })
        #expect(pages.count > 1)
        // What stock clients take.
        #expect(pages.allSatisfy { $0 <= 4 << 20 })

        let request = VecraftV1.ScrollRequest(collection: "c", pageSize: 1000).encode()
        let export = try await node.client.serverStreaming(
            "/vecraft.v1.Points/Export", ByteBuffer(bytes: request), timeout: .seconds(60))
        ids = []
        pages = []
        for try await message in export.replies {
            let page = try VecraftV1.ScrollResponse.decode(Array(message.readableBytesView))
            ids += page.points.map(\.id)
            pages.append(message.readableBytes)
        }
        #expect(ids == (100..<200).map { "p\($0)" })
        #expect(pages.count > 5)
        #expect(pages.allSatisfy { $0 <= 1 << 20 })
        #expect(await node.stop() == 0)
    }

    /// Reads that wait for a replica which will not move hold their exports open.
    @Test func oneExportTooManyIsRefused() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.apply_delay_ms=3600000"])
        try await node.create("c", dimension: 4)
        try await node.upsert("c", [point("a", [1, 0, 0, 0])])
        let request = ByteBuffer(
            bytes: VecraftV1.ScrollRequest(collection: "c", read: .init(consistency: .strong)).encode())
        var calls: [GRPCClientCall] = []
        for _ in 0..<70 {
            calls.append(
                try await node.client.serverStreaming("/vecraft.v1.Points/Export", request, timeout: .seconds(600)))
        }
        // 64 wait, however long it takes to begin them; the others hear at once.
        let refused = await withTaskGroup(of: VecraftError?.self) { group in
            for call in calls {
                group.addTask {
                    do {
                        for try await _ in call.replies {}
                        return nil
                    } catch let error as VecraftError {
                        return error
                    } catch {
                        return nil
                    }
                }
            }
            var refused: [VecraftError?] = []
            for await error in group {
                refused.append(error)
                if refused.count == 6 { for call in calls { call.cancel() } }
            }
            return refused.prefix(6)
        }
        #expect(refused.allSatisfy { $0?.code == .resourceExhausted && $0?.reason == "TOO_MANY_EXPORTS" }, "\(refused)")
        await node.kill()
    }

    @Test func aReplicaThatIsBehindIsNamedInTime() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.apply_delay_ms=3600000"])
        try await node.create("c", dimension: 4)
        try await node.upsert("c", [point("a", [1, 0, 0, 0])])
        // Over HTTP the server alone counts the time.
        let port = node.server.httpPort
        let headers = ["x-vecraft-timeout-ms": "200", "x-vecraft-consistency": "strong"]
        let read = try await http("POST", port, "/v1/collections/c/points:count", body: "{}", headers: headers)
        #expect(read.status == 504 && read.body.contains("REPLICA_BEHIND"), "\(read)")
        let write = try await http(
            "PUT", port, "/v1/collections/c/points",
            body: #"{"points":[{"id":"b","vector":[1,0,0,0]}],"wait":"applied"}"#,
            headers: headers)
        #expect(write.status == 504 && write.body.contains("REPLICA_BEHIND"), "\(write)")
        #expect(write.body.contains("committed"))
        // Over gRPC the client's own clock may strike first on a busy machine, but not every time.
        var reasons: Set<String> = []
        for _ in 0..<50 where !reasons.isSuperset(of: ["read REPLICA_BEHIND", "write REPLICA_BEHIND"]) {
            let read = await #expect(throws: VecraftError.self) {
                let _: VecraftV1.CountResponse = try await node.call(
                    "Points/Count", VecraftV1.CountRequest(collection: "c", read: .init(consistency: .strong)),
                    timeout: .seconds(1))
            }
            let write = await #expect(throws: VecraftError.self) {
                let _: VecraftV1.UpsertResponse = try await node.call(
                    "Points/Upsert",
                    VecraftV1.UpsertRequest(collection: "c", points: [point("c", [1, 0, 0, 0])], wait: .applied),
                    timeout: .seconds(1))
            }
            #expect(read?.code == .deadlineExceeded && write?.code == .deadlineExceeded)
            reasons.insert("read \(read?.reason ?? "")")
            reasons.insert("write \(write?.reason ?? "")")
        }
        #expect(reasons.isSuperset(of: ["read REPLICA_BEHIND", "write REPLICA_BEHIND"]))
        await node.kill()
    }

    @Test func restRefusesWhatItWouldIgnore() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        let port = node.server.httpPort
        try await node.create("c", dimension: 4)
        let body = #"{"points":[{"id":"a","vector":[1,0,0,0]}]}"#
        #expect(try await http("PUT", port, "/v1/collections/c/points", body: body).status == 200)

        let limit = try await http("GET", port, "/v1/collections/c/points/a/lineage?limit=abc")
        #expect(limit.status == 400 && limit.body.contains(#""field":"limit""#), "\(limit)")
        for path in [
            "/v1/collections?x=1", "/v1/collections/c?x=1", "/v1/collections/c/points/a?x=1", "/v1/status?x=1",
        ] {
            let unknown = try await http("GET", port, path)
            #expect(unknown.status == 400 && unknown.body.contains(#""field":"x""#), "\(path): \(unknown)")
        }
        let search = try await http("POST", port, "/v1/collections/c/points:search", body: #"{"vector":[1,0,0,0]}"#)
        #expect(search.headers["x-vecraft-session"]?.isEmpty == false)
        let vector = try await http("POST", port, "/v1/collections/c/points:search", body: #"{"vector":"x"}"#)
        #expect(vector.status == 400 && vector.body.contains("array of numbers"), "\(vector)")
        let one = try await http("GET", port, "/v1/collections/c").body
        let all = try await http("GET", port, "/v1/collections").body
        #expect(all.contains(#""deleted_rows":"0""#) && one.contains(#""deleted_rows":"0""#))

        let control = try await http(
            "PUT", port, "/v1/collections/c/points", body: #"{"points":[{"id":"a\u0085","vector":[1,0,0,0]}]}"#)
        #expect(control.status == 400 && control.body.contains("control character"), "\(control)")
        let small = try await http(
            "PUT", port, "/v1/collections/c/points", body: #"{"points":[{"id":"s","vector":[1e-30,1e-30,0,0]}]}"#)
        #expect(small.status == 200, "\(small)")
        let keyed = #"{"points":[{"id":"a","vector":[1,0,0,0]}],"idempotency_key":"one"}"#
        let keys = try await http(
            "PUT", port, "/v1/collections/c/points", body: keyed, headers: ["idempotency-key": "two"])
        #expect(keys.status == 400 && keys.body.contains(#""field":"idempotency_key""#), "\(keys)")
        let same = try await http(
            "PUT", port, "/v1/collections/c/points", body: keyed, headers: ["idempotency-key": "one"])
        #expect(same.status == 200)
        #expect(await node.stop() == 0)
    }
}
