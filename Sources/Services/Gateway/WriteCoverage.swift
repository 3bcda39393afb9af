internal import JournalFormat
package import JournalService
package import JournalStore
package import Observability
package import Primitives
internal import Synchronization

/// What the sampled check of acknowledged writes has found.
package struct CoverageMetrics: Sendable {
    /// Acknowledged writes looked up in the journal, with a verdict.
    package let checked: Counter
    /// Of them, those that are not there as they were acknowledged.
    package let lost: Counter
    /// Part of the writes looked up that was found, 0 to 1; 1 before the first.
    package let coverage: Gauge

    package init(_ registry: MetricsRegistry) {
        self.checked = registry.counter(
            "vecraft_tracking_writes_checked_total",
            help: "Acknowledged writes, sampled, that were looked up in the journal.")
        self.lost = registry.counter(
            "vecraft_tracking_writes_lost_total",
            help: "Of the writes looked up, those not found with their HLC and request id; should be 0.")
        self.coverage = registry.gauge(
            "vecraft_tracking_coverage_ratio", help: "Part of the writes looked up that was found; 1 before the first.")
        self.coverage.set(1)
    }
}

/// A running check of the promise that lineage makes: each acknowledged write is found.
///
/// Of the writes that this gateway acknowledges every ``every``th is remembered, with what its caller was told, and looked up a
/// moment later by partition and offset. What cannot be decided (the partition has no leader, the entry was trimmed meanwhile)
/// gets no verdict. Bounded: ``capacity`` writes; the oldest make room.
package final class WriteCoverage: Sendable {
    package struct Sample: Sendable, Equatable {
        package var partition: PartitionID
        package var appended: Appended
        package var requestID: String
        /// Monotonic nanoseconds.
        package var at: UInt64

        package init(partition: PartitionID, appended: Appended, requestID: String, at: UInt64) {
            self.partition = partition
            self.appended = appended
            self.requestID = requestID
            self.at = at
        }
    }
    private enum Verdict { case found, lost, gone, unknown }

    package static let capacity = 1_024
    package static let every: UInt64 = 64
    /// Before it is looked up: this node may hear of a commit later than its caller.
    package static let delay: UInt64 = 1_000_000_000
    /// This node has still not heard of it: its leader is asked.
    package static let patience: UInt64 = 10_000_000_000

    private let journal: any JournalClient
    private let metrics: CoverageMetrics
    private let seen = Atomic<UInt64>(0)
    private let samples = Mutex<[Sample]>([])

    package init(_ journal: any JournalClient, _ metrics: CoverageMetrics) {
        self.journal = journal
        self.metrics = metrics
    }

    /// - Parameter always: Remembers it whichever it is.
    package func acknowledged(_ appended: Appended, in partition: PartitionID, requestID: String, always: Bool) {
        // Of a write that was made before the entry bears the first request's id.
        guard !appended.replayed else { return }
        let number = self.seen.wrappingAdd(1, ordering: .relaxed).oldValue
        guard always || number % Self.every == 0 else { return }
        self.remember(
            Sample(partition: partition, appended: appended, requestID: requestID, at: SystemTime.monotonicNanoseconds))
    }

    package func remember(_ sample: Sample) {
        self.samples.withLock { samples in
            if samples.count >= Self.capacity { samples.removeFirst(samples.count - Self.capacity + 1) }
            samples.append(sample)
        }
    }

    package var waiting: Int { self.samples.withLock { $0.count } }

    /// Looks up what has waited long enough.
    /// - Parameter now: Monotonic nanoseconds.
    package func check(now: UInt64 = SystemTime.monotonicNanoseconds) async {
        let due = self.samples.withLock { samples in
            let due = samples.filter { $0.at &+ Self.delay <= now }
            samples.removeAll { $0.at &+ Self.delay <= now }
            return due
        }
        for sample in due {
            switch await self.judge(sample, now) {
            case .found: self.metrics.checked.increment()
            case .lost:
                self.metrics.checked.increment()
                self.metrics.lost.increment()
            case .gone: break
            case .unknown: self.remember(sample)
            }
        }
        let checked = self.metrics.checked.count
        guard checked > 0 else { return }
        self.metrics.coverage.set(Double(checked - min(self.metrics.lost.count, checked)) / Double(checked))
    }

    private func judge(_ sample: Sample, _ now: UInt64) async -> Verdict {
        let offset = sample.appended.offset
        guard let position = try? self.journal.position(sample.partition) else { return .unknown }
        if offset < position.first { return .gone }
        if offset <= position.committed { return self.compare(sample) }
        guard now &- sample.at >= Self.patience else { return .unknown }
        do throws(VecraftError) {
            // What its leader says is committed includes every write acknowledged before.
            return try await self.journal.readIndex(sample.partition) < offset ? .lost : .unknown
        } catch { return .unknown }
    }

    private func compare(_ sample: Sample) -> Verdict {
        do throws(VecraftError) {
            let batch = try self.journal.read(sample.partition, from: sample.appended.offset, maxBytes: 1)
            return withExtendedLifetime(batch) { () -> Verdict in
                guard !batch.isEmpty else { return .lost }
                let entry = batch.view(0)
                let isSame =
                    entry.offset == sample.appended.offset && entry.hlc == sample.appended.hlc
                    && entry.requestID.elementsEqual(sample.requestID.utf8)
                return isSame ? .found : .lost
            }
        } catch {
            return error.reason == "TRIMMED" ? .gone : .unknown
        }
    }
}
