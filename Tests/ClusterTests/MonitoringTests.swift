import ClusterSupport
import DashboardSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// What `dashboards/` holds, on three real nodes under load and a real Prometheus: every panel has something to show, nothing is red
    /// and no alert fires while all is well, and those fire that should when nodes and etcd are lost.
    @Suite(
        "Dashboards and alerts", .serialized,
        .enabled(
            if: EtcdProcess.binary != nil && PrometheusProcess.binary != nil,
            "\(EtcdProcess.missing); \(PrometheusProcess.missing)"))
    struct MonitoringTests {
        /// Alerts that say how fast, how busy or how full the machine is on which the tests happen to run.
        private static let ofTheMachine: Set = [
            "VecraftJournalAppendSlow", "VecraftSearchSlow", "VecraftStrongReadSlow", "VecraftReplayLag",
            "VecraftDiskNearlyFull",
            "VecraftErrorBudgetBurn", "VecraftErrorBudgetLow",
        ]
        /// Numbers of which the same is true, beside all times and sizes.
        private static let numbersOfTheMachine: Set = ["Most entries behind", "Reads that wait", "Lowest error budget"]
        /// Metrics that this cluster rightly has not: it is without TLS.
        private static let absent: Set = ["vecraft_tls_certificate_expiry_timestamp_seconds"]
        /// Rules held for so long instead of minutes.
        private static let patience = "3s"

        @Test(.timeLimit(.minutes(30))) func everyPanelShowsSomethingAndOnlyWhatIsWrongFires() async throws {
            let etcd = try await EtcdProcess.start()
            var options = TestCluster.Options()
            options.etcd = etcd
            options.settings = [
                "metrics.canary_seconds=1",
                "journal.segment_bytes=1MiB", "journal.max_batch_bytes=1MiB", "journal.reserve_bytes=1MiB",
                "log.level=notice",
                // So that there are checkpoints, graphs and answers to be given again within seconds.
                "storage.checkpoint_bytes=1MiB", "storage.segment_points=1000", "storage.graph_from=200",
                "query.result_cache_bytes=8MiB",
            ]
            // A collector that takes spans, if there is a Python for it; else there are only those that are dropped.
            let collector = await SpanCollector.isThere() ? try await SpanCollector.start() : nil
            options.environment = [
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:\(collector?.httpPort ?? 9)",
                "OTEL_BSP_SCHEDULE_DELAY": "500", "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "0.02",
            ]
            // One replica is a little late, so that reads wait for it.
            options.nodeSettings = [3: ["storage.apply_delay_ms=10"]]
            let cluster = try await TestCluster.start(options)
            do {
                _ = try await cluster.create(MonitoredLoad.collection, dimension: 8, shards: 4)
                let prometheus = try await PrometheusProcess.start(files: try Self.configuration(for: cluster))
                try await MonitoredLoad(cluster).run {
                    try await self.awaitEveryPanel(prometheus)
                    try await self.checkColours(prometheus)
                    try await self.checkRules(prometheus)
                    try await self.loseNodes(cluster, prometheus)
                    try await self.loseEtcd(etcd, prometheus)
                }
            } catch {
                let logs = cluster.logs()
                await cluster.killAll()
                throw LoadFailure(description: "\(error)\n\(logs)")
            }
            let failed = await cluster.stopAll()
            #expect(failed.isEmpty, "exit codes \(failed)")
        }

        /// Ours as they are, but for the targets and for how often and how long.
        private static func configuration(for cluster: TestCluster) throws -> [String: String] {
            let targets = cluster.nodes.map { "'127.0.0.1:\($0.httpPort)'" }.joined(separator: ", ")
            let example = try ProjectFiles.text("\(Rule.folder)/prometheus.yml")
            let main = example.replacing("_interval: 15s", with: "_interval: 1s")
                .replacing(#/(?m)^( *- targets: )\['127[^\]]*\]/#) { "\($0.output.1)[\(targets)]" }
            let alerts = try ProjectFiles.text("\(Rule.folder)/alerts.yml")
                .replacing(#/(?m)^( +for: )[1-9][0-9]*[smh]$/#) { "\($0.output.1)\(Self.patience)" }
            try #require(main.contains(targets) && main != example && alerts.contains("for: \(Self.patience)"))
            return [
                "prometheus.yml": main, "alerts.yml": alerts,
                "rules.yml": try ProjectFiles.text("\(Rule.folder)/rules.yml"),
            ]
        }

        /// Asks each panel's queries, as Grafana would with everything chosen, until each has shown a number.
        private func awaitEveryPanel(_ prometheus: PrometheusProcess) async throws {
            var pending: [(panel: String, expression: String)] = []
            for panel in try Dashboard.all().flatMap(\.panels) {
                for expression in panel.expressions where Self.absent.isDisjoint(with: PromQL.metrics(in: expression)) {
                    pending.append(
                        (panel.description, PromQL.withEverythingChosen(expression, rate: "15s", range: "60s")))
                }
            }
            try #require(pending.count > 150)
            do {
                try await eventually("every panel has data", within: .seconds(300), every: .seconds(1)) {
                    var left: [(panel: String, expression: String)] = []
                    for query in pending {
                        let series = try await prometheus.query(query.expression, last: 15)
                        if !series.contains(where: { $0.values.contains(where: \.isFinite) }) { left.append(query) }
                    }
                    pending = left
                    return left.isEmpty
                }
            } catch {
                Issue.record("\(error)")
                for query in pending { Issue.record("no data: \(query.panel): \(query.expression)") }
            }
        }

        /// While all is well no number is red: thresholds stand where they should, and the right way round.
        private func checkColours(_ prometheus: PrometheusProcess) async throws {
            let panels = try Dashboard.all().flatMap(\.panels).filter { panel in
                panel.kind == "stat" && !["s", "bytes"].contains(panel.unit)
                    && !Self.numbersOfTheMachine.contains(panel.title)
                    && !panel.title.hasPrefix("Budget left")
            }
            try #require(panels.count > 15)
            try await self.eventuallyNone("red while all is well") {
                var red: [String] = []
                for panel in panels {
                    let expression = PromQL.withEverythingChosen(panel.expressions[0], rate: "15s", range: "15s")
                    guard let value = try await prometheus.value(expression), value.isFinite else { continue }
                    if panel.colour(of: value) == "red" { red.append("\(panel) at \(value)") }
                }
                return red
            }
        }

        /// Waits until there is nothing more to find; a busy machine may look ill for a moment.
        private func eventuallyNone(
            _ what: String, within patience: Duration = .seconds(180), _ find: () async throws -> [String]
        ) async throws {
            var found: [String] = []
            do {
                try await eventually("nothing is \(what)", within: patience, every: .milliseconds(500)) {
                    found = try await find()
                    return found.isEmpty
                }
            } catch { Issue.record("\(what): \(found)") }
        }

        /// Nothing that a rule asks for is missing, and nothing is said to be wrong.
        private func checkRules(_ prometheus: PrometheusProcess) async throws {
            // Their rates remember five minutes: a moment in which the machine stood still is to be forgotten.
            try await self.eventuallyNone("firing while all is well", within: .seconds(420)) {
                try await prometheus.alerts().filter { $0.isFiring && !Self.ofTheMachine.contains($0.name) }.map(
                    \.description)
            }
            #expect(try await prometheus.ruleFaults() == [:])
            let rules = try Rule.all("rules.yml") + Rule.all("alerts.yml")
            // A misspelt label would keep an alert silent for ever. Statuses of faults are there when there were faults.
            // Panels ask for what was scraped; what rules make of it is there when they have run once more.
            try await self.eventuallyNone("asked for by a rule, and not there") {
                var missing: [String] = []
                for rule in rules {
                    for selector in PromQL.selectors(in: rule.expression) where !selector.contains("status=") {
                        guard Self.absent.isDisjoint(with: PromQL.metrics(in: selector)) else { continue }
                        if try await prometheus.value("count(\(selector))") ?? 0 == 0 {
                            missing.append("\(selector) by \(rule)")
                        }
                    }
                }
                return missing
            }
        }

        /// An alert that fires, once it does.
        /// - Parameter labels: That it has, among others.
        @discardableResult
        private func alert(
            _ name: String, _ labels: [String: String] = [:], at prometheus: PrometheusProcess
        ) async throws -> PrometheusProcess.Alert {
            try await eventually("\(name) fires", every: .milliseconds(200)) {
                try await prometheus.alerts().first { alert in
                    alert.isFiring && alert.name == name && labels.allSatisfy { alert.labels[$0.key] == $0.value }
                }
            }
        }

        private func awaitEnd(of names: String..., at prometheus: PrometheusProcess) async throws {
            try await eventually("\(names) end", every: .milliseconds(200)) {
                try await !prometheus.alerts().contains { names.contains($0.name) }
            }
        }

        /// First one node, then a majority; and all is well again.
        private func loseNodes(_ cluster: TestCluster, _ prometheus: PrometheusProcess) async throws {
            await cluster[3].kill()
            let down = try await self.alert(
                "VecraftTargetDown", ["instance": "127.0.0.1:\(cluster[3].httpPort)"], at: prometheus)
            #expect(down.labels["severity"] == "critical")
            #expect(down.annotations["dashboard_url"] == "http://localhost:3000/d/vecraft-overview?var-cluster=local")
            // The other two are a majority.
            try await self.awaitEnd(of: "VecraftPartitionWithoutLeader", at: prometheus)
            await cluster[2].kill()
            try await self.alert("VecraftPartitionWithoutLeader", ["cluster": "local"], at: prometheus)
            // Together: each needs the other to be ready.
            async let second: Void = cluster[2].start()
            try await cluster[3].start()
            try await second
            try await self.awaitEnd(of: "VecraftTargetDown", "VecraftPartitionWithoutLeader", at: prometheus)
        }

        private func loseEtcd(_ etcd: EtcdProcess, _ prometheus: PrometheusProcess) async throws {
            try await etcd.suspend()
            try await self.alert("VecraftEtcdUnreachable", at: prometheus)
            etcd.resume()
            try await self.awaitEnd(of: "VecraftEtcdUnreachable", at: prometheus)
        }
    }
}
