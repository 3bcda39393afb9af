import Observability
import Primitives
import Testing

/// What a scraper reads.
@Suite struct PageTests {
    private func text(_ registry: MetricsRegistry, _ format: ExpositionFormat = .text) -> String {
        String(decoding: registry.page(format), as: UTF8.self)
    }

    @Test func aCounterAGaugeAndAHistogramReadAsPrometheusExpects() {
        let registry = MetricsRegistry()
        let requests = registry.counter("vecraft_test_requests_total", help: "Requests.", labels: ["code"])
        requests.with("OK").increment(by: 3)
        requests.with("NOT_FOUND").increment()
        registry.gauge("vecraft_test_depth", help: "Depth.").set(2.5)
        let sizes = registry.histogram("vecraft_test_size_bytes", help: "Sizes.", buckets: Buckets([1, 10]))
        for size in [0.5, 1, 5, 100] { sizes.observe(size) }
        #expect(
            text(registry) == """
                # HELP vecraft_test_requests_total Requests.
                # TYPE vecraft_test_requests_total counter
                vecraft_test_requests_total{code="NOT_FOUND"} 1
                vecraft_test_requests_total{code="OK"} 3
                # HELP vecraft_test_depth Depth.
                # TYPE vecraft_test_depth gauge
                vecraft_test_depth 2.5
                # HELP vecraft_test_size_bytes Sizes.
                # TYPE vecraft_test_size_bytes histogram
                vecraft_test_size_bytes_bucket{le="1.0"} 2
                vecraft_test_size_bytes_bucket{le="10.0"} 3
                vecraft_test_size_bytes_bucket{le="+Inf"} 4
                vecraft_test_size_bytes_sum 106.5
                vecraft_test_size_bytes_count 4

                """)
    }

    @Test func openMetricsDropsTheSuffixOfACounterFamilyAndEnds() {
        let registry = MetricsRegistry()
        registry.counter("vecraft_test_things_total", help: "Says \"things\".").increment()
        #expect(
            text(registry, .openMetrics) == """
                # HELP vecraft_test_things Says \\"things\\".
                # TYPE vecraft_test_things counter
                vecraft_test_things_total 1
                # EOF

                """)
    }

    @Test func exemplarsAreShownToOpenMetricsAloneAndOnlyOfSampledTraces() {
        let registry = MetricsRegistry()
        let histogram = registry.histogram("vecraft_test_seconds", help: "Seconds.", buckets: Buckets([1]))
        let trace = TraceContext(traceHigh: 0xabc, traceLow: 0xdef, spanID: 7, sampled: true)
        histogram.observe(0.25, trace: trace)
        histogram.observe(2, trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: false))
        let page = text(registry, .openMetrics)
        let lines = page.split(separator: "\n").filter { $0.contains("_bucket") }
        #expect(
            lines[0].hasPrefix(
                "vecraft_test_seconds_bucket{le=\"1.0\"} 1 # {trace_id=\"0000000000000abc0000000000000def\"} 0.25 "))
        #expect(lines[1] == "vecraft_test_seconds_bucket{le=\"+Inf\"} 2")
        #expect(!text(registry).contains("trace_id"))
    }

    @Test func labelValuesAndHelpAreEscaped() {
        let registry = MetricsRegistry()
        registry.gauge("vecraft_test_escaped", help: "Back\\slash and\nnewline.", labels: ["path"])
            .with("a\"b\\c\nd").set(1)
        let page = text(registry)
        #expect(page.contains("# HELP vecraft_test_escaped Back\\\\slash and\\nnewline.\n"))
        #expect(page.contains("vecraft_test_escaped{path=\"a\\\"b\\\\c\\nd\"} 1\n"))
    }

    @Test func notANumberAndTheInfinitiesHaveTheirNames() {
        let registry = MetricsRegistry()
        let family = registry.gauge("vecraft_test_odd", help: "Odd.", labels: ["k"])
        family.with("nan").set(.nan)
        family.with("inf").set(.infinity)
        family.with("neg").set(-.infinity)
        let page = text(registry)
        #expect(page.contains("{k=\"nan\"} NaN\n"))
        #expect(page.contains("{k=\"inf\"} +Inf\n"))
        #expect(page.contains("{k=\"neg\"} -Inf\n"))
    }

    @Test func collectorsRunBeforeThePageAndEndWhenCancelled() {
        let registry = MetricsRegistry()
        let gauge = registry.gauge("vecraft_test_collected", help: "Collected.")
        let handle = registry.onScrape { gauge.add(1) }
        #expect(text(registry).contains("vecraft_test_collected 1\n"))
        handle.cancel()
        #expect(text(registry).contains("vecraft_test_collected 1\n"))
    }

    @Test(
        arguments: [
            (nil, ExpositionFormat.text),
            ("*/*", .text),
            ("text/plain", .text),
            ("application/openmetrics-text; version=1.0.0", .openMetrics),
            ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1", .openMetrics),
            ("application/openmetrics-text;q=0.1, text/plain;q=0.9", .text),
            ("application/openmetrics-text;q=0", .text),
        ] as [(String?, ExpositionFormat)])
    func theFormatFollowsTheAcceptHeader(accept: String?, format: ExpositionFormat) {
        #expect(ExpositionFormat(accept: accept) == format)
    }
}
