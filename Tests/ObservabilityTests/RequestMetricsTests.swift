import Observability
import Primitives
import Testing

@Suite struct RequestMetricsTests {
    @Test func theFamiliesHaveTheNamesAndLabelsOfTheDesign() {
        let registry = MetricsRegistry()
        _ = RequestMetrics(registry)
        let declared = Dictionary(uniqueKeysWithValues: registry.declarations.map { ($0.name, $0.labels) })
        #expect(declared["vecraft_request_duration_seconds"] == ["tier", "operation", "consistency_level"])
        #expect(declared["vecraft_request_total"] == ["tier", "operation", "status"])
        #expect(declared["vecraft_error_budget_remaining"] == ["tier"])
        #expect(declared["vecraft_slo_burn_rate"] == ["tier", "window"])
        #expect(declared["vecraft_capacity_utilization"] == ["tier", "service"])
        #expect(declared["vecraft_degradation_active"] == ["tier", "reason"])
    }

    @Test func aRequestIsCountedAndTimedUnderItsLabels() {
        let registry = MetricsRegistry()
        let metrics = RequestMetrics(registry)
        let search = metrics.operation("search")
        search.record(tier: .interactive, level: .readYourWrites, code: .ok, nanoseconds: 2_000_000)
        search.record(tier: .interactive, level: .readYourWrites, code: .ok, nanoseconds: 3_000_000)
        search.record(tier: .background, level: .none, code: .resourceExhausted, nanoseconds: 10)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_request_total{tier=\"interactive\",operation=\"search\",status=\"OK\"} 2\n"))
        #expect(
            page.contains(
                "vecraft_request_total{tier=\"background\",operation=\"search\",status=\"RESOURCE_EXHAUSTED\"} 1\n"))
        #expect(
            page.contains(
                "vecraft_request_duration_seconds_count{tier=\"interactive\",operation=\"search\",consistency_level=\"read_your_writes\"} 2\n"
            ))
        #expect(metrics.duration.with("interactive", "search", "read_your_writes").snapshot.sum == 0.005)
    }

    @Test func everyCombinationHasItsOwnSeries() {
        let metrics = RequestMetrics(MetricsRegistry())
        let operation = metrics.operation("get")
        for tier in Tier.allCases {
            for level in ConsistencyLabel.allCases {
                for code in VecraftError.Code.allCases {
                    operation.record(tier: tier, level: level, code: code, nanoseconds: 1_000_000)
                }
            }
        }
        #expect(metrics.duration.seriesCount == 20)
        #expect(metrics.total.seriesCount == 68)
        for tier in Tier.allCases {
            for level in ConsistencyLabel.allCases {
                #expect(metrics.duration.with(tier.label, "get", level.text).snapshot.count == 17)
            }
            for code in VecraftError.Code.allCases {
                #expect(metrics.total.with(tier.label, "get", code.name).count == 5)
            }
        }
    }
}
