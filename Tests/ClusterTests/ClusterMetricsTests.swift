import ClusterSupport
import Foundation
import TestSupport
import Testing
import vecraft

extension RealClusters {
    /// What the nodes of clusters show, with a canary on each.
    @Suite("Metrics of clusters", .serialized) struct ClusterMetricsTests {
        private static func undeclared(_ page: String) -> [String] {
            page.split(separator: "\n").filter { $0.hasPrefix("# TYPE vecraft_") }
                .map { String($0.split(separator: " ")[2]) }.filter { !MetricsDocument.names.contains($0) }
        }

        private static func value(_ series: String, in page: String) -> Double? {
            page.split(separator: "\n").first { $0.hasPrefix(series + " ") }
                .flatMap { Double($0.dropFirst(series.count + 1)) }
        }

        /// Waits until the canaries of nodes have kept every level twice, and series have these values; returns their pages.
        private func sing(_ nodes: [ClusterNode], with values: [String: Double]) async throws -> [String] {
            var pages: [String] = []
            for node in nodes {
                pages.append(
                    try await eventually("node \(node.id) keeps every level") { () -> String? in
                        guard let page = await node.answer("/metrics")?.body else { return nil }
                        let rounds = ["eventual", "bounded", "read_your_writes", "strong"].map {
                            Self.value("vecraft_canary_checks_total{level=\"\($0)\",result=\"ok\"}", in: page) ?? 0
                        }
                        let isWell = values.allSatisfy { Self.value($0.key, in: page) == $0.value }
                        return isWell && rounds.allSatisfy { $0 >= 2 } ? page : nil
                    })
            }
            return pages
        }

        @Test(.timeLimit(.minutes(20))) func everyNodeOfAReplicatedJournalHasItsCanary() async throws {
            var options = TestCluster.Options()
            options.settings = ["metrics.canary_seconds=1"]
            let cluster = try await TestCluster.start(options)
            let wanted: [String: Double] = [
                "vecraft_raft_has_leader{partition=\"sys-0\"}": 1,
                "vecraft_degradation_active{tier=\"interactive\",reason=\"no_leader\"}": 0,
            ]
            for page in try await self.sing(cluster.nodes, with: wanted) {
                #expect(Self.undeclared(page).isEmpty, "not declared: \(Self.undeclared(page))")
                #expect(!page.contains("result=\"violation\"} 1"), "\(page)")
                #expect(Self.value("vecraft_tracking_writes_lost_total", in: page) == 0)
                #expect(Self.value("vecraft_query_bounded_violations_total", in: page) == 0)
            }
            for node in cluster.nodes {
                #expect(try await MetricsPageJudge.findings(httpPort: node.httpPort) == [], "node \(node.id)")
            }
            // One of three is left: its canary fails, and it says why; nothing it was told was wrong.
            for id in [2, 3] { await cluster[id].kill() }
            let alone = try await eventually("the canary of the one that is left fails") { () -> String? in
                guard let page = await cluster[1].answer("/metrics")?.body else { return nil }
                let failed =
                    Self.value("vecraft_canary_checks_total{level=\"strong\",result=\"failed\"}", in: page) ?? 0
                let said = Self.value("vecraft_degradation_active{tier=\"interactive\",reason=\"no_leader\"}", in: page)
                let isDown =
                    Self.value("vecraft_node_ready", in: page) == 0
                    && Self.value("vecraft_node_service_up{service=\"journal\"}", in: page) == 0
                return failed >= 1 && said == 1 && isDown ? page : nil
            }
            for id in [2, 3] { try await cluster[id].begin() }
            for id in [2, 3] { try await cluster[id].awaitReady() }
            let before = Self.value("vecraft_canary_checks_total{level=\"strong\",result=\"ok\"}", in: alone) ?? 0
            let well = try await eventually("it sings again") { () -> String? in
                guard let page = await cluster[1].answer("/metrics")?.body else { return nil }
                let ok = Self.value("vecraft_canary_checks_total{level=\"strong\",result=\"ok\"}", in: page) ?? 0
                let said = Self.value("vecraft_degradation_active{tier=\"interactive\",reason=\"no_leader\"}", in: page)
                return ok >= before + 2 && said == 0 ? page : nil
            }
            for level in ["eventual", "bounded", "read_your_writes", "strong"] {
                #expect(
                    Self.value("vecraft_canary_checks_total{level=\"\(level)\",result=\"violation\"}", in: well) == 0)
            }
            #expect(Self.value("vecraft_tracking_writes_lost_total", in: well) == 0)
            await cluster.killAll()
        }

        @Test(.timeLimit(.minutes(20)), .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
        func aClusterThatRunsItselfShowsItsControlPlane() async throws {
            let etcd = try await EtcdProcess.start(members: 1)
            var options = TestCluster.Options()
            options.etcd = etcd
            options.settings = ["metrics.canary_seconds=1"]
            options.rolesOf = [4: "storage"]
            let cluster = try await TestCluster.start(options)
            let well: [String: Double] = [
                "vecraft_node_service_up{service=\"control\"}": 1, "vecraft_control_metadata_reachable": 1,
            ]
            let pages = try await self.sing(cluster.nodes, with: well)
            // Of one without a gateway, too.
            try await cluster.join(4).awaitReady()
            let storage = try await eventually("node 4 is well") { () -> String? in
                guard let page = await cluster[4].answer("/metrics")?.body else { return nil }
                let isWell = well.allSatisfy { Self.value($0.key, in: page) == $0.value }
                return isWell && Self.value("vecraft_node_ready", in: page) == 1 ? page : nil
            }
            for page in pages + [storage] {
                #expect(Self.undeclared(page).isEmpty, "not declared: \(Self.undeclared(page))")
                #expect(!page.contains("result=\"violation\"} 1"), "\(page)")
            }
            for node in cluster.nodes {
                #expect(try await MetricsPageJudge.findings(httpPort: node.httpPort) == [], "node \(node.id)")
            }
            #expect(!storage.contains("vecraft_canary") && !storage.contains("vecraft_error_budget"))
            await cluster.killAll()
            _ = etcd
        }
    }
}
