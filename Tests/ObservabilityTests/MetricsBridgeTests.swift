import Metrics
import Observability
import Testing

@Suite struct MetricsBridgeTests {
    @Test func namesBecomePrometheusNames() {
        let registry = MetricsRegistry()
        let bridge = MetricsBridge(registry)
        bridge.makeCounter(label: "hb.requests", dimensions: [("http.route", "/a")]).increment(by: 2)
        bridge.makeFloatingPointCounter(label: "work_total", dimensions: []).increment(by: 0.5)
        bridge.makeTimer(label: "requestDuration", dimensions: []).recordNanoseconds(250_000_000)
        bridge.makeRecorder(label: "depth", dimensions: [], aggregate: false).record(7.0)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("lib_hb_requests_total{http_route=\"/a\"} 2\n"))
        #expect(page.contains("lib_work_total 0.5\n"))
        #expect(page.contains("lib_request_duration_seconds_sum 0.25\n"))
        #expect(page.contains("lib_depth 7\n"))
    }

    @Test func otherDimensionsAndOtherKindsUnderAKnownNameDoNotTrap() {
        let registry = MetricsRegistry()
        let bridge = MetricsBridge(registry)
        bridge.makeCounter(label: "a", dimensions: [("x", "1")]).increment(by: 1)
        bridge.makeCounter(label: "a", dimensions: [("y", "2")]).increment(by: 1)
        bridge.makeMeter(label: "b", dimensions: []).set(1.0)
        bridge.makeRecorder(label: "b", dimensions: [], aggregate: true).record(2.0)
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("lib_a_total{x=\"1\"} 1\n"))
        #expect(page.contains("lib_a_total{x=\"\"} 1\n"))
        #expect(page.contains("lib_b 1\n"))
        #expect(!page.contains("lib_b_bucket"))
    }
}
