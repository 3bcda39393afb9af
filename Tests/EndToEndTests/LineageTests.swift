import Foundation
import GRPC
import NIOCore
import Primitives
import TestSupport
import Testing
import Wire

@Suite("Lineage, end to end")
struct LineageTests {
    private func record(
        _ node: TestNode, _ id: String, limit: UInt32 = 0, vectors: Bool = false
    ) async throws -> VecraftV1.LineageResponse {
        try await node.call(
            "Lineage/Record",
            VecraftV1.RecordLineageRequest(collection: "c", id: id, withVectors: vectors, limit: limit))
    }

    @Test func aPointsWholeLifeIsTold() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 4)
        try await node.upsert(
            "c", [point("a", [1, 0, 0, 0], payload: #"{"n":1,"deep":{"x":[1,2],"y":"old"},"gone":true}"#)])
        try await node.upsert(
            "c", [point("a", [1, 0, 0, 1], payload: #"{"n":1,"deep":{"x":[1,3],"y":"old","z":null}}"#)])
        try await node.delete("c", ["a"])
        try await node.upsert(
            "c", [point("a", [0, 1, 0, 0], payload: #"{"n":5}"#), point("b", [1, 1, 0, 0], payload: #"{"n":6}"#)])
        let filter = VecraftV1.Filter(must: [
            VecraftV1.Condition(key: "n", test: .range(.init(gte: .init(value: 5), lte: .init(value: 5))))
        ])
        let _: VecraftV1.DeleteResponse = try await node.call(
            "Points/Delete", VecraftV1.DeleteRequest(collection: "c", filter: filter))
        try await node.upsert("c", [point("a", [0, 1, 0, 0], payload: #"{"n":7}"#)], wait: .applied)
        try await node.upsert("c", [point("a", [0, 1, 0, 0], payload: #"{"n":7}"#)], wait: .applied)

        let life = try await self.record(node, "a", vectors: true)
        #expect(
            life.entries.map { $0.points.first?.operation } == [
                "upsert", "upsert", "delete", "upsert", "delete", "upsert", "upsert",
            ])
        #expect(life.entries.map(\.operation)[4] == "delete_by_filter")
        #expect(life.entries.map(\.current) == [false, false, false, false, false, false, true])
        #expect(
            life.entries.allSatisfy {
                $0.receipts.count == 1 && $0.receipts[0].shards == [0] && $0.receipts[0].appliedHLC > $0.hlc
            })
        #expect(!life.truncated && life.unansweredNodes.isEmpty)
        let second = life.entries[1].points[0]
        #expect(
            second.payloadChanges.map { [$0.path, $0.beforeJSON, $0.afterJSON] }
                == [["deep.x", "[1,2]", "[1,3]"], ["deep.z", "", "null"], ["gone", "true", ""]])
        let moved = try #require(second.vectorChanges.first)
        #expect(second.vectorChanges.count == 1 && moved.changedComponents == 1 && moved.dimension == 4)
        #expect(second.values[""]?.values == [1, 0, 0, 1])
        #expect(abs(moved.distance - 1) < 1e-6 && abs(moved.cosineSimilarity - 1 / 2.0.squareRoot()) < 1e-6)
        for i in [0, 3, 5] {
            #expect(life.entries[i].points[0].payloadChanges.isEmpty, "nothing was there before")
        }
        #expect(
            life.entries[6].points[0].payloadChanges.isEmpty && life.entries[6].points[0].vectorChanges.isEmpty,
            "the same again")

        // Fewer are the newest, and the oldest of them still knows what it changed.
        let newest = try await self.record(node, "a", limit: 6)
        #expect(newest.truncated && newest.entries.map(\.offset) == life.entries.suffix(6).map(\.offset))
        #expect(newest.entries[0].points[0].payloadChanges == second.payloadChanges)
        // Of a delete by filter that is the first to be looked at, what it hit is known all the same.
        let few = try await self.record(node, "a", limit: 3)
        #expect(few.entries.map(\.operation) == ["delete_by_filter", "upsert", "upsert"])
        let other = try await self.record(node, "b")
        #expect(other.entries.map(\.operation) == ["upsert"] && other.entries[0].current)
        #expect(await node.stop() == 0)
    }

    /// Small segments, many points: each history is what was done, however it is asked for, before and after a restart.
    @Test func everyHistoryIsWhatWasDone() async throws {
        let directory = try TemporaryDirectory()
        let settings = ["journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB"]
        var node = try await TestNode(directory.path + "/data", settings: settings)
        try await node.create("c", dimension: 128)
        var rng = SeededRNG(seed: 77)
        var histories: [String: [UInt64]] = [:]
        var requests: [String: UInt64] = [:]
        var acknowledged: [VecraftV1.Acknowledged] = []
        for i in 0..<400 {
            let ids = Set(
                (0..<Int.random(in: 1...30, using: &rng)).map { _ in "p\(Int.random(in: 0..<300, using: &rng))" })
            let written = try await node.upsert(
                "c", ids.map { point($0, randomVector(128, using: &rng), payload: #"{"i":\#(i)}"#) },
                metadata: ["x-request-id": "load-\(i)"])
            let write = try #require(written.write)
            for id in ids { histories[id, default: []].append(write.offset) }
            requests["load-\(i)"] = write.offset
            acknowledged.append(
                .init(partition: write.partition, offset: write.offset, hlc: write.hlc, requestID: "load-\(i)"))
        }
        for round in 0..<2 {
            for (id, offsets) in histories {
                let found = try await self.record(node, id, limit: 1_000)
                #expect(found.entries.map(\.offset) == offsets, "\(id), round \(round)")
                #expect(found.scanned <= UInt64(offsets.count) + 420, "only the tail may be read beside")
            }
            for (id, offset) in requests.prefix(60) {
                let found: VecraftV1.LineageResponse = try await node.call(
                    "Lineage/Request", VecraftV1.RequestLineageRequest(requestID: id))
                #expect(found.entries.map(\.offset) == [offset])
            }
            let cover: VecraftV1.CoverResponse = try await node.call(
                "Lineage/Cover", VecraftV1.CoverRequest(writes: acknowledged))
            #expect(cover.found == 400 && cover.missing.isEmpty)
            if round == 0 {
                #expect(await node.stop() == 0)
                let partition = try #require(acknowledged.first?.partition)
                let folder = directory.path + "/data/journal/" + partition
                let names = try FileManager.default.contentsOfDirectory(atPath: folder)
                #expect(names.count { $0.hasSuffix(".lineage") } >= 2)
                // Nothing of it is needed.
                for name in names where name.hasSuffix("2.lineage") {
                    try FileManager.default.removeItem(atPath: folder + "/" + name)
                }
                node = try await TestNode(directory.path + "/data", settings: settings)
            }
        }
        var wrong = acknowledged[3]
        wrong.hlc += 1
        var never = acknowledged[4]
        never.offset = 100_000
        var other = acknowledged[5]
        other.requestID = "somebody"
        let cover: VecraftV1.CoverResponse = try await node.call(
            "Lineage/Cover", VecraftV1.CoverRequest(writes: [acknowledged[0], wrong, never, other]))
        #expect(cover.found == 1 && cover.missing == [wrong, never, other])
        #expect(await node.stop() == 0)
    }

    @Test func timeIsToldInOneOrderAndInPages() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=3"])
        for name in ["a", "b", "c"] { try await node.create(name, dimension: 2) }
        for i in 0..<60 {
            try await node.upsert(["a", "b", "c"][i % 3], [point("p\(i)", [1, Float(i)])])
            if i % 10 == 9 { try await node.delete("a", ["p\(i - 9)"]) }
        }
        func between(_ change: (inout VecraftV1.BetweenRequest) -> Void) async throws -> [VecraftV1.LineageEntry] {
            var request = VecraftV1.BetweenRequest(limit: 7)
            change(&request)
            var all: [VecraftV1.LineageEntry] = []
            repeat {
                let page: VecraftV1.LineageResponse = try await node.call("Lineage/Between", request)
                #expect(page.entries.count <= 7)
                all += page.entries
                request.pageToken = page.nextPageToken
            } while !request.pageToken.isEmpty
            return all
        }
        let all = try await between { _ in }
        #expect(all.count == 3 + 60 + 6)
        #expect(
            all.map(\.hlc) == all.map(\.hlc).sorted()
                && Set(all.map { "\($0.partition) \($0.offset)" }).count == all.count)
        #expect(all.prefix(3).allSatisfy { $0.operation == "ddl" && $0.ddlJSON.contains(#""change":"create""#) })
        let middle = try await between { request in
            request.fromHLC = all[20].hlc
            request.toHLC = all[40].hlc
        }
        #expect(middle.map(\.hlc) == all[20..<40].map(\.hlc))
        let deletes = try await between { $0.operations = ["delete", "delete_by_filter"] }
        #expect(deletes.count == 6 && deletes.allSatisfy { $0.collection == "a" })
        let ofB = try await between { $0.collection = "b" }
        #expect(ofB.count == 21 && ofB[0].operation == "ddl" && ofB.dropFirst().allSatisfy { $0.collection == "b" })
        #expect(try await between { $0.principal = "nobody" }.isEmpty)
        #expect(try await between { $0.tenant = "other" }.isEmpty)

        // A collection that is gone still has its story and its name.
        let id = ofB[1].collectionID
        let _: VecraftV1.DropCollectionResponse = try await node.call(
            "Collections/DropCollection", VecraftV1.DropCollectionRequest(name: "b"))
        let after = try await between { $0.collectionID = id }
        #expect(after.count == 22 && after.last?.ddlJSON.contains(#""change":"drop","collection":"b""#) == true)
        #expect(after[5].collection == "b")

        var first: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Between", VecraftV1.BetweenRequest(limit: 2))
        await #expect(throws: VecraftError.self) {
            let _: VecraftV1.LineageResponse = try await node.call(
                "Lineage/Between",
                VecraftV1.BetweenRequest(operations: ["upsert"], limit: 2, pageToken: first.nextPageToken))
        }
        for bad in ["zz", "00", first.nextPageToken + "00"] {
            let error = await #expect(throws: VecraftError.self) {
                first = try await node.call("Lineage/Between", VecraftV1.BetweenRequest(pageToken: bad))
            }
            #expect(error?.code == .invalidArgument && error?.field == "page_token")
        }
        let unknown = await #expect(throws: VecraftError.self) {
            first = try await node.call("Lineage/Between", VecraftV1.BetweenRequest(operations: ["frobnicate"]))
        }
        #expect(unknown?.field == "operations")
        #expect(await node.stop() == 0)
    }

    /// Each change once, in order, whole; and again from where it was left, over a restart.
    @Test func changesAreFollowedAndGoneOnWith() async throws {
        let directory = try TemporaryDirectory()
        var node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=2"])
        try await node.create("c", dimension: 2)
        let d = try await node.upsert("c", (0..<150).map { point("p\($0)", [Float($0), 1]) })
        @Sendable func watch(
            _ request: VecraftV1.WatchRequest, take: Int, at node: TestNode
        ) async throws -> [VecraftV1.WatchResponse] {
            let call = try await node.client.serverStreaming(
                "/vecraft.v1.Lineage/Watch", ByteBuffer(bytes: request.encode()), timeout: .seconds(60))
            var taken: [VecraftV1.WatchResponse] = []
            for try await reply in call.replies {
                let change = try VecraftV1.WatchResponse.decode(Array(reply.readableBytesView))
                if change.entry != nil { taken.append(change) }
                if taken.count == take { break }
            }
            call.cancel()
            return taken
        }
        let old = try await watch(.init(collection: "c", fromHLC: 1, whole: true), take: 2, at: node)
        #expect(old.map { $0.entry?.operation } == ["ddl", "upsert"])
        #expect(old[1].entry?.points.count == 150 && old[1].entry?.points[3].values[""]?.values == [3, 1])
        #expect(old[1].entry?.hlc == d.write?.hlc)

        let first = node
        async let live = watch(.init(collection: "c", operations: ["upsert"], resumeToken: ""), take: 1, at: first)
        // It begins now: the writes go on until it has one.
        let writer = Task {
            var i = 0
            while !Task.isCancelled {
                try await first.upsert("c", [point("live\(i)", [1, 2])])
                i += 1
                try await Task.sleep(for: .milliseconds(20))
            }
        }
        let seen = try await live
        writer.cancel()
        _ = try? await writer.value
        #expect(seen[0].entry?.points.first?.id.hasPrefix("live") == true)

        let before = try await watch(.init(collection: "c", fromHLC: 1), take: 3, at: node)
        #expect(await node.stop() == 0)
        node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=2"])
        try await node.upsert("c", [point("late", [1, 2])])
        let all = try await watch(.init(collection: "c", fromHLC: 1), take: 4, at: node)
        let resumed = try await watch(.init(collection: "c", resumeToken: before[2].resumeToken), take: 1, at: node)
        #expect(resumed[0].entry?.hlc == all[3].entry?.hlc)
        await #expect(throws: VecraftError.self) {
            _ = try await watch(
                .init(collection: "c", operations: ["delete"], resumeToken: before[2].resumeToken), take: 1, at: node)
        }
        // The same by HTTP, as a page that is waited for.
        let port = node.server.httpPort
        let page = try await http(
            "POST", port, "/v1/lineage:watch", body: #"{"collection":"c","resume_token":"\#(before[2].resumeToken)"}"#)
        #expect(
            page.status == 200 && page.body.contains(#""changes":[{"#) && page.body.contains(#""resume_token":""#),
            "\(page.body.prefix(200))")
        #expect(await node.stop() == 0)
    }

    @Test func aCollectionIsShownAsItStood() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        try await node.create("c", dimension: 2)
        let first = try await node.upsert(
            "c", (0..<2_500).map { point("p\($0)", [Float($0), 1], payload: #"{"n":\#($0)}"#) })
        let filter = VecraftV1.Filter(must: [VecraftV1.Condition(key: "n", test: .range(.init(lt: .init(value: 100))))])
        let gone: VecraftV1.DeleteResponse = try await node.call(
            "Points/Delete", VecraftV1.DeleteRequest(collection: "c", filter: filter))
        try await node.upsert("c", [point("p5", [7, 7], payload: #"{"n":-1}"#)], wait: .applied)
        func replay(_ hlc: UInt64) async throws -> (points: [VecraftV1.StoredPoint], end: VecraftV1.ReplayResponse) {
            let request = VecraftV1.ReplayRequest(collection: "c", toHLC: hlc, withVectors: true)
            let call = try await node.client.serverStreaming(
                "/vecraft.v1.Lineage/Replay", ByteBuffer(bytes: request.encode()))
            var points: [VecraftV1.StoredPoint] = []
            var end = VecraftV1.ReplayResponse()
            for try await reply in call.replies {
                let page = try VecraftV1.ReplayResponse.decode(Array(reply.readableBytesView))
                points += page.points
                if page.done { end = page }
            }
            return (points, end)
        }
        let then = try await replay(first.write?.hlc ?? 0)
        #expect(then.points.count == 2_500 && then.end.count == 2_500 && then.end.offset == first.write?.offset)
        #expect(then.points.map(\.id) == then.points.map(\.id).sorted())
        let later = try await replay(gone.write?.hlc ?? 0)
        #expect(later.points.count == 2_400 && !later.points.contains { $0.id == "p5" })
        // What the journal makes is what the shard has.
        let now = try await replay(0)
        let stored: VecraftV1.ScrollResponse = try await node.call(
            "Points/Scroll", VecraftV1.ScrollRequest(collection: "c", pageSize: 1_000, withVectors: true))
        #expect(now.points.count == 2_401 && now.points.prefix(100).map(\.id) == stored.points.prefix(100).map(\.id))
        for (a, b) in zip(now.points, stored.points) { #expect(a.version == b.version && a.payload == b.payload) }
        #expect(now.points.first { $0.id == "p5" }?.vector?.values == [7, 7])
        let before = try await replay((first.write?.hlc ?? 0) - 1)
        #expect(before.points.isEmpty && before.end.done)
        let page = try await http(
            "POST", node.server.httpPort, "/v1/collections/c/lineage:replay",
            body: #"{"to_hlc":"\#(gone.write?.hlc ?? 0)"}"#)
        #expect(page.status == 200 && page.body.contains(#""count":"2400""#))
        #expect(await node.stop() == 0)
    }

    /// What a read was answered from is found by its request id; a restart keeps it, a limit bounds it.
    @Test func readsAreRememberedByTheirRequestID() async throws {
        let directory = try TemporaryDirectory()
        var node = try await TestNode(directory.path + "/data", settings: ["lineage.read_log_bytes=64KiB"])
        try await node.create("c", dimension: 2)
        let written = try await node.upsert("c", [point("a", [1, 0])], wait: .applied)
        let request = VecraftV1.SearchRequest(
            collection: "c", vector: .init(values: [1, 0]), limit: 1, read: .init(consistency: .strong))
        let trace = "0af7651916cd43dd8448eb211c80319c"
        let _: VecraftV1.SearchResponse = try await node.call(
            "Points/Search", request,
            metadata: ["x-request-id": "who-asked", "traceparent": "00-\(trace)-b7ad6b7169203331-01"])
        let _: VecraftV1.SearchResponse = try await node.call("Points/Search", request)
        let answer = try await http(
            "POST", node.server.httpPort, "/v1/collections/c/points:search", body: #"{"vector":[1,0],"limit":1}"#,
            headers: ["x-request-id": "by-http"])
        #expect(answer.status == 200)
        func reads(_ id: String) async throws -> [VecraftV1.AnsweredRead] {
            let found: VecraftV1.SearchLineageResponse = try await node.call(
                "Lineage/Search", VecraftV1.SearchLineageRequest(requestID: id))
            return found.reads
        }
        for round in 0..<2 {
            let found = try await reads("who-asked")
            #expect(found.count == 1, "round \(round)")
            let read = try #require(found.first)
            #expect(
                read.operation == "search" && read.collection == "c" && read.achieved == .strong && read.status == "OK")
            #expect(read.traceID == trace && read.tenant == "default")
            #expect(
                read.shards == [
                    .init(
                        shard: 0, replica: read.node, partition: written.write?.partition ?? "",
                        indexVersion: written.write?.offset ?? 0)
                ])
            #expect(try await reads("by-http").count == 1)
            #expect(try await reads("nobody").isEmpty)
            if round == 0 {
                #expect(await node.stop() == 0)
                node = try await TestNode(directory.path + "/data", settings: ["lineage.read_log_bytes=64KiB"])
            }
        }
        let long = String(repeating: "x", count: 128)
        let _: VecraftV1.SearchResponse = try await node.call(
            "Points/Search", request, metadata: ["x-request-id": long])
        #expect(try await reads(long).count == 1)
        // Enough to turn the files over several times.
        for i in 0..<1_500 {
            let _: VecraftV1.SearchResponse = try await node.call(
                "Points/Search", request, metadata: ["x-request-id": "many-\(i)"])
            if i % 200 == 0 { _ = try await reads("many-\(i)") }
        }
        #expect(try await reads("many-1499").count == 1)
        #expect(try await reads("who-asked").isEmpty, "the oldest went")
        let folder = directory.path + "/data/reads"
        let bytes = try FileManager.default.contentsOfDirectory(atPath: folder).reduce(0) { sum, name in
            sum + ((try? FileManager.default.attributesOfItem(atPath: folder + "/" + name)[.size] as? Int) ?? 0)!
        }
        #expect(bytes < 4 * 64 << 10)
        #expect(await node.stop() == 0)
    }

    /// A read that took long is one line of the log with where its time went, for machines as JSON.
    @Test func aSlowReadIsLoggedWithItsStages() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(
            directory.path + "/data",
            settings: ["storage.apply_delay_ms=5000", "log.slow_query_ms=100", "log.format=json"])
        try await node.create("c", dimension: 2)
        let trace = "0af7651916cd43dd8448eb211c80319c"
        let id = "slow-one"
        let write = VecraftV1.UpsertRequest(collection: "c", points: [point("a", [1, 0])]).encode()
        let read = VecraftV1.SearchRequest(
            collection: "c", vector: .init(values: [1, 0]), limit: 1, read: .init(consistency: .strong)
        ).encode()
        // Asked from the event loop that hears of the write: tasks of this process may have to wait until the replica is late no more.
        let reply = await withCheckedContinuation { continuation in
            node.client.unary("/vecraft.v1.Points/Upsert", ByteBuffer(bytes: write)) { _ in
                node.client.unary(
                    "/vecraft.v1.Points/Search", ByteBuffer(bytes: read),
                    metadata: ["x-request-id": id, "traceparent": "00-\(trace)-b7ad6b7169203331-01"],
                    timeout: .seconds(600)
                ) { continuation.resume(returning: $0) }
            }
        }
        #expect(throws: Never.self) { try reply.get() }
        #expect(await node.stop() == 0)
        let lines = node.server.logText.split(separator: "\n").filter { $0.contains("slow query") && $0.contains(id) }
        #expect(lines.count == 1, "\(node.server.logText.suffix(2_000))")
        let line = try JSONValue(parsing: String(lines.first ?? "{}"))
        #expect(line["message"]?.stringValue == "slow query" && line["level"]?.stringValue == "warning")
        let fields = try #require(line["metadata"])
        #expect(fields["operation"]?.stringValue == "search" && fields["collection"]?.stringValue == "c")
        #expect(fields["request_id"]?.stringValue == id && fields["trace_id"]?.stringValue == trace)
        #expect(fields["waited_for_replay"]?.stringValue == "true" && fields["level"]?.stringValue == "strong")
        let total = try #require(fields["total_ms"]?.stringValue.flatMap(Double.init))
        let engine = try #require(fields["engine_ms"]?.stringValue.flatMap(Double.init))
        #expect(total >= 100 && engine < total)
    }

    /// Where notes of reads cannot be kept the node serves without them.
    @Test func notesAreNoReasonNotToStart() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.path + "/data"
        try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        // A file where the folder is to be.
        try Data("x".utf8).write(to: URL(fileURLWithPath: data + "/reads"))
        let node = try await TestNode(data)
        try await node.create("c", dimension: 2)
        let error = await #expect(throws: VecraftError.self) {
            let _: VecraftV1.SearchLineageResponse = try await node.call(
                "Lineage/Search", VecraftV1.SearchLineageRequest(requestID: "x"))
        }
        #expect(error?.reason == "READS_NOT_LOGGED")
        #expect(node.server.logText.contains("answered reads are not noted"))
        #expect(await node.stop() == 0)
    }
}
