package import Primitives

/// The read consistency level a request was answered at, as a label. Requests that do not read have `none`.
/// Raw values are those of `ConsistencyLevel`, and 0.
package enum ConsistencyLabel: Int, Sendable, CaseIterable {
    case none = 0, eventual, bounded, readYourWrites, strong

    package var text: String {
        ConsistencyLevel(rawValue: UInt8(self.rawValue))?.name ?? "none"
    }
}

extension Tier {
    /// The tier as a label: its name, which says more in a query than its number.
    package var label: String {
        switch self {
        case .critical: "critical"
        case .interactive: "interactive"
        case .batch: "batch"
        case .background: "background"
        }
    }
}

/// Every request at the edge, whatever wire it came by. Names and labels are fixed by the quality-of-service design.
package struct RequestMetrics: Sendable {
    /// Seconds from the request's last byte in to the answer handed to the wire. Histogram by tier, operation and level
    /// achieved.
    package let duration: HistogramFamily
    /// Requests answered. Counter by tier, operation and status (the gRPC code's name, "OK" included).
    package let total: CounterFamily
    /// Requests refused because the server had no room for them (``VecraftError/isShed``). Counter by tier and reason.
    package let shed: CounterFamily
    /// Part of the tier's error budget left, 1 down to 0, and below when overspent. Gauge by tier.
    package let errorBudgetRemaining: GaugeFamily
    /// How many times faster than allowed the budget is spent; 1 spends it exactly. Gauge by tier and window ("5m",
    /// "1h", "6h").
    package let burnRate: GaugeFamily
    /// Used part of what a service can do, 0 to 1. Gauge by tier and service.
    package let capacityUtilization: GaugeFamily
    /// 1 while a tier is served with less than it asks for. Gauge by tier and reason.
    package let degradationActive: GaugeFamily

    package init(_ registry: MetricsRegistry) {
        self.duration = registry.histogram(
            "vecraft_request_duration_seconds",
            help: "Time from a request read whole to its answer handed to the wire.",
            labels: ["tier", "operation", "consistency_level"])
        self.total = registry.counter(
            "vecraft_request_total", help: "Requests answered, by the name of their gRPC status.",
            labels: ["tier", "operation", "status"])
        self.shed = registry.counter(
            "vecraft_request_shed_total",
            help:
                "Requests refused because the server had no room for them, by reason; they count against availability.",
            labels: ["tier", "reason"])
        self.errorBudgetRemaining = registry.gauge(
            "vecraft_error_budget_remaining",
            help:
                "Part of the error budget that is left, of availability or latency the smaller; negative when overspent.",
            labels: ["tier"])
        self.burnRate = registry.gauge(
            "vecraft_slo_burn_rate",
            help:
                "Speed at which the error budget is spent, of availability or latency the faster; 1 spends it exactly in its period.",
            labels: ["tier", "window"])
        self.capacityUtilization = registry.gauge(
            "vecraft_capacity_utilization", help: "Used part of the capacity of a service, 0 to 1.",
            labels: ["tier", "service"])
        self.degradationActive = registry.gauge(
            "vecraft_degradation_active", help: "1 while requests of the tier are degraded for the reason.",
            labels: ["tier", "reason"])
    }

    /// The metrics of one operation. Make it once, when the method is registered, never per request.
    /// - Parameter name: Snake case, from the fixed set of the API's methods ("search", "create_collection").
    package func operation(_ name: String) -> OperationMetrics { OperationMetrics(name, self) }
}

/// Counts and times one operation's requests without lock or allocation, once each of its series has been used.
package final class OperationMetrics: Sendable {
    // Written out: `allCases` builds an array at each asking, 25 ns each, as much as all the rest.
    private static let levels = 5
    private static let codes = 17

    package let name: String
    private let metrics: RequestMetrics
    // Made when first used: of 88 label sets an operation could have, it has a handful.
    private let durations: InlineArray<20, LazySlot<Histogram>>
    private let totals: InlineArray<68, LazySlot<Counter>>

    init(_ name: String, _ metrics: RequestMetrics) {
        precondition(ConsistencyLabel.allCases.count == Self.levels && Tier.allCases.count * Self.levels == 20)
        precondition(VecraftError.Code.allCases.count == Self.codes && Tier.allCases.count * Self.codes == 68)
        self.name = name
        self.metrics = metrics
        self.durations = InlineArray { _ in LazySlot() }
        self.totals = InlineArray { _ in LazySlot() }
    }

    /// Records one answered request.
    /// - Parameters:
    ///   - level: Achieved, not asked for.
    ///   - trace: When sampled, may become an exemplar.
    package func record(
        tier: Tier, level: ConsistencyLabel, code: VecraftError.Code, nanoseconds: UInt64, trace: TraceContext? = nil
    ) {
        let d = Int(tier.rawValue) * Self.levels + level.rawValue
        let duration = self.durations[d].get { self.metrics.duration.with(tier.label, self.name, level.text) }
        let t = Int(tier.rawValue) * Self.codes + code.rawValue
        let total = self.totals[t].get { self.metrics.total.with(tier.label, self.name, code.name) }
        duration.observe(nanoseconds: nanoseconds, trace: trace)
        total.increment()
    }

    /// The same of a request that failed; knows whether it was shed.
    package func record(
        tier: Tier, level: ConsistencyLabel, error: VecraftError, nanoseconds: UInt64, trace: TraceContext? = nil
    ) {
        self.record(tier: tier, level: level, code: error.code, nanoseconds: nanoseconds, trace: trace)
        if error.isShed { self.metrics.shed.with(tier.label, error.reason ?? "none").increment() }
    }
}

extension VecraftError {
    /// The server had no room: it refuses and says when to come again. What is refused for its own size
    /// (`ANSWER_TOO_LARGE`, `MESSAGE_TOO_LARGE`) has the same code, and is the caller's affair.
    package var isShed: Bool {
        self.code == .resourceExhausted && (self.retryAfter != nil || self.reason == "DISK_FULL")
    }
}
