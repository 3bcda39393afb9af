internal import MetricsExporter
internal import Observability
internal import Primitives

/// docs/METRICS.md, made from what the program declares.
package enum MetricsDocument {
    package static var text: String {
        let families = DeclaredMetrics.all
        var out = Self.head
        let groups = Dictionary(grouping: families, by: { Self.component(of: $0.name) })
        for component in groups.keys.sorted() {
            out += "\n## \(component)\n\n"
            if let about = Self.about[component] { out += about + "\n\n" }
            out += "| Name | Type | Labels | Unit | What it says |\n| --- | --- | --- | --- | --- |\n"
            for family in (groups[component] ?? []).sorted(by: { $0.name < $1.name }) {
                let labels = family.labels.map { "`\($0)`" }.joined(separator: ", ")
                let help = family.help.replacing("|", with: "\\|")
                out +=
                    "| `\(family.name)` | \(family.kind.rawValue) | \(labels) | \(Self.unit(of: family)) | \(help) |\n"
            }
        }
        return out
    }

    /// Of every family, as it stands in the text format.
    package static var names: Set<String> { Set(DeclaredMetrics.all.map(\.name)) }

    private static func component(of name: String) -> String {
        let words = name.split(separator: "_").map(String.init)
        guard words.count > 1, words[0] == "vecraft" else { return words.first ?? name }
        switch words[1] {
        case "error", "slo", "capacity", "degradation": return "request"
        default: return words[1]
        }
    }

    private static func unit(of family: MetricDeclaration) -> String {
        var name = family.name
        if name.hasSuffix("_total") { name.removeLast("_total".count) }
        if name.hasSuffix("_timestamp_seconds") { return "seconds since 1970" }
        for unit in ["seconds", "bytes", "ratio"] where name.hasSuffix("_" + unit) { return unit }
        if ["vecraft_error_budget_remaining", "vecraft_capacity_utilization"].contains(name) { return "ratio" }
        return ""
    }

    private static func bounds(_ buckets: Buckets) -> String {
        buckets.bounds.map { bound in Int64(exactly: bound).map(String.init) ?? String(bound) }.joined(separator: ", ")
    }

    private static var head: String {
        """
        # Metrics

        Made by `make metrics-docs` from the program's declarations (`vecraft metrics docs`); a test fails where the two differ.

        Every process answers `GET /metrics` on its HTTP port: Prometheus text format 0.0.4, or OpenMetrics 1.0 with exemplars if
        `Accept` asks for it. A family that has counted nothing yet may be absent. A process shows the families of its roles alone.

        Histograms of seconds have the bounds \(Self.bounds(.seconds)); of bytes \(Self.bounds(.bytes)); of counts
        \(Self.bounds(.counts)).

        A family holds at most \(MetricsRegistry().maximumSeriesPerFamily) label sets; what is beyond is counted under the label value `other`, and in
        `vecraft_metrics_label_sets_folded_total`. No label is a tenant's; `collection` is bounded by the number of collections, those
        of other tenants than the default stand as `tenant/name`. `_vecraft/canary` is the canary's.

        ## Service levels

        | Tier | p99 target | Availability | Highest replay lag |
        | --- | --- | --- | --- |
        \(Tier.allCases.map { tier in
            "| \(tier.label) | \(Int(tier.objective.target * 1000)) ms | \(Self.percent(tier.objective.availability)) | \(tier.maxLagMilliseconds) ms |"
        }.joined(separator: "\n"))

        Two objectives each. Availability: a request is bad if the server failed it (status `UNAVAILABLE`, `INTERNAL`,
        `DEADLINE_EXCEEDED`, `DATA_LOSS`, `UNKNOWN`), or shed it (`vecraft_request_shed_total`: `RESOURCE_EXHAUSTED` for want of room,
        not for a request's own size). Latency: a request is bad if it took longer than the target; 1 % may.

        `vecraft_slo_burn_rate` is the part of the window's requests that was bad, over the part that may be: 1 spends the budget
        exactly, 14.4 spends a month's in two days. Of the two objectives the worse one is shown; without requests it is 0. Windows: \
        \(ServiceLevels.Window.allCases.map { "`\($0.rawValue)`" }.joined(separator: ", ")), in slices of \(ServiceLevels.sliceSeconds) s.
        `vecraft_error_budget_remaining` is 1 minus the same of the last \(ServiceLevels.budgetHours / 24) days, or since the process began. Each
        process counts what it answered itself; sums over processes and restarts are for Prometheus, from `vecraft_request_total` and
        `vecraft_request_duration_seconds`. The canary's requests are in none of these.

        """
    }

    private static func percent(_ part: Double) -> String {
        let text = String((part * 10_000).rounded() / 100)
        return (text.hasSuffix(".0") ? String(text.dropLast(2)) : text) + " %"
    }

    private static let about: [String: String] = [
        "canary":
            "Each node that answers clients writes a point of its own every `metrics.canary_seconds` and reads it back at each level, judging what the level promises.",
        "tracking":
            "Every 64th acknowledged write, and each of the canary's, is looked up in the journal a moment later by partition and offset.",
        "request":
            "Capacity that tiers share is shown under each that uses it. Reasons of degradation: `disk_full`, `journal_failed`, `no_leader`, `replay_lag` (more than the tier's highest), `replay_stopped`, `catalog_stopped`.",
        "node": "The machine, read when scraped, at most once a second.",
    ]
}
