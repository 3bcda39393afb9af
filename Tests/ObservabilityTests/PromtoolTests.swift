import Foundation
import Metrics
import Observability
import Primitives
import TestSupport
import Testing

/// The judge is Prometheus's own linter.
@Suite struct PromtoolTests {
    @Test func promtoolHasNothingToSayAboutAFullPage() async throws {
        guard let promtool = findProgram("promtool") else {
            // A developer may do without; where changes are judged the linter must be there.
            #expect(ProcessInfo.processInfo.environment["CI"] != "true", "promtool is missing: install prometheus")
            return
        }
        let registry = MetricsRegistry()
        _ = ProcessMetrics(registry, version: "0.1.0", revision: "abc123")
        let requests = RequestMetrics(registry)
        let trace = TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true)
        for (i, name) in ["search", "upsert", "create_collection"].enumerated() {
            requests.operation(name).record(
                tier: .interactive, level: .strong, code: .ok, nanoseconds: UInt64(i) * 1_000_000, trace: trace)
        }
        requests.errorBudgetRemaining.with("interactive").set(0.75)
        requests.burnRate.with("interactive", "1h").set(1.5)
        requests.capacityUtilization.with("interactive", "gateway").set(0.2)
        requests.degradationActive.with("batch", "replay_lag").set(0)
        _ = SpanSink(registry: registry)
        _ = LogControl(registry: registry) { _ in }
        let bridge = MetricsBridge(registry)
        bridge.makeCounter(label: "http.server.requestCount", dimensions: [("Method", "GET")]).increment(by: 1)
        bridge.makeTimer(label: "some.timer", dimensions: []).recordNanoseconds(5_000_000)
        bridge.makeRecorder(label: "payload-sizes", dimensions: [], aggregate: true).record(Int64(77))
        bridge.makeMeter(label: "queue depth", dimensions: [("le", "x")]).set(1.5)

        let page = registry.page()
        let check = try await PythonEnvironment.run(
            promtool, ["check", "metrics"], input: String(decoding: page, as: UTF8.self), limit: .seconds(300))
        #expect(check.succeeded && check.output == "" && check.errors == "", "promtool said: \(check)")
    }
}
