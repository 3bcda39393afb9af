import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire

/// Spans as a stock collector takes them.
@Suite(
    "Traces, end to end",
    .enabled("no Python with opentelemetry-proto: run .ci/python") { await SpanCollector.isThere() })
struct TracesTests {
    private static let trace = "0af7651916cd43dd8448eb211c80319c"
    private static let caller = "b7ad6b7169203331"

    private static func metadata(_ id: String, sampled: Bool = true) -> GRPCMetadata {
        [
            "x-request-id": id, "traceparent": "00-\(self.trace)-\(self.caller)-\(sampled ? "01" : "00")",
            "tracestate": "vendor=1",
        ]
    }

    private static func environment(_ collector: SpanCollector, grpc: Bool) -> [String: String] {
        [
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(grpc ? collector.grpcPort : collector.httpPort)",
            "OTEL_EXPORTER_OTLP_PROTOCOL": grpc ? "grpc" : "http/protobuf", "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_SERVICE_NAME": "packages-db", "OTEL_EXPORTER_OTLP_HEADERS": "x-team=search",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
            // A collector on a machine that stands still has not failed.
            "OTEL_EXPORTER_OTLP_TIMEOUT": "120000",
        ]
    }

    @Test(arguments: [(true, false), (false, false), (false, true)])
    func aWriteAndAReadAreToldWhole(grpc: Bool, compressed: Bool) async throws {
        let collector = try await SpanCollector.start(failures: 1)
        let directory = try TemporaryDirectory()
        var environment = Self.environment(collector, grpc: grpc)
        if compressed { environment["OTEL_EXPORTER_OTLP_COMPRESSION"] = "gzip" }
        let node = try await TestNode(directory.path + "/data", environment: environment)
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 0])], wait: .applied, metadata: Self.metadata("w"))
        let _: VecraftV1.SearchResponse = try await node.call(
            "Points/Search",
            VecraftV1.SearchRequest(
                collection: "c", vector: .init(values: [1, 0]), limit: 1, read: .init(consistency: .strong)),
            metadata: Self.metadata("r"))
        await #expect(throws: VecraftError.self) { try await node.get("none", ["a"], metadata: Self.metadata("f")) }
        let (status, _, _) = try await http(
            "GET", node.server.httpPort, "/v1/collections/c/points/a",
            headers: ["x-request-id": "h", "traceparent": "00-\(Self.trace)-\(Self.caller)-01"])
        #expect(status == 200)
        // Refused before anybody counts it: it has its span all the same.
        let refused = try await http(
            "PUT", node.server.httpPort, "/v1/collections/c/points", body: "{",
            headers: ["x-request-id": "b", "traceparent": "00-\(Self.trace)-\(Self.caller)-01"])
        #expect(refused.status == 400)
        // Not sampled: no span, but its entry knows the trace.
        try await node.upsert("c", [point("b", [1, 0])], metadata: Self.metadata("u", sampled: false))

        let wanted = ["upsert", "search", "get"]
        let spans = try await eventually("all spans came") {
            let spans = try collector.spans
            let ids = Set(spans.compactMap { $0.attributes["vecraft.request_id"]?.text })
            let isWhole =
                ids.isSuperset(of: ["w", "r", "f", "h"]) && spans.contains { !$0.links.isEmpty }
                && spans.contains { $0.name == "PUT /v1/collections/{collection}/points" && $0.parent == Self.caller }
            return isWhole ? spans : nil
        }
        func of(_ id: String) throws -> SpanCollector.Span {
            try #require(spans.first { $0.attributes["vecraft.request_id"]?.text == id }, "\(id) of \(spans)")
        }
        let write = try of("w")
        let read = try of("r")
        for (span, name) in [(write, wanted[0]), (read, wanted[1]), (try of("f"), wanted[2]), (try of("h"), wanted[2])]
        {
            #expect(span.name == name && span.kind == "server" && span.trace == Self.trace)
            #expect(span.parent == Self.caller && span.scope == "vecraft" && span.start <= span.end)
            #expect(span.attributes["db.operation.name"]?.text == name)
        }
        #expect(write.state == "vendor=1" && write.status == 0)
        #expect(
            write.attributes["db.collection.name"]?.text == "c" && write.attributes["db.namespace"]?.text == "default")
        #expect(read.attributes["vecraft.consistency"]?.text == "strong")
        #expect(
            read.attributes["vecraft.index_version"]?.number ?? 0 >= 1 && read.attributes["vecraft.hits"]?.number == 1)
        let failed = try of("f")
        #expect(
            failed.status == 0 && failed.attributes["error.type"]?.text == "COLLECTION_NOT_FOUND",
            "the caller's mistake")
        #expect(failed.attributes["db.collection.name"]?.text == "none")

        // The entry carries the append's span, and what applied it links to that: a trace of its own, after it.
        let found: VecraftV1.LineageResponse = try await node.call(
            "Lineage/Trace", VecraftV1.TraceLineageRequest(traceID: Self.trace))
        let entries = Dictionary(uniqueKeysWithValues: found.entries.map { ($0.requestID, $0) })
        let append = try #require(spans.first { $0.name == "journal append" && $0.parent == write.id })
        #expect(append.kind == "producer" && append.trace == Self.trace && append.id == entries["w"]?.spanID)
        #expect(append.attributes["vecraft.offset"]?.number == entries["w"].map { Double($0.offset) })
        let apply = try #require(spans.first { $0.links.contains { $0.id == append.id } })
        #expect(
            apply.kind == "consumer" && apply.trace != Self.trace && apply.parent == "" && apply.start >= append.start)
        #expect(spans.contains { $0.name == "wait for replay" && $0.parent == write.id })
        #expect(entries["u"]?.traceID == Self.trace, "sampling does not touch lineage")
        #expect(!spans.contains { $0.attributes["vecraft.request_id"]?.text == "u" })

        let request = try #require(try collector.requests.first)
        #expect(request.way == (grpc ? "grpc" : "http /v1/traces") && request.headers["x-team"] == "search")
        #expect((request.headers["content-encoding"] == "gzip") == compressed)
        #expect(request.resource["service.name"]?.text == "packages-db")
        #expect(request.resource["db.system.name"]?.text == "vecraft")
        #expect(request.resource["deployment.environment"]?.text == "test")
        #expect(request.resource["service.version"]?.text?.isEmpty == false && request.resource["host.name"] != nil)
        let page = try await http("GET", node.server.httpPort, "/metrics").body
        #expect(page.contains("vecraft_trace_export_failures_total 1\n"))
        #expect(await node.stop() == 0)
    }

    /// What ended just before the node did is not lost, though the next batch was an hour away.
    @Test func theLastSpansAreHandedOver() async throws {
        let collector = try await SpanCollector.start()
        let directory = try TemporaryDirectory()
        var environment = Self.environment(collector, grpc: true)
        environment["OTEL_BSP_SCHEDULE_DELAY"] = "600000"
        environment["OTEL_TRACES_SAMPLER"] = "parentbased_always_off"
        let node = try await TestNode(directory.path + "/data", environment: environment)
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 0])], metadata: Self.metadata("w"))
        #expect(try collector.spans.isEmpty)
        #expect(await node.stop() == 0)
        let names = try collector.spans.map(\.name)
        #expect(names.contains("upsert") && !names.contains("create_collection"), "as its caller decided: \(names)")
    }

    /// A collector that nobody runs is no reason for anything but a line of the log.
    @Test func aNodeServesWithoutItsCollector() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(
            directory.path + "/data",
            environment: ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_SCHEDULE_DELAY": "10"])
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 0])], wait: .applied)
        try await eventually("it says so") { node.server.logText.contains("spans are not taken by the collector") }
        #expect(try await node.get("c", ["a"]).points.count == 1)
        #expect(await node.stop() == 0)
    }

    @Test func aMistakeInAVariableEndsTheStart() async throws {
        let directory = try TemporaryDirectory()
        let outcome = try await PythonEnvironment.run(
            ServerProcess.binary,
            ["serve", "--data-directory", directory.file("data"), "--grpc-port", "0", "--http-port", "0"],
            environment: [
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "api:key=s3cret",
            ],
            limit: .seconds(120))
        #expect(outcome.status == 2 && outcome.errors.contains("OTEL_EXPORTER_OTLP_HEADERS"), "\(outcome)")
        #expect(!outcome.errors.contains("s3cret"))
    }

    /// Each line that a request causes says whose it is.
    @Test func linesOfTheLogCarryTheirIDs() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["log.format=json", "log.level=debug"])
        let _: VecraftV1.CreateCollectionResponse = try await node.call(
            "Collections/CreateCollection",
            VecraftV1.CreateCollectionRequest(
                name: "c", config: .init(vector: .init(dimension: 2, distance: .cosine))), metadata: Self.metadata("mk")
        )
        try await node.upsert("c", [point("a", [1, 0])], metadata: Self.metadata("w"))
        await #expect(throws: VecraftError.self) { try await node.get("none", ["a"], metadata: Self.metadata("f")) }
        #expect(await node.stop() == 0)
        let lines = try node.server.logText.split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        func fields(_ message: String, _ id: String) -> JSONValue? {
            lines.first { $0["message"]?.stringValue == message && $0["metadata"]?["request_id"]?.stringValue == id }?[
                "metadata"]
        }
        #expect(fields("collection created", "mk")?["trace_id"]?.stringValue == Self.trace)
        #expect(fields("request", "w")?["operation"]?.stringValue == "upsert")
        #expect(fields("request", "w")?["trace_id"]?.stringValue == Self.trace)
        #expect(fields("request", "f")?["status"]?.stringValue == "NOT_FOUND")
    }

    /// Without metrics there is no page, and all else is as it was.
    @Test func metricsCanBeOff() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["metrics.enabled=false"])
        try await node.create("c", dimension: 2)
        try await node.upsert("c", [point("a", [1, 0])], wait: .applied)
        #expect(try await node.get("c", ["a"]).points.count == 1)
        #expect(try await http("GET", node.server.httpPort, "/metrics").status == 404)
        #expect(try await http("GET", node.server.httpPort, "/readyz").status == 200)
        #expect(await node.stop() == 0)
    }
}
