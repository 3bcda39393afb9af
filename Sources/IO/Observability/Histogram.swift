package import Primitives
import Synchronization

/// Upper bounds of a histogram's buckets, ascending; the bucket for everything above is implied.
package struct Buckets: Sendable, Equatable {
    package let bounds: [Double]

    /// - Parameter bounds: Ascending and finite, 1 to 64 of them: each is a series for Prometheus to keep.
    package init(_ bounds: [Double]) {
        precondition((1...64).contains(bounds.count), "\(bounds.count) buckets, not 1 to 64")
        precondition(zip(bounds, bounds.dropFirst()).allSatisfy { $0 < $1 }, "buckets out of order: \(bounds)")
        precondition(bounds.allSatisfy(\.isFinite), "the infinite bucket is implied: \(bounds)")
        self.bounds = bounds
    }

    /// The one set for durations, 0.5 ms to 60 s, with a bound at every latency objective of the tiers
    /// (25, 50, 200 and 1000 ms), so that an objective can be read off exactly.
    package static let seconds = Buckets([
        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1, 2.5, 5, 10, 30, 60,
    ])

    /// Sizes from 64 bytes to 64 MiB, by four.
    package static let bytes = Buckets([
        64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864,
    ])

    /// Numbers of things in a batch, 1 to 10,000.
    package static let counts = Buckets([1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000])
}

/// How observations are distributed. Lock-free but for exemplars, which never wait.
// @unchecked: `cells` points at atomics of fixed number, allocated in `init` and freed in `deinit`; nothing else is
// mutable outside a lock.
package final class Histogram: MetricSeries, @unchecked Sendable {
    package let buckets: Buckets
    private let bounds: UnsafeMutableBufferPointer<Double>
    /// One per bound and one above; not cumulative. The count of observations is their sum, so the two never disagree.
    private let cells: UnsafeMutablePointer<Atomic<UInt64>>
    /// Bit pattern of a Double.
    private let sumBits = Atomic<UInt64>(0)
    /// The last sampled observation of each bucket.
    private let exemplars: Mutex<[Exemplar?]>
    private let isOn: Bool

    package struct Exemplar: Sendable, Equatable {
        package var traceHigh: UInt64
        package var traceLow: UInt64
        package var value: Double
        /// Milliseconds since 1970.
        package var milliseconds: UInt64
    }

    /// - Parameter isOn: False: counts nothing, for who wants to know what counting costs.
    package init(_ buckets: Buckets = .seconds, isOn: Bool = true) {
        self.isOn = isOn
        let count = buckets.bounds.count
        self.buckets = buckets
        self.bounds = .allocate(capacity: count)
        _ = self.bounds.initialize(from: buckets.bounds)
        self.cells = .allocate(capacity: count + 1)
        for i in 0...count { (self.cells + i).initialize(to: Atomic(0)) }
        self.exemplars = Mutex(Array(repeating: nil, count: count + 1))
    }

    deinit {
        self.cells.deinitialize(count: self.bounds.count + 1)
        self.cells.deallocate()
        self.bounds.deallocate()
    }

    /// Counts one observation.
    /// - Parameters:
    ///   - value: In the metric's base unit (seconds, bytes). NaN is ignored: it would spoil the sum for good.
    ///   - trace: When sampled, becomes the exemplar of its bucket.
    package func observe(_ value: Double, trace: TraceContext? = nil) {
        if value.isNaN || !self.isOn { return }
        // A scan: most observations fall in the first few buckets, and there are never more than 64.
        var i = 0
        while i < self.bounds.count, value > self.bounds[i] { i &+= 1 }
        self.cells[i].wrappingAdd(1, ordering: .relaxed)
        addDouble(value, to: self.sumBits)
        if let trace, trace.sampled { self.keep(trace, value, bucket: i) }
    }

    /// Counts one duration in a histogram of seconds.
    package func observe(nanoseconds: UInt64, trace: TraceContext? = nil) {
        self.observe(Double(nanoseconds) * 1e-9, trace: trace)
    }

    /// Counts one duration in a histogram of seconds.
    package func observe(_ duration: Duration, trace: TraceContext? = nil) {
        self.observe(duration.seconds, trace: trace)
    }

    private func keep(_ trace: TraceContext, _ value: Double, bucket: Int) {
        let exemplar = Exemplar(
            traceHigh: trace.traceHigh, traceLow: trace.traceLow, value: value,
            milliseconds: SystemTime.coarseMilliseconds)
        // If somebody else is writing one, theirs serves as well: a request never waits for its metrics.
        _ = self.exemplars.withLockIfAvailable { $0[bucket] = exemplar }
    }

    package struct Snapshot: Sendable, Equatable {
        /// Not cumulative; one more than the bounds.
        package var counts: [UInt64]
        package var sum: Double
        package var exemplars: [Exemplar?]
        package var count: UInt64 { self.counts.reduce(0, &+) }
    }

    package var snapshot: Snapshot {
        Snapshot(
            counts: (0...self.bounds.count).map { self.cells[$0].load(ordering: .relaxed) },
            sum: Double(bitPattern: self.sumBits.load(ordering: .relaxed)),
            exemplars: self.exemplars.withLock { $0 })
    }

    /// Observations so far, and those of them above `bound`; nil if no bucket ends there, for then it is not known.
    package func count(above bound: Double) -> (all: UInt64, above: UInt64)? {
        guard let at = self.bounds.firstIndex(of: bound) else { return nil }
        var (all, above): (UInt64, UInt64) = (0, 0)
        for i in 0...self.bounds.count {
            let count = self.cells[i].load(ordering: .relaxed)
            all &+= count
            if i > at { above &+= count }
        }
        return (all, above)
    }

    package func render(_ series: SeriesName, into text: inout ExpositionText) {
        let now = self.snapshot
        var total: UInt64 = 0
        for (i, count) in now.counts.enumerated() {
            total += count
            let bound = i < self.bounds.count ? self.bounds[i] : .infinity
            text.bucket(series.name, labels: series.labels, bound: bound, count: total, exemplar: now.exemplars[i])
        }
        text.sample(series.name + "_sum", labels: series.labels, value: now.sum)
        text.sample(series.name + "_count", labels: series.labels, value: total)
    }
}
