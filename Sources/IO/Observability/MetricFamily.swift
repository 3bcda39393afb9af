import Synchronization

/// What a metric is, as declared: for exposition, and for the documentation made from it.
package struct MetricDeclaration: Sendable, Equatable {
    package enum Kind: String, Sendable { case counter, gauge, histogram }

    package let name: String
    package let kind: Kind
    package let help: String
    package let labels: [String]
    /// Bounds of a histogram; empty for other kinds.
    package let buckets: [Double]
}

/// One line's name and labels, rendered when the series was made.
package struct SeriesName: Sendable {
    package let name: String
    /// `tier="critical",operation="upsert"`, escaped; empty without labels.
    package let labels: String
}

/// One set of label values of a family: a counter, a gauge or a histogram.
package protocol MetricSeries: AnyObject, Sendable {
    func render(_ series: SeriesName, into text: inout ExpositionText)
}

/// A family seen without its kind.
protocol AnyMetricFamily: AnyObject, Sendable {
    var declaration: MetricDeclaration { get }
    var seriesCount: Int { get }
    func render(into text: inout ExpositionText)
}

package typealias CounterFamily = MetricFamily<Counter>
package typealias GaugeFamily = MetricFamily<Gauge>
package typealias HistogramFamily = MetricFamily<Histogram>

/// A named metric with labels: one series for each set of label values.
///
/// Ask for a series once and keep it: ``with(_:)`` takes a lock and builds strings, the series itself does not. The
/// number of series is bounded. Label sets past the bound share one series whose values are all "other", and are
/// counted in `vecraft_metrics_label_sets_folded_total`, so that a hostile or careless label costs accuracy, never
/// memory.
package final class MetricFamily<Series: MetricSeries>: AnyMetricFamily {
    private struct State {
        var series: [[String]: Int] = [:]
        var entries: [Entry] = []
        var other: Series?
    }
    private struct Entry {
        let values: [String]
        let name: SeriesName
        let series: Series
    }

    package let declaration: MetricDeclaration
    package let maximumSeries: Int
    private let state = Mutex(State())
    private let make: @Sendable () -> Series
    private let folded: CounterFamily?

    init(
        _ declaration: MetricDeclaration, maximumSeries: Int, folded: CounterFamily?,
        make: @escaping @Sendable () -> Series
    ) {
        self.declaration = declaration
        self.maximumSeries = maximumSeries
        self.folded = folded
        self.make = make
    }

    /// The series of these label values, made at the first asking.
    /// - Parameter values: One for each declared label, in the order declared.
    package func with(_ values: String...) -> Series { self.with(values) }

    package func with(_ values: [String]) -> Series {
        precondition(
            values.count == self.declaration.labels.count,
            "\(self.declaration.name) has labels \(self.declaration.labels), not \(values.count) of them")
        return self.state.withLock { state in
            if let at = state.series[values] { return state.entries[at].series }
            if state.entries.count < self.maximumSeries {
                return self.add(values, to: &state)
            }
            self.folded?.with(self.declaration.name).increment()
            if let other = state.other { return other }
            let other = self.add(values.map { _ in "other" }, to: &state)
            state.other = other
            return other
        }
    }

    /// Forgets a series, when what it measured is gone (a collection dropped, a shard moved). Who still holds it counts
    /// for nobody.
    package func remove(_ values: String...) {
        self.state.withLock { state in
            guard let at = state.series.removeValue(forKey: values) else { return }
            let last = state.entries.removeLast()
            if at < state.entries.count {
                state.entries[at] = last
                state.series[last.values] = at
            }
        }
    }

    /// Every series with its label values, in no order; for who computes from what is counted. Holds no lock meanwhile.
    package func forEach(_ body: (_ values: [String], _ series: Series) -> Void) {
        for entry in self.state.withLock({ $0.entries }) { body(entry.values, entry.series) }
    }

    /// Series held, the shared one included.
    package var seriesCount: Int { self.state.withLock { $0.entries.count } }

    private func add(_ values: [String], to state: inout State) -> Series {
        if let at = state.series[values] { return state.entries[at].series }
        let name = SeriesName(
            name: self.declaration.name, labels: ExpositionText.labels(self.declaration.labels, values))
        let series = self.make()
        state.series[values] = state.entries.count
        state.entries.append(Entry(values: values, name: name, series: series))
        return series
    }

    func render(into text: inout ExpositionText) {
        // A copy of the list, so that rendering holds no lock a request may want.
        let entries = self.state.withLock { $0.entries }
        // A family that nobody has used yet has nothing to say.
        if entries.isEmpty { return }
        text.header(self.declaration)
        for entry in entries.sorted(by: { $0.name.labels < $1.name.labels }) {
            entry.series.render(entry.name, into: &text)
        }
    }
}
