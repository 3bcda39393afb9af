import Foundation
import GRPC
import Primitives
import TestSupport
import Testing
import Wire
import vecraft

/// What a node tells Prometheus, of real nodes.
@Suite struct MetricsPageTests {
    private static let names = MetricsDocument.names

    /// Families of ours that are on a page and not declared for the documentation.
    private static func undeclared(_ page: String) -> [String] {
        page.split(separator: "\n").filter { $0.hasPrefix("# TYPE vecraft_") }
            .map { String($0.split(separator: " ")[2]) }.filter { !Self.names.contains($0) }
    }

    private static func value(_ series: String, in page: String) -> Double? {
        page.split(separator: "\n").first { $0.hasPrefix(series + " ") }.flatMap {
            Double($0.dropFirst(series.count + 1))
        }
    }

    private func page(_ server: ServerProcess) async throws -> String {
        let page = try await http("GET", server.httpPort, "/metrics")
        #expect(page.status == 200)
        return page.body
    }

    /// Prometheus's own linter, and the strict parser of its Python client.
    private func judge(_ server: ServerProcess) async throws {
        let plain = try await self.page(server)
        #expect(Self.undeclared(plain).isEmpty, "not declared: \(Self.undeclared(plain))")
        #expect(try await MetricsPageJudge.findings(httpPort: server.httpPort) == [])
    }

    @Test func aNodeShowsItselfItsCanaryAndItsServiceLevels() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["metrics.canary_seconds=1"])
        let levels = ["eventual", "bounded", "read_your_writes", "strong"]
        let canary = try await eventually("two rounds of the canary, looked up in the journal") { () -> String? in
            let page = try await self.page(node.server)
            let rounds = levels.map {
                Self.value("vecraft_canary_checks_total{level=\"\($0)\",result=\"ok\"}", in: page) ?? 0
            }
            let checked = Self.value("vecraft_tracking_writes_checked_total", in: page) ?? 0
            return rounds.allSatisfy { $0 >= 2 } && checked >= 1 ? page : nil
        }
        func checks(_ result: String, _ page: String) -> [Double] {
            levels.map {
                Self.value("vecraft_canary_checks_total{level=\"\($0)\",result=\"\(result)\"}", in: page) ?? -1
            }
        }
        #expect(checks("violation", canary) == [0, 0, 0, 0])
        // What a busy machine is too late for has failed; of two rounds one after another some time none has.
        var (ok, failed) = ([0.0, 0, 0, 0], [0.0, 0, 0, 0])
        try await eventually("two rounds without a failure") {
            let page = try await self.page(node.server)
            if checks("failed", page) != failed { (ok, failed) = (checks("ok", page), checks("failed", page)) }
            return zip(checks("ok", page), ok).allSatisfy { $0 >= $1 + 2 }
        }
        #expect(Self.value("vecraft_tracking_writes_lost_total", in: canary) == 0)
        #expect(Self.value("vecraft_tracking_coverage_ratio", in: canary) == 1)
        // Nobody has asked for anything yet.
        #expect(!canary.contains("vecraft_request_total{"), "the canary is among the callers' requests")
        #expect(levels.allSatisfy { Self.value("vecraft_query_reads_total{level=\"\($0)\"}", in: canary) == 0 })

        // What the canary keeps is no caller's business.
        let list: VecraftV1.ListCollectionsResponse = try await node.call(
            "Collections/ListCollections", VecraftV1.ListCollectionsRequest())
        #expect(list.collections.isEmpty)
        let intruder = VecraftV1.UpsertRequest(
            collection: "canary", points: [point("node-0", [1, 0])], tenant: "_vecraft")
        let refusal = await #expect(throws: VecraftError.self) {
            let _: VecraftV1.UpsertResponse = try await node.call("Points/Upsert", intruder)
        }
        #expect(refusal?.code == .permissionDenied)
        await #expect(throws: VecraftError.self) {
            let _: VecraftV1.CreateCollectionResponse = try await node.call(
                "Collections/CreateCollection",
                VecraftV1.CreateCollectionRequest(
                    name: "c", config: .init(vector: .init(dimension: 2, distance: .l2)), tenant: "_vecraft"))
        }

        try await node.create("c", dimension: 4)
        for i in 0..<70 { try await node.upsert("c", [point("p\(i)", [1, 0, 0, Float(i)])]) }
        for _ in 0..<3 {
            let _: VecraftV1.SearchResponse = try await node.call(
                "Points/Search",
                VecraftV1.SearchRequest(
                    collection: "c", vector: .init(values: [1, 0, 0, 0]),
                    read: .init(consistency: .bounded, maxStalenessMs: 500)))
        }
        let page = try await self.page(node.server)
        #expect(Self.value("vecraft_query_reads_total{level=\"bounded\"}", in: page) == 3)
        #expect(Self.value("vecraft_query_bounded_violations_total", in: page) == 0)
        for tier in ["critical", "interactive", "batch", "background"] {
            let left = try #require(Self.value("vecraft_error_budget_remaining{tier=\"\(tier)\"}", in: page))
            #expect(left <= 1)
            for window in ["5m", "1h", "6h"] {
                let rate = try #require(
                    Self.value("vecraft_slo_burn_rate{tier=\"\(tier)\",window=\"\(window)\"}", in: page))
                #expect(rate >= 0)
            }
            let queue = try #require(
                Self.value("vecraft_capacity_utilization{tier=\"\(tier)\",service=\"journal\"}", in: page))
            #expect((0...1).contains(queue))
            #expect(Self.value("vecraft_degradation_active{tier=\"\(tier)\",reason=\"replay_lag\"}", in: page) != nil)
        }
        #expect(Self.value("vecraft_degradation_active{tier=\"batch\",reason=\"disk_full\"}", in: page) == 0)
        #expect(Self.value("vecraft_node_ready", in: page) == 1)
        for service in ["journal", "meta", "storage", "gateway"] {
            #expect(Self.value("vecraft_node_service_up{service=\"\(service)\"}", in: page) == 1, "\(service)")
        }
        let total = try #require(Self.value("vecraft_node_memory_bytes{state=\"total\"}", in: page))
        #expect(total > 0 && (Self.value("vecraft_node_disk_bytes{state=\"total\"}", in: page) ?? 0) > 0)
        #expect((Self.value("vecraft_canary_last_success_timestamp_seconds", in: page) ?? 0) > 1.7e9)
        try await self.judge(node.server)
        #expect(await node.stop() == 0)
    }

    /// Replay takes a third of a second: that is lag, and who waits for it waits too long.
    @Test func slownessSpendsTheBudgetAndLagIsSaid() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["storage.apply_delay_ms=300"])
        try await node.create("c", dimension: 4)
        for i in 0..<5 { try await node.upsert("c", [point("p\(i)", [1, 0, 0, Float(i)])], wait: .applied) }
        let page = try await self.page(node.server)
        // Of this tier nothing was asked but the five writes, all slower than 50 ms: a hundred times what is allowed.
        let rate = try #require(Self.value("vecraft_slo_burn_rate{tier=\"interactive\",window=\"5m\"}", in: page))
        #expect(abs(rate - 100) < 1e-6)
        let left = try #require(Self.value("vecraft_error_budget_remaining{tier=\"interactive\"}", in: page))
        #expect(abs(left - -99) < 1e-6)
        #expect(Self.value("vecraft_slo_burn_rate{tier=\"batch\",window=\"5m\"}", in: page) == 0)
        try await eventually("the lag is said") {
            try await node.upsert("c", [point("q", [1, 0, 0, 0])])
            let page = try await self.page(node.server)
            return Self.value("vecraft_degradation_active{tier=\"critical\",reason=\"replay_lag\"}", in: page) == 1
        }
        try await eventually("and taken back") {
            let page = try await self.page(node.server)
            return Self.value("vecraft_degradation_active{tier=\"critical\",reason=\"replay_lag\"}", in: page) == 0
        }
        #expect(await node.stop() == 0)
    }

    @Test func aJournalAloneShowsItsOwnPartAndItsCertificate() async throws {
        let directory = try TemporaryDirectory()
        let (certificate, key) = (directory.file("cert.pem"), directory.file("key.pem"))
        let made = try await PythonEnvironment.run(
            "/usr/bin/env",
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2",
                "-subj", "/CN=node", "-keyout", key, "-out", certificate,
            ], limit: .seconds(60))
        try #require(made.succeeded, "\(made)")
        let server = try await offThePool {
            try ServerProcess(
                dataDirectory: directory.path + "/data",
                settings: ["node.roles=journal", "grpc.tls_certificate=\(certificate)", "grpc.tls_key=\(key)"])
        }
        let page = try await self.page(server)
        let end = try #require(
            Self.value("vecraft_tls_certificate_expiry_timestamp_seconds{listener=\"grpc\"}", in: page))
        let left = end - Date().timeIntervalSince1970
        #expect(left > 86_400 && left <= 2 * 86_400)
        #expect(Self.value("vecraft_node_service_up{service=\"journal\"}", in: page) == 1)
        #expect(Self.value("vecraft_node_ready", in: page) == 1)
        // No gateway, so no service levels and no canary.
        for name in ["vecraft_canary", "vecraft_error_budget", "service=\"gateway\"", "listener=\"http\""] {
            #expect(!page.contains(name), "\(name)")
        }
        try await self.judge(server)
        #expect(try await offThePool { server.terminate() } == 0)
    }
}
