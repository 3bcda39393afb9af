package import Synchronization

/// A count that only grows. Lock-free; any thread.
///
/// Whole numbers are added to an integer, so a count stays exact past 2^53; fractions (seconds of CPU) go to a Double
/// beside it.
package final class Counter: MetricSeries {
    @usableFromInline let whole = Atomic<UInt64>(0)
    /// Bit pattern of a Double.
    @usableFromInline let fraction = Atomic<UInt64>(0)
    @usableFromInline let isOn: Bool

    /// - Parameter isOn: False: counts nothing, for who wants to know what counting costs.
    package init(isOn: Bool = true) { self.isOn = isOn }

    @inlinable package func increment(by amount: UInt64 = 1) {
        if self.isOn { self.whole.wrappingAdd(amount, ordering: .relaxed) }
    }

    /// Adds a fraction, for counts of seconds. Anything but a finite positive amount is ignored: a counter never falls.
    package func add(_ amount: Double) {
        guard amount > 0, amount.isFinite, self.isOn else { return }
        addDouble(amount, to: self.fraction)
    }

    /// Mirrors a count kept elsewhere (the kernel's, a library's); for collectors at scrape.
    package func mirror(_ count: UInt64) { self.whole.store(count, ordering: .relaxed) }

    /// Mirrors a fractional count kept elsewhere.
    package func mirror(seconds: Double) { self.fraction.store(seconds.bitPattern, ordering: .relaxed) }

    /// What was counted in whole numbers, exactly.
    package var count: UInt64 { self.whole.load(ordering: .relaxed) }

    package var value: Double {
        Double(self.count) + Double(bitPattern: self.fraction.load(ordering: .relaxed))
    }

    package func render(_ series: SeriesName, into text: inout ExpositionText) {
        if self.fraction.load(ordering: .relaxed) == 0 {
            text.sample(series.name, labels: series.labels, value: self.count)
        } else {
            text.sample(series.name, labels: series.labels, value: self.value)
        }
    }
}

/// A value that goes up and down. Lock-free; any thread.
package final class Gauge: MetricSeries {
    /// Bit pattern of a Double.
    @usableFromInline let bits = Atomic<UInt64>(0)

    package init() {}

    @inlinable package func set(_ value: Double) { self.bits.store(value.bitPattern, ordering: .relaxed) }
    @inlinable package func set(_ value: some BinaryInteger) { self.set(Double(value)) }

    /// Adds `amount`, which may be negative.
    package func add(_ amount: Double) { addDouble(amount, to: self.bits) }

    package var value: Double { Double(bitPattern: self.bits.load(ordering: .relaxed)) }

    package func render(_ series: SeriesName, into text: inout ExpositionText) {
        text.sample(series.name, labels: series.labels, value: self.value)
    }
}

/// Adds to a Double kept as bits. A loop, for there is no atomic addition of floating point.
func addDouble(_ amount: Double, to cell: borrowing Atomic<UInt64>) {
    var seen = cell.load(ordering: .relaxed)
    while true {
        let sum = (Double(bitPattern: seen) + amount).bitPattern
        let (exchanged, original) = cell.weakCompareExchange(expected: seen, desired: sum, ordering: .relaxed)
        if exchanged { return }
        seen = original
    }
}
