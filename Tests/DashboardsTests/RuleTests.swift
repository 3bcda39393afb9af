import DashboardSupport
import Foundation
import TestSupport
import Testing
import Yams

@Suite struct RuleTests {
    /// The tests of `dashboards/prometheus/tests` that ask for an alert: whether it fires, by name.
    private static func cases() throws -> [String: (fires: Bool, silent: Bool)] {
        var found: [String: (fires: Bool, silent: Bool)] = [:]
        for file in try ProjectFiles.names(in: "\(Rule.folder)/tests") {
            let root = try #require(try Yams.compose(yaml: try ProjectFiles.text("\(Rule.folder)/tests/\(file)")))
            for test in root["tests"]?.array() ?? [] {
                for one in test["alert_rule_test"]?.array() ?? [] {
                    let name = one["alertname"]?.string ?? ""
                    let fires = !(one["exp_alerts"]?.array() ?? []).isEmpty
                    // Silent before it fires is the rule's patience; silent is a case in which it never does.
                    let isSilentCase = (test["name"]?.string ?? "").hasSuffix("stays silent")
                    var known = found[name] ?? (false, false)
                    if fires { known.fires = true }
                    if isSilentCase, !fires { known.silent = true }
                    found[name] = known
                }
            }
        }
        return found
    }

    @Test func theAlertsAreThere() throws {
        #expect(
            Set(try Rule.all("alerts.yml").map(\.name)) == [
                "VecraftJournalAppendSlow", "VecraftPartitionWithoutLeader", "VecraftClockDrift",
                "VecraftWriteFailures",
                "VecraftReplayLag", "VecraftDataDamaged", "VecraftDiskNearlyFull", "VecraftSearchSlow",
                "VecraftStrongReadSlow", "VecraftSyncFailures", "VecraftBoundedStalenessViolations",
                "VecraftReadYourWritesViolation", "VecraftErrorBudgetBurn", "VecraftErrorBudgetLow",
                "VecraftTrackingLoss", "VecraftTargetDown", "VecraftReplicasMissing", "VecraftEtcdUnreachable",
                "VecraftCertificateExpiring",
            ])
    }

    @Test func rulesAreNamedAndLabelledByConvention() throws {
        let boards = Set(try Dashboard.all().map(\.uid))
        for rule in try Rule.all("rules.yml") {
            #expect(
                rule.record?.wholeMatch(of: #/[a-z]+(_[a-z]+)*:vecraft_[a-z0-9_]+:[a-z0-9_]+/#) != nil,
                "\(rule) is not level:metric:operation")
        }
        for alert in try Rule.all("alerts.yml") {
            #expect(alert.name.wholeMatch(of: #/Vecraft([A-Z][a-z]+)+/#) != nil, "\(alert)")
            #expect(alert.wait != nil, "\(alert) does not say for how long")
            #expect(Array(alert.labels.keys) == ["severity"], "\(alert)")
            #expect(["critical", "warning", "info"].contains(alert.labels["severity"]), "\(alert)")
            #expect(
                Set(alert.annotations.keys) == ["summary", "description", "runbook_url", "dashboard_url"], "\(alert)")
            let link = alert.annotations["dashboard_url"] ?? ""
            let board = link.firstMatch(of: #/\$externalLabels\.grafana_url \}\}/d/([a-z-]+)\?var-cluster=/#)?.output.1
            #expect(board.map { boards.contains(String($0)) } ?? false, "\(alert) leads to \(link)")
        }
    }

    @Test(.enabled(if: Promtool.program != nil)) func prometheusTakesThem() async throws {
        let promtool = try Promtool()
        for arguments in ["rules rules.yml alerts.yml", "config prometheus.yml"] {
            let outcome = try await promtool.run("check", arguments)
            #expect(outcome.succeeded, "\(outcome)")
        }
    }

    @Test(.enabled(if: Promtool.program != nil)) func alertsFireAndStaySilentAsTheirTestsSay() async throws {
        let cases = try Self.cases()
        for alert in try Rule.all("alerts.yml") {
            #expect(cases[alert.name]?.fires ?? false, "\(alert) has no case that fires")
            #expect(cases[alert.name]?.silent ?? false, "\(alert) has no case that stays silent")
        }
        let outcome = try await Promtool().run("test", "rules", "tests/*.yml")
        #expect(outcome.succeeded, "\(outcome)")
    }

    /// For each alert: were it always silent, or always on, its tests would say so.
    @Test(
        .enabled(if: Promtool.program != nil), arguments: [("vector(1) > 2", "fires"), ("vector(1)", "stays silent")])
    func theTestsKnowABrokenAlert(expression: String, named: String) async throws {
        let broken = try Rule.all("alerts.yml").map { alert in
            var alert = alert
            (alert.expression, alert.wait) = (expression, "0m")
            return alert
        }
        let outcome = try await Promtool(alerts: broken).run("test", "rules", "tests/*.yml")
        #expect(!outcome.succeeded)
        for alert in broken {
            #expect((outcome.output + outcome.errors).contains("name: \(alert.name) \(named)"), "\(alert)")
        }
    }

    /// A developer may do without; where changes are judged nothing is passed over.
    @Test(.enabled(if: ProcessInfo.processInfo.environment["CI"] == "true"))
    func whereChangesAreJudgedThereIsAPrometheus() {
        #expect(Promtool.program != nil)
        #expect(PrometheusProcess.binary != nil)
    }
}
