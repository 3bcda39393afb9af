package import Metrics
import Synchronization

/// Lets libraries that report through swift-metrics appear on our page.
///
/// Their names are made Prometheus names behind the prefix `lib_`, so none can collide with ours: counters get
/// `_total`, timers become histograms in `_seconds`, recorders histograms or gauges. A family keeps the dimensions it
/// was first made with; a later maker with others fills what it has. A name used for two kinds is counted for its first
/// kind only.
package struct MetricsBridge: MetricsFactory {
    private let registry: MetricsRegistry
    private let sizes: Buckets

    package init(_ registry: MetricsRegistry, recorderBuckets: Buckets = .bytes) {
        self.registry = registry
        self.sizes = recorderBuckets
    }

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        BridgedCounter(self.counter(label, dimensions))
    }

    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        BridgedCounter(self.counter(label, dimensions))
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        BridgedGauge(self.gauge(label, dimensions))
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        if !aggregate { return BridgedGauge(self.gauge(label, dimensions)) }
        return BridgedHistogram(self.histogram(Self.name(label, dropping: Self.reserved), dimensions, self.sizes))
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        BridgedHistogram(self.histogram(Self.name(label, dropping: ["_seconds"]) + "_seconds", dimensions, .seconds))
    }

    // Series outlive their makers: a counter that vanishes and comes back looks like a restart.
    package func destroyCounter(_ handler: any CounterHandler) {}
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) {}
    package func destroyMeter(_ handler: any MeterHandler) {}
    package func destroyRecorder(_ handler: any RecorderHandler) {}
    package func destroyTimer(_ handler: any TimerHandler) {}

    private func counter(_ label: String, _ dimensions: [(String, String)]) -> Counter {
        let name = Self.name(label, dropping: ["_total"]) + "_total"
        return self.series(name, .counter, dimensions, [], make: { Counter() })
    }

    private func gauge(_ label: String, _ dimensions: [(String, String)]) -> Gauge {
        let name = Self.name(label, dropping: Self.reserved)
        return self.series(name, .gauge, dimensions, [], make: Gauge.init)
    }

    private func histogram(_ name: String, _ dimensions: [(String, String)], _ buckets: Buckets) -> Histogram {
        self.series(name, .histogram, dimensions, buckets.bounds) { Histogram(buckets) }
    }

    private func series<Series: MetricSeries>(
        _ name: String, _ kind: MetricDeclaration.Kind, _ dimensions: [(String, String)], _ buckets: [Double],
        make: @escaping @Sendable () -> Series
    ) -> Series {
        var values: [String: String] = [:]
        for (key, value) in dimensions { values[Self.labelName(key)] = value }
        let family: MetricFamily<Series>? = self.registry.adopt(
            MetricDeclaration(
                name: name, kind: kind, help: "Reported by a library through swift-metrics.",
                labels: values.keys.sorted(),
                buckets: buckets), make: make)
        guard let family else { return make() }
        return family.with(family.declaration.labels.map { values[$0] ?? "" })
    }

    /// Endings that mean something on a page.
    private static let reserved = ["_total", "_count", "_sum", "_bucket"]

    private static func name(_ label: String, dropping suffixes: [String]) -> String {
        var name = Self.legal(label)
        while let suffix = suffixes.first(where: name.hasSuffix) { name.removeLast(suffix.count) }
        return "lib_" + name
    }

    private static func labelName(_ key: String) -> String {
        let name = Self.legal(key)
        return ["le", "quantile"].contains(name) || name.hasPrefix("_") || name.first?.isNumber != false
            ? "label_" + name : name
    }

    /// Lower-case letters, digits and underscores; "requestCount" and "request.count" both become `request_count`.
    private static func legal(_ text: String) -> String {
        var name = ""
        var afterLower = false
        for byte in text.utf8 {
            switch byte {
            case 0x41...0x5a:
                if afterLower { name += "_" }
                name.unicodeScalars.append(Unicode.Scalar(byte + 0x20))
                afterLower = false
            case 0x61...0x7a, 0x30...0x39:
                name.unicodeScalars.append(Unicode.Scalar(byte))
                afterLower = true
            default:
                name += "_"
                afterLower = false
            }
        }
        return name
    }
}

private final class BridgedCounter: CounterHandler, FloatingPointCounterHandler {
    private let counter: Counter
    init(_ counter: Counter) { self.counter = counter }
    func increment(by amount: Int64) { if amount > 0 { self.counter.increment(by: UInt64(amount)) } }
    func increment(by amount: Double) { self.counter.add(amount) }
    // A Prometheus counter is reset by a restart alone.
    func reset() {}
}

private final class BridgedGauge: MeterHandler, RecorderHandler {
    private let gauge: Gauge
    init(_ gauge: Gauge) { self.gauge = gauge }
    func set(_ value: Int64) { self.gauge.set(value) }
    func set(_ value: Double) { self.gauge.set(value) }
    func increment(by amount: Double) { self.gauge.add(amount) }
    func decrement(by amount: Double) { self.gauge.add(-amount) }
    func record(_ value: Int64) { self.gauge.set(value) }
    func record(_ value: Double) { self.gauge.set(value) }
}

private final class BridgedHistogram: RecorderHandler, TimerHandler {
    private let histogram: Histogram
    init(_ histogram: Histogram) { self.histogram = histogram }
    func record(_ value: Int64) { self.histogram.observe(Double(value)) }
    func record(_ value: Double) { self.histogram.observe(value) }
    func recordNanoseconds(_ duration: Int64) { self.histogram.observe(Double(duration) * 1e-9) }
}
