import Foundation
import GRPC
import NIOCore
import Primitives
import TestSupport
import Testing
import Wire

/// What lineage says when something is missing, foreign, too long or at rest.
@Suite("Lineage at its limits, end to end")
struct LineageLimitsTests {
    private func reads(_ node: TestNode, _ id: String) async throws -> [VecraftV1.AnsweredRead] {
        let found: VecraftV1.SearchLineageResponse = try await node.call(
            "Lineage/Search", VecraftV1.SearchLineageRequest(requestID: id))
        return found.reads
    }

    @Test func aReadThatFailedIsFoundByItsRequestID() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.apply_delay_ms=3000"])
        try await node.create("c", dimension: 2)
        func search(_ vector: [Float], collection: String = "c", id: String, timeout: Duration) async -> VecraftError? {
            await #expect(throws: VecraftError.self) {
                let _: VecraftV1.SearchResponse = try await node.call(
                    "Points/Search",
                    VecraftV1.SearchRequest(
                        collection: collection, vector: .init(values: vector), limit: 1,
                        read: .init(consistency: .strong)), metadata: ["x-request-id": id], timeout: timeout)
            }
        }
        // Refused at once, on both wires.
        let wrong = await search([1, 2, 3], id: "wrong", timeout: .seconds(20))
        #expect(wrong?.code == .invalidArgument)
        let nowhere = await search([1, 2], collection: "nowhere", id: "nowhere", timeout: .seconds(20))
        #expect(nowhere?.code == .notFound)
        let byHTTP = try await http(
            "POST", node.server.httpPort, "/v1/collections/c/points:search",
            body: #"{"vector":{"values":[1,2,3]},"limit":1}"#, headers: ["x-request-id": "by-http"])
        #expect(byHTTP.status == 400, "\(byHTTP.body)")
        let noRequest = try await http(
            "POST", node.server.httpPort, "/v1/collections/c/points:count", body: #"{"filters":"#,
            headers: ["x-request-id": "no-request"])
        #expect(noRequest.status == 400, "\(noRequest.body)")
        // After waiting for a replica that is late: none is asked twice before it is.
        var late: VecraftError?
        for attempt in 0..<30 where late?.reason != "REPLICA_BEHIND" {
            try await node.upsert("c", [point("a", [1, Float(attempt)])])
            let request = VecraftV1.GetRequest(collection: "c", ids: ["a"], read: .init(consistency: .strong))
            do {
                let _: VecraftV1.GetResponse = try await node.call(
                    "Points/Get", request, metadata: ["x-request-id": "late"], timeout: .milliseconds(700))
            } catch let error as VecraftError { late = error }
        }
        #expect(late?.reason == "REPLICA_BEHIND")

        let refused = try await self.reads(node, "wrong")
        #expect(refused.count == 1)
        let read = try #require(refused.first)
        #expect(read.status == "INVALID_ARGUMENT" && read.operation == "search" && read.shards.isEmpty)
        #expect(read.collection == "c" && read.tenant == "default" && read.collectionID != 0)
        #expect(read.requested == .strong && read.achieved == .unspecified)
        let lost = try await self.reads(node, "nowhere")
        #expect(lost.map(\.status) == ["NOT_FOUND"] && lost.map(\.collection) == ["nowhere"])
        #expect(lost.first?.collectionID == 0)
        #expect(try await self.reads(node, "by-http").map(\.status) == ["INVALID_ARGUMENT"])
        let none = try await self.reads(node, "no-request")
        #expect(none.map(\.status) == ["INVALID_ARGUMENT"] && none.map(\.operation) == ["count"])
        #expect(none.first?.collection == "c" && none.first?.requested == .unspecified)
        let behind = try #require(try await self.reads(node, "late").last { $0.reason == "REPLICA_BEHIND" })
        #expect(behind.operation == "get" && behind.durationUs > 100_000)

        // The command says it.
        let said = try await PythonEnvironment.run(
            ServerProcess.binary,
            ["lineage", "search", "nowhere", "--address", "127.0.0.1:\(node.server.grpcPort)"], limit: .seconds(60))
        #expect(said.succeeded && said.output.contains("NOT_FOUND") && said.output.contains("'nowhere'"), "\(said)")
        let waited = try await PythonEnvironment.run(
            ServerProcess.binary,
            ["lineage", "search", "late", "--address", "127.0.0.1:\(node.server.grpcPort)"], limit: .seconds(60))
        #expect(waited.output.contains("(REPLICA_BEHIND)") && waited.output.contains("strong"), "\(waited)")
        #expect(await node.stop() == 0)
    }

    /// Offsets of another cluster say nothing here.
    @Test func aTokenOfAnotherJournalIsRefused() async throws {
        let directory = try TemporaryDirectory()
        func node(_ name: String) async throws -> TestNode {
            let node = try await TestNode(directory.path + "/" + name, settings: ["journal.data_partitions=1"])
            try await node.create("c", dimension: 2)
            for i in 0..<10 { try await node.upsert("c", [point("p\(i)", [1, Float(i)])]) }
            return node
        }
        var one = try await node("one")
        let other = try await node("other")
        let question = VecraftV1.BetweenRequest(operations: ["upsert"], limit: 3)
        let page: VecraftV1.LineageResponse = try await one.call("Lineage/Between", question)
        #expect(page.entries.count == 3 && !page.nextPageToken.isEmpty)
        var more = question
        more.pageToken = page.nextPageToken
        let foreign = await #expect(throws: VecraftError.self) {
            let _: VecraftV1.LineageResponse = try await other.call("Lineage/Between", more)
        }
        #expect(
            foreign?.code == .invalidArgument && foreign?.field == "page_token" && foreign?.reason == "ANOTHER_JOURNAL",
            "\(String(describing: foreign))")
        func watch(_ node: TestNode, _ token: String) async throws -> VecraftV1.WatchResponse? {
            let call = try await node.client.serverStreaming(
                "/vecraft.v1.Lineage/Watch",
                ByteBuffer(bytes: VecraftV1.WatchRequest(operations: ["upsert"], resumeToken: token).encode()),
                timeout: .seconds(60))
            defer { call.cancel() }
            for try await reply in call.replies {
                return try VecraftV1.WatchResponse.decode(Array(reply.readableBytesView))
            }
            return nil
        }
        // A token of either is good for both ways of going on; a restart changes nothing.
        #expect(await one.stop() == 0)
        one = try await TestNode(directory.path + "/one", settings: ["journal.data_partitions=1"])
        let next: VecraftV1.LineageResponse = try await one.call("Lineage/Between", more)
        #expect(next.entries.first?.offset == page.entries[2].offset + 1)
        let change = try #require(try await watch(one, page.nextPageToken))
        #expect(change.entry?.offset == next.entries.first?.offset)
        let refused = await #expect(throws: VecraftError.self) { _ = try await watch(other, change.resumeToken) }
        #expect(
            refused?.code == .invalidArgument && refused?.field == "resume_token"
                && refused?.reason == "ANOTHER_JOURNAL")
        #expect(await one.stop() == 0)
        #expect(await other.stop() == 0)
    }

    /// Nobody writes: a watcher looks once a second, and not more.
    @Test func watchersSleepWhileNothingHappens() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(
            directory.path + "/data", settings: ["journal.data_partitions=2", "metrics.canary_seconds=0"])
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 2])])
        func value(_ name: String) async throws -> Double {
            let page = try await http("GET", node.server.httpPort, "/metrics").body
            let line = page.split(separator: "\n").first { $0.hasPrefix(name + " ") }
            return try #require(line.flatMap { Double($0.dropFirst(name.count + 1)) })
        }
        let watchers = 4
        let calls = try await withThrowingTaskGroup(of: Void.self) { group in
            for _ in 0..<watchers {
                group.addTask {
                    let call = try await node.client.serverStreaming(
                        "/vecraft.v1.Lineage/Watch",
                        ByteBuffer(bytes: VecraftV1.WatchRequest(collection: "c").encode()), timeout: .seconds(120))
                    defer { call.cancel() }
                    for try await _ in call.replies { try Task.checkCancellation() }
                }
            }
            try await eventually("all watch") { try await value("vecraft_lineage_watchers") == Double(watchers) }
            // What was written before is closed by now.
            try await Task.sleep(for: .seconds(1))
            let began = ContinuousClock.now
            let before = try await value("vecraft_lineage_watch_looks_total")
            try await Task.sleep(for: .seconds(4))
            let looks = try await value("vecraft_lineage_watch_looks_total") - before
            let seconds = (ContinuousClock.now - began) / .seconds(1)
            group.cancelAll()
            while (try? await group.next()) != nil {}
            return (looks, seconds)
        }
        let (looks, seconds) = calls
        #expect(looks >= 1, "they do look")
        #expect(looks <= Double(watchers) * (2 * seconds + 4), "\(looks) looks of \(watchers) watchers in \(seconds) s")
        #expect(await node.stop() == 0)
    }

    /// Receipts are notes too: where none can be kept the node has those since its start.
    @Test func receiptsAreNoReasonNotToStart() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.path + "/data"
        try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: true)
        // A file where the folder is to be.
        try Data("x".utf8).write(to: URL(fileURLWithPath: data + "/receipts"))
        let node = try await TestNode(data)
        #expect(node.server.logText.contains("receipts do not outlive this start"))
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 2])], wait: .applied)
        let found = try await eventually("it is noted when it was searchable") {
            let found: VecraftV1.LineageResponse = try await node.call(
                "Lineage/Record", VecraftV1.RecordLineageRequest(collection: "c", id: "a"))
            return found.entries.first?.receipts.isEmpty == false ? found : nil
        }
        #expect(found.entries.first?.receipts.first?.shards == [0])
        #expect(await node.stop() == 0)
    }

    /// A question that has no time says how far it came.
    @Test func verifyingEndsWithItsTime() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=1"])
        try await node.create("c", dimension: 4_096)
        var rng = SeededRNG(seed: 3)
        let vector = randomVector(4_096, using: &rng)
        for i in 0..<40 { try await node.upsert("c", (0..<64).map { point("p\(i)-\($0)", vector) }) }
        let late = try await http(
            "POST", node.server.httpPort, "/v1/lineage:verify", body: "{}", headers: ["x-vecraft-timeout-ms": "1"])
        #expect(late.status == 504 && late.body.contains("SCAN_UNFINISHED"), "\(late)")
        #expect(late.body.contains("verifying reached"), "\(late)")
        let whole: VecraftV1.VerifyResponse = try await node.call("Lineage/Verify", VecraftV1.VerifyRequest())
        #expect(whole.ok && whole.partitions.contains { $0.partition == "data-0" && $0.entries >= 40 })
        #expect(await node.stop() == 0)
    }
}
