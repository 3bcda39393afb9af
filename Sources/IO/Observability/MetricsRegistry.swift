import Synchronization

/// All metrics of one process, and the page that shows them.
///
/// Declare a subsystem's metrics in one documented struct that makes its handles in `init(_ registry: MetricsRegistry)`
/// (``RequestMetrics`` shows the pattern). Declaring a name again with the same kind and labels gives the same family,
/// so two instances of a subsystem may share one; declaring it differently is a bug and traps.
///
/// Names: prefix, base unit, `_total` on counters alone; checked here, so a name that `promtool check metrics` would
/// object to never gets as far as a page.
package final class MetricsRegistry: Sendable {
    private struct State {
        var families: [String: any AnyMetricFamily] = [:]
        var order: [any AnyMetricFamily] = []
        var collectors: [Int: @Sendable () -> Void] = [:]
        var nextCollector = 0
    }

    /// How many label sets a family holds before further ones share the series "other". 1,000: the largest family then
    /// is 18,000 lines of a page, 8 ms to write.
    package let maximumSeriesPerFamily: Int
    /// False: counters and histograms stay at zero, and there is no page worth showing.
    package let isOn: Bool
    private let state = Mutex(State())
    private let folded: CounterFamily

    package init(maximumSeriesPerFamily: Int = 1_000, isOn: Bool = true) {
        precondition(maximumSeriesPerFamily > 0)
        self.isOn = isOn
        self.maximumSeriesPerFamily = maximumSeriesPerFamily
        let declaration = MetricDeclaration(
            name: "vecraft_metrics_label_sets_folded_total", kind: .counter,
            help: "Requests for a label set that found its family full and were counted under the label value other.",
            labels: ["family"], buckets: [])
        self.folded = MetricFamily(declaration, maximumSeries: maximumSeriesPerFamily, folded: nil) {
            Counter()
        }
        self.state.withLock { state in
            state.families[declaration.name] = self.folded
            state.order.append(self.folded)
        }
    }

    // MARK: Declaring

    package func counter(_ name: String, help: String, labels: [String]) -> CounterFamily {
        self.declare(name, .counter, help, labels, []) { [isOn] in Counter(isOn: isOn) }
    }

    package func counter(_ name: String, help: String) -> Counter {
        self.counter(name, help: help, labels: []).with([])
    }

    package func gauge(_ name: String, help: String, labels: [String]) -> GaugeFamily {
        self.declare(name, .gauge, help, labels, [], make: Gauge.init)
    }

    package func gauge(_ name: String, help: String) -> Gauge {
        self.gauge(name, help: help, labels: []).with([])
    }

    package func histogram(
        _ name: String, help: String, labels: [String], buckets: Buckets = .seconds
    ) -> HistogramFamily {
        self.declare(name, .histogram, help, labels, buckets.bounds) { [isOn] in Histogram(buckets, isOn: isOn) }
    }

    package func histogram(_ name: String, help: String, buckets: Buckets = .seconds) -> Histogram {
        self.histogram(name, help: help, labels: [], buckets: buckets).with([])
    }

    /// What is declared, in order of declaration.
    package var declarations: [MetricDeclaration] { self.state.withLock { $0.order.map(\.declaration) } }

    private func declare<Series>(
        _ name: String, _ kind: MetricDeclaration.Kind, _ help: String, _ labels: [String], _ buckets: [Double],
        make: @escaping @Sendable () -> Series
    ) -> MetricFamily<Series> {
        let declaration = MetricDeclaration(name: name, kind: kind, help: help, labels: labels, buckets: buckets)
        guard let family = self.declareIfFree(declaration, make: make) else {
            preconditionFailure("metric \(name) is declared twice, differently")
        }
        return family
    }

    /// The family of this declaration, or nil if the name is taken by another kind or other labels.
    func declareIfFree<Series>(
        _ declaration: MetricDeclaration, make: @escaping @Sendable () -> Series
    ) -> MetricFamily<Series>? {
        declaration.check()
        return self.state.withLock { state in
            if let known = state.families[declaration.name] {
                guard known.declaration.labels == declaration.labels, known.declaration.buckets == declaration.buckets
                else { return nil }
                return known as? MetricFamily<Series>
            }
            let family = MetricFamily(
                declaration, maximumSeries: self.maximumSeriesPerFamily, folded: self.folded,
                make: make)
            state.families[declaration.name] = family
            state.order.append(family)
            return family
        }
    }

    /// For names that are not ours to choose: the family that has the name already, whatever its labels, or a new one;
    /// nil if the name is taken by another kind.
    func adopt<Series>(
        _ declaration: MetricDeclaration, make: @escaping @Sendable () -> Series
    ) -> MetricFamily<Series>? {
        if let known = self.state.withLock({ $0.families[declaration.name] }) { return known as? MetricFamily<Series> }
        // Between the two locks another may have declared it; then this asks again.
        return self.declareIfFree(declaration, make: make)
            ?? self.state.withLock { $0.families[declaration.name] as? MetricFamily<Series> }
    }

    // MARK: Scraping

    /// Runs `collect` before each page is written, to set gauges from what is known elsewhere. It must be quick and
    /// never wait.
    @discardableResult
    package func onScrape(_ collect: @escaping @Sendable () -> Void) -> CollectorHandle {
        self.state.withLock { state in
            let id = state.nextCollector
            state.nextCollector += 1
            state.collectors[id] = collect
            return CollectorHandle(id: id, registry: self)
        }
    }

    fileprivate func removeCollector(_ id: Int) {
        _ = self.state.withLock { $0.collectors.removeValue(forKey: id) }
    }

    /// The page: collectors first, then every family that has a series, in order of declaration.
    package func page(_ format: ExpositionFormat = .text) -> [UInt8] {
        for collect in self.state.withLock({ $0.collectors.sorted { $0.key < $1.key }.map(\.value) }) { collect() }
        var text = ExpositionText(format)
        for family in self.state.withLock({ $0.order }) { family.render(into: &text) }
        text.end()
        return text.bytes
    }
}

/// Ends a collector's duty; without ``cancel()`` it serves as long as the registry.
package struct CollectorHandle: Sendable {
    fileprivate let id: Int
    fileprivate let registry: MetricsRegistry
    package func cancel() { self.registry.removeCollector(self.id) }
}
