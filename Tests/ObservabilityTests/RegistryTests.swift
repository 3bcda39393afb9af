import Foundation
import Observability
import Primitives
import Testing

@Suite struct RegistryTests {
    @Test func aFullFamilyFoldsFurtherLabelSetsIntoOther() {
        let registry = MetricsRegistry(maximumSeriesPerFamily: 3)
        let family = registry.counter("vecraft_test_by_name_total", help: "By name.", labels: ["name", "kind"])
        for i in 0..<10 { family.with("n\(i)", "k").increment() }
        // The first three have their own series, and keep them.
        for i in 0..<3 { #expect(family.with("n\(i)", "k").count == 1) }
        #expect(family.with("other", "other").count == 7)
        #expect(family.seriesCount == 4)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_test_by_name_total{name=\"other\",kind=\"other\"} 7\n"))
        #expect(page.contains("vecraft_metrics_label_sets_folded_total{family=\"vecraft_test_by_name_total\"} 7\n"))
    }

    @Test func removingASeriesMakesRoomForAnother() {
        let registry = MetricsRegistry(maximumSeriesPerFamily: 2)
        let family = registry.gauge("vecraft_test_shards", help: "Shards.", labels: ["shard"])
        family.with("0").set(1)
        family.with("1").set(2)
        family.remove("0")
        family.remove("7")
        family.with("2").set(3)
        #expect(family.seriesCount == 2)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(!page.contains("shard=\"0\""))
        #expect(page.contains("vecraft_test_shards{shard=\"1\"} 2\n"))
        #expect(page.contains("vecraft_test_shards{shard=\"2\"} 3\n"))
    }

    @Test func declaringAgainGivesTheSameSeries() {
        let registry = MetricsRegistry()
        let first = registry.counter("vecraft_test_twice_total", help: "Twice.")
        let second = registry.counter("vecraft_test_twice_total", help: "Twice.")
        #expect(first === second)
        #expect(registry.declarations.filter { $0.name == "vecraft_test_twice_total" }.count == 1)
    }

    @Test func aWholeCountStaysExactPastTheReachOfADouble() {
        let counter = MetricsRegistry().counter("vecraft_test_big_total", help: "Big.")
        counter.increment(by: 1 << 53)
        counter.increment()
        #expect(counter.count == 1 << 53 + 1)
    }

    @Test func fractionsAddUpAndNothingMakesACounterFall() {
        let counter = MetricsRegistry().counter("vecraft_test_seconds_total", help: "Seconds.")
        counter.add(0.25)
        counter.add(0.5)
        counter.add(-1)
        counter.add(.nan)
        counter.add(.infinity)
        #expect(counter.value == 0.75)
    }

    @Test func anObservationFallsInTheFirstBucketThatHoldsIt() {
        let histogram = Histogram(Buckets([1, 2, 4]))
        for value in [0, 1, 1.5, 2, 4, 4.1, .infinity] { histogram.observe(value) }
        histogram.observe(.nan)
        #expect(histogram.snapshot.counts == [2, 2, 1, 2])
        #expect(histogram.snapshot.count == 7)
    }

    @Test func theSecondsBucketsHoldTheTiersObjectives() {
        let bounds = Buckets.seconds.bounds
        #expect(bounds.first == 0.0005 && bounds.last == 60)
        for objective in [0.025, 0.05, 0.2, 1] { #expect(bounds.contains(objective)) }
    }

    @Test func nothingIsLostWhenManyThreadsCount() async {
        let registry = MetricsRegistry()
        let counter = registry.counter("vecraft_test_threads_total", help: "Threads.")
        let gauge = registry.gauge("vecraft_test_threads", help: "Threads.")
        let histogram = registry.histogram("vecraft_test_threads_seconds", help: "Threads.")
        let family = registry.counter("vecraft_test_family_total", help: "Family.", labels: ["n"])
        let trace = TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true)
        await withTaskGroup(of: Void.self) { group in
            for _ in 0..<8 {
                group.addTask {
                    for i in 0..<5_000 {
                        counter.increment()
                        gauge.add(1)
                        histogram.observe(0.25, trace: trace)
                        family.with(String(i % 10)).increment()
                        if i % 1_000 == 0 { _ = registry.page() }
                    }
                }
            }
        }
        #expect(counter.count == 40_000)
        #expect(gauge.value == 40_000)
        #expect(histogram.snapshot.count == 40_000)
        #expect(histogram.snapshot.sum == 10_000)
        #expect((0..<10).allSatisfy { family.with(String($0)).count == 4_000 })
    }

    @Test func declarationsCanBeReadByAMachine() throws {
        let registry = MetricsRegistry()
        _ = RequestMetrics(registry)
        let json = Data(MetricDeclaration.json(registry.declarations).utf8)
        let list = try #require(try JSONSerialization.jsonObject(with: json) as? [[String: Any]])
        let duration = try #require(list.first { $0["name"] as? String == "vecraft_request_duration_seconds" })
        #expect(duration["type"] as? String == "histogram")
        #expect(duration["labels"] as? [String] == ["tier", "operation", "consistency_level"])
        #expect((duration["buckets"] as? [Double])?.count == 16)
        #expect((duration["help"] as? String)?.isEmpty == false)
    }
}
