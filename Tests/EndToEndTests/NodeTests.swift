import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire

@Suite("A node, end to end")
struct NodeTests {
    @Test func writesAreFoundSearchedCountedAndDeleted() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("things", indexes: [("kind", .keyword), ("size", .integer)])
        var rng = SeededRNG(seed: 1)
        let points = (0..<500).map { i in
            point("p\(i)", randomVector(8, using: &rng), payload: "{\"kind\":\"k\(i % 5)\",\"size\":\(i)}")
        }
        let written = try await node.upsert("things", points)
        #expect(written.accepted == 500)
        #expect(written.write?.offset == 1)

        let one = try await node.get("things", ["p7", "nobody"], vectors: true)
        #expect(one.points.map(\.id) == ["p7"])
        #expect(one.missing == ["nobody"])
        #expect(one.points[0].version == written.write?.hlc)

        let query = points[42].vector!.values
        let found: VecraftV1.SearchResponse = try await node.call(
            "Points/Search",
            VecraftV1.SearchRequest(collection: "things", vector: .init(values: query), limit: 5))
        #expect(found.hits.count == 5)
        #expect(found.hits[0].id == "p42")
        #expect(found.hits[0].distance < 1e-5)
        #expect(found.info?.indexVersion.first?.partition == written.write?.partition)

        let filter = VecraftV1.Filter(must: [
            VecraftV1.Condition(key: "kind", test: .match(.init(kind: .value(.init(kind: .stringValue("k3")))))),
            VecraftV1.Condition(key: "size", test: .range(.init(lt: .init(value: 100)))),
        ])
        let filtered: VecraftV1.SearchResponse = try await node.call(
            "Points/Search",
            VecraftV1.SearchRequest(collection: "things", vector: .init(values: query), limit: 50, filter: filter))
        #expect(filtered.hits.count == 20)
        #expect(try await node.count("things", filter: filter) == 20)

        try await node.delete("things", ["p42"])
        #expect(try await node.get("things", ["p42"]).points.isEmpty)
        let _: VecraftV1.DeleteResponse = try await node.call(
            "Points/Delete", VecraftV1.DeleteRequest(collection: "things", filter: filter))
        #expect(try await node.count("things") == 479)

        var ids: [String] = []
        var token = ""
        repeat {
            let page: VecraftV1.ScrollResponse = try await node.call(
                "Points/Scroll", VecraftV1.ScrollRequest(collection: "things", pageSize: 100, pageToken: token))
            ids += page.points.map(\.id)
            token = page.nextPageToken
        } while !token.isEmpty
        #expect(ids.count == 479)
        #expect(ids == ids.sorted())
        #expect(await node.stop() == 0)
    }

    /// Over gRPC and HTTP; searches go on, `describe` says when it is done, a restart remembers.
    @Test func theCodesOfACollectionChangeWhileItServes() async throws {
        let directory = try TemporaryDirectory()
        let settings = ["storage.segment_points=200", "storage.graph_from=50"]
        var node = try await TestNode(directory.path + "/data", settings: settings)
        try await node.create("c")
        var rng = SeededRNG(seed: 5)
        let points = (0..<1000).map { point("p\($0)", randomVector(8, using: &rng)) }
        try await node.upsert("c", points, wait: .applied)

        func describe() async throws -> VecraftV1.Collection {
            let described: VecraftV1.DescribeCollectionResponse = try await node.call(
                "Collections/DescribeCollection", VecraftV1.DescribeCollectionRequest(name: "c"))
            return try #require(described.collection)
        }
        func settle() async throws {
            while try await describe().status?.recodingSegments != 0 {
                let found: VecraftV1.SearchResponse = try await node.call(
                    "Points/Search",
                    VecraftV1.SearchRequest(collection: "c", vector: .init(values: points[7].vector!.values), limit: 1))
                #expect(found.hits.first?.id == "p7")
                try await Task.sleep(for: .milliseconds(5))
            }
        }
        let update: VecraftV1.UpdateCollectionResponse = try await node.call(
            "Collections/UpdateCollection", VecraftV1.UpdateCollectionRequest(name: "c", quantisation: .int8))
        #expect(update.collection?.config?.vector?.quantisation == .int8)
        #expect(update.write?.partition == "sys-0" && update.write?.offset == 2)
        try await settle()
        let again: VecraftV1.UpdateCollectionResponse = try await node.call(
            "Collections/UpdateCollection", VecraftV1.UpdateCollectionRequest(name: "c", quantisation: .int8, vectors: [""]))
        #expect(again.write == nil && again.collection?.config?.vector?.quantisation == .int8)

        let port = node.server.httpPort
        let patched = try await http(
            "PATCH", port, "/v1/collections/c", body: "{\"quantisation\":\"QUANTISATION_NONE\"}")
        #expect(patched.status == 200 && patched.body.contains("QUANTISATION_NONE"), "\(patched)")
        for (path, body, status) in [
            ("c", "{\"quantisation\":\"QUANTISATION_INT4\",\"vectors\":[\"title\"]}", 404),
            ("nobody", "{\"quantisation\":\"QUANTISATION_INT4\"}", 404), ("c", "{}", 400),
            ("c", "{\"name\":\"d\",\"quantisation\":\"QUANTISATION_INT4\"}", 400),
        ] {
            let answer = try await http("PATCH", port, "/v1/collections/\(path)", body: body)
            #expect(answer.status == status, "\(body): \(answer)")
        }
        #expect(await node.stop() == 0)
        node = try await TestNode(directory.path + "/data", settings: settings)
        try await settle()
        #expect(try await describe().config?.vector?.quantisation == VecraftV1.Quantisation.none)
        #expect(try await node.count("c") == 1000)
        #expect(await node.stop() == 0)
    }

    @Test func aRestartKeepsEverythingAndIdempotencyToo() async throws {
        let directory = try TemporaryDirectory()
        var node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4)
        let first = try await node.upsert("c", [point("a", [1, 0, 0, 0])], key: "key-1")
        #expect(await node.stop() == 0)

        node = try await TestNode(directory.path + "/data")
        let again = try await node.upsert("c", [point("a", [1, 0, 0, 0])], key: "key-1")
        #expect(again.write?.replayed == true)
        #expect(again.write?.offset == first.write?.offset)
        #expect(again.write?.hlc == first.write?.hlc)
        await #expect(throws: VecraftError.self) { try await node.upsert("c", [point("b", [1, 0, 0, 0])], key: "key-1") }
        #expect(try await node.count("c") == 1)
        let next = try await node.upsert("c", [point("b", [0, 1, 0, 0])])
        #expect((next.write?.hlc ?? 0) > (first.write?.hlc ?? 0))
        #expect(await node.stop() == 0)
    }

    @Test func badInputNamesTheFieldAndChangesNothing() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4)
        let good = point("good", [1, 0, 0, 0])
        let bad: [(VecraftV1.Point, String)] = [
            (point("", [1, 0, 0, 0]), "points[1].id"),
            (point(String(repeating: "x", count: 257), [1, 0, 0, 0]), "points[1].id"),
            (point("a\u{1}", [1, 0, 0, 0]), "points[1].id"),
            (point("a", [1, 0, 0]), "points[1].vector"),
            (point("a", [1, .nan, 0, 0]), "points[1].vector[1]"),
            (point("a", [0, 0, 0, 0]), "points[1].vector"),
            (point("a", [1, 0, 0, 0], payload: "[1]"), "points[1].payload"),
            (point("a", [1, 0, 0, 0], payload: "{\"a\":}"), "points[1].payload"),
        ]
        for (wrong, field) in bad {
            let error = await #expect(throws: VecraftError.self) { try await node.upsert("c", [good, wrong]) }
            #expect(error?.code == .invalidArgument)
            #expect(error?.field == field)
        }
        let error = await #expect(throws: VecraftError.self) { try await node.upsert("nowhere", [good]) }
        #expect(error?.code == .notFound)
        #expect(try await node.count("c") == 0)
        #expect(await node.stop() == 0)
    }

    @Test func theFourLevelsKeepTheirPromisesBehindALaggingReplica() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.apply_delay_ms=300"])
        try await node.create("c", dimension: 4)
        let written = try await node.upsert("c", [point("a", [1, 0, 0, 0])], metadata: ["x-vecraft-client-id": "writer"])

        // Eventual: what the replica has, at once, and it says how stale that is.
        let eventual = try await node.get("c", ["a"], read: .init(consistency: .eventual), metadata: ["x-vecraft-client-id": "other"])
        if eventual.points.isEmpty { #expect((eventual.info?.stalenessMs ?? 0) > 0) }
        // Another caller's read-your-writes owes it nothing; the writer's own read waits.
        let own = try await node.get("c", ["a"], metadata: ["x-vecraft-client-id": "writer"])
        #expect(own.points.count == 1)
        #expect(own.info?.indexVersion.first?.offset ?? 0 >= written.write?.offset ?? 1)

        let second = try await node.upsert("c", [point("b", [1, 0, 0, 0])], metadata: ["x-vecraft-client-id": "writer"])
        // The session token carries the promise to any caller.
        let token = second.write?.sessionToken ?? []
        let session = try await node.get("c", ["b"], read: .init(sessionToken: token), metadata: ["x-vecraft-client-id": "third"])
        #expect(session.points.count == 1)

        // On a busy machine the replica may have caught up before the read begins; sooner or later one has to wait.
        var waited = false
        for i in 0..<100 where !waited {
            try await node.upsert("c", [point("d\(i)", [1, 0, 0, 0])])
            let strong = try await node.get(
                "c", ["d\(i)"], read: .init(consistency: .strong), metadata: ["x-vecraft-client-id": "fourth"])
            #expect(strong.points.count == 1)
            #expect(strong.info?.achieved == .strong)
            waited = strong.info?.syncPerformed == true
        }
        #expect(waited)

        try await node.upsert("c", [point("e", [1, 0, 0, 0])])
        let bounded = try await node.get(
            "c", ["e"], read: .init(consistency: .bounded, maxStalenessMs: 50), metadata: ["x-vecraft-client-id": "fifth"])
        #expect((bounded.info?.stalenessMs ?? .max) <= 50 || bounded.points.count == 1)

        // A deadline shorter than the lag: a distinct error that states it.
        var outOfTime: VecraftError?
        for i in 0..<100 where outOfTime == nil {
            try await node.upsert("c", [point("f\(i)", [1, 0, 0, 0])])
            do {
                let _: VecraftV1.GetResponse = try await node.call(
                    "Points/Get", VecraftV1.GetRequest(collection: "c", ids: ["f\(i)"], read: .init(consistency: .strong)),
                    timeout: .milliseconds(60))
            } catch let error as VecraftError {
                outOfTime = error
            }
        }
        #expect(outOfTime?.code == .deadlineExceeded)

        let applied = try await node.upsert("c", [point("g", [1, 0, 0, 0])], wait: .applied)
        let after = try await node.get("c", ["g"], read: .init(consistency: .eventual))
        #expect(after.points.count == 1)
        #expect((after.info?.indexVersion.first?.offset ?? 0) >= (applied.write?.offset ?? 1))
        #expect(await node.stop() == 0)
    }

    @Test func lineageTellsWhoWroteWhatWhenAndWhereItIsSearchable() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4)
        let trace = "0af7651916cd43dd8448eb211c80319c"
        let first = try await node.upsert(
            "c", [point("a", [1, 0, 0, 0], payload: "{\"n\":1}")], wait: .applied,
            metadata: ["traceparent": "00-\(trace)-b7ad6b7169203331-01", "x-request-id": "req-7"])
        let second = try await node.upsert("c", [point("a", [0, 1, 0, 0], payload: "{\"n\":2}"), point("z", [1, 1, 0, 0])], wait: .applied)

        let record: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Record", VecraftV1.RecordLineageRequest(collection: "c", id: "a"))
        #expect(record.entries.map(\.offset) == [first.write?.offset, second.write?.offset])
        #expect(record.entries.map(\.current) == [false, true])
        #expect(record.entries[0].requestID == "req-7")
        #expect(record.entries[0].traceID == trace)
        #expect(record.entries[0].spans.map(\.name) == ["received", "routed", "appended"])
        for span in record.entries[0].spans { #expect(span.startHLC <= span.endHLC) }
        #expect(record.entries[0].receipts.count == 1)
        #expect(record.entries[0].points[0].payload?.json == Array("{\"n\":1}".utf8))

        let byRequest: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Request", VecraftV1.RequestLineageRequest(requestID: "req-7"))
        #expect(byRequest.entries.map(\.offset) == [first.write?.offset])
        let byTrace: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Trace", VecraftV1.TraceLineageRequest(traceID: trace))
        #expect(byTrace.entries.map(\.hlc) == [first.write?.hlc])
        let entry: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Entry", VecraftV1.EntryLineageRequest(partition: second.write?.partition ?? "", offset: 2))
        #expect(entry.entries[0].pointCount == 2)
        let verified: VecraftV1.VerifyResponse = try await node.call("Lineage/Verify", VecraftV1.VerifyRequest())
        #expect(verified.ok)
        #expect(await node.stop() == 0)
    }

    @Test func restSpeaksTheSameMessages() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        let port = node.server.httpPort
        let config = #"{"vector":{"dimension":3,"distance":"cosine"},"payload_indexes":[{"field":"kind","type":"keyword"}]}"#
        let created = try await http("PUT", port, "/v1/collections/c", body: config)
        #expect(created.status == 201)
        #expect(try await http("PUT", port, "/v1/collections/c", body: config).status == 200)
        let clash = try await http("PUT", port, "/v1/collections/c", body: #"{"vector":{"dimension":4,"distance":"cosine"}}"#)
        #expect(clash.status == 409)
        #expect(clash.headers["content-type"] == "application/problem+json")

        let points = #"{"points":[{"id":"a","vector":[1,0,0],"payload":{"kind":"x"}},{"id":"b","vector":[0,1,0],"payload":{"kind":"y"}}]}"#
        let upserted = try await http("PUT", port, "/v1/collections/c/points", body: points)
        #expect(upserted.status == 200)
        #expect(upserted.headers["x-vecraft-session"] != nil)
        let search = try await http(
            "POST", port, "/v1/collections/c/points:search",
            body: #"{"vector":[1,0.1,0],"limit":2,"filter":{"must":[{"key":"kind","match":{"value":"x"}}]}}"#,
            headers: ["x-vecraft-consistency": "strong"])
        #expect(search.status == 200)
        #expect(search.body.contains(#""id":"a""#))
        #expect(!search.body.contains(#""id":"b""#))
        let count = try await http("POST", port, "/v1/tenants/default/collections/c/points:count", body: "{}")
        #expect(count.body.contains(#""count":"2""#))
        let one = try await http("GET", port, "/v1/collections/c/points/a")
        #expect(one.status == 200)
        #expect(one.headers["etag"] != nil)
        #expect(try await http("DELETE", port, "/v1/collections/c/points/a").status == 200)
        #expect(try await http("GET", port, "/v1/collections/c/points/a").status == 404)
        let wrong = try await http("POST", port, "/v1/collections/c/points:search", body: #"{"vector":[1,2],"limit":2}"#)
        #expect(wrong.status == 400)
        #expect(wrong.body.contains(#""field":"vector""#))
        #expect(wrong.body.contains(#""code":"INVALID_ARGUMENT""#))
        let method = try await http("PATCH", port, "/v1/collections/c/points")
        #expect(method.status == 405)
        #expect(method.headers["allow"] != nil)
        for path in ["/livez", "/readyz", "/healthz", "/metrics", "/v1/status", "/v1/collections"] {
            #expect(try await http("GET", port, path).status == 200)
        }
        #expect(await node.stop() == 0)
    }

    @Test func aSecondNodeOnTheSameDirectoryIsRefused() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        await #expect(throws: ServerProcess.Failure.self) {
            try await offThePool { try ServerProcess(dataDirectory: directory.path + "/data", patience: .seconds(30)) }
        }
        #expect(await node.stop() == 0)
    }
}
