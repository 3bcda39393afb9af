import HLC
internal import JournalFormat
package import JournalService
internal import JournalStore
internal import Logging
import Observability
package import Primitives
import ShardEngine
internal import Synchronization
internal import Tracing

/// Replays one data partition into this node's shards: entries in order, each once, then the applied offset is published.
package final class PartitionReplay: Sendable {
    package let partition: PartitionID
    package let waiters: AppliedWaiters
    package let receipts: ReceiptLog
    /// Committed offset when this process started: until it is applied, reads wait for it (``ReplicaState/floor``).
    package let floor: JournalOffset
    /// Offset from which this process replays.
    package let start: JournalOffset

    /// Applied before whoever waits for an offset is told: at the pace of the graph, some tens of milliseconds.
    static let batchBytes = 1 << 20

    let journal: any JournalClient
    private let clock: HLCClock
    private let follower: JournalFollower
    private let applyDelayMilliseconds: UInt64
    private let shards: Mutex<[ShardID: ShardReplica]> = Mutex([:])
    /// Held while a batch is applied, so that a shard comes and goes between batches and never within one. Holds the offset up to
    /// which all shards have been given their entries; what is published follows a moment later.
    private let applying: Mutex<JournalOffset>
    private let failure: Mutex<VecraftError?> = Mutex(nil)
    private let catalogReached: Mutex<(@Sendable () -> UInt64)?> = Mutex(nil)
    private let published: Mutex<ReplayMark>
    /// Offsets of the batch in hand that were passed over: a batch tried again counts them once.
    private let refused: Mutex<Set<JournalOffset>> = Mutex([])
    private let anchor = WallAnchor(wall: SystemTime.nextMillisecond, steady: SystemTime.steadyNanoseconds)
    private let averageEntryBytes = Atomic<UInt64>(0)
    private let metrics: Handles
    private let tracer: SpanTracer?
    private let log = Logger(label: "vecraft.storage")

    private struct Handles {
        let entries: Counter
        let bytes: Counter
        let seconds: Histogram
        let failures: Counter
        let refused: Counter
    }

    init(
        partition: PartitionID, start: JournalOffset, journal: any JournalClient, clock: HLCClock, receipts: ReceiptLog,
        applyDelayMilliseconds: UInt64, metrics: StorageMetrics, tracer: SpanTracer?
    ) throws(VecraftError) {
        self.tracer = tracer.flatMap { $0.recordsWork ? $0 : nil }
        self.partition = partition
        self.start = start
        self.journal = journal
        self.clock = clock
        self.receipts = receipts
        self.waiters = AppliedWaiters(applied: start)
        self.applying = Mutex(start)
        self.published = Mutex(ReplayMark(offset: start, milliseconds: 0))
        self.floor = try journal.position(partition).committed
        // With a delay one entry at a time: a batch is as late as its last entry, and its first would be late twice over.
        self.follower = JournalFollower(
            journal, partition: partition, maxBatchBytes: applyDelayMilliseconds > 0 ? 1 : Self.batchBytes)
        self.applyDelayMilliseconds = applyDelayMilliseconds
        let name = partition.description
        self.metrics = Handles(
            entries: metrics.appliedEntries.with(name), bytes: metrics.appliedBytes.with(name),
            seconds: metrics.applySeconds.with(name), failures: metrics.replayFailures.with(name),
            refused: metrics.refusedEntries.with(name))
    }

    func begin() throws(VecraftError) {
        try self.follower.start(
            from: self.start + 1, name: "replay \(self.partition)", yields: true,
            handle: { [self] in self.handle($0) }, idle: { [self] in self.idle() })
    }

    /// Stops after the batch in hand; nobody waits any longer.
    func stop() {
        self.follower.stop()
        self.waiters.close()
        self.receipts.close()
    }

    // MARK: Shards

    /// Adds a shard whose entries all come after what is applied now (a new collection), or before replay begins.
    func add(_ replica: ShardReplica) { self.shards.withLock { $0[replica.engine.id] = replica } }

    /// Removes a shard; when this returns no batch is being applied to it.
    func remove(_ id: ShardID) -> ShardReplica? {
        self.applying.withLock { _ in self.shards.withLock { $0.removeValue(forKey: id) } }
    }

    /// Runs between two batches; `body` gets the offset of the last one, behind which the next begins.
    func betweenBatches<R, E: Error>(_ body: (JournalOffset) throws(E) -> R) throws(E) -> R {
        try self.applying.withLock { (delivered) throws(E) in try body(delivered) }
    }

    // MARK: State

    package func state() throws(VecraftError) -> ReplicaState {
        let mark = self.mark
        let position = try self.journal.position(self.partition)
        let applied = self.waiters.applied
        return ReplicaState(
            applied: applied, committed: position.committed,
            stalenessMilliseconds: self.staleness(applied: applied, since: mark, position), floor: self.floor)
    }

    /// Take it before reading, for ``staleness(applied:since:)``.
    package var mark: ReplayMark { self.published.withLock { $0 } }

    /// Upper bound on the age of what an answer at `applied` may miss, milliseconds.
    ///
    /// Replay goes on while shards are read, so its newest time may be that of entries which the answer misses.
    /// - Parameter before: Taken before `applied` was; at the latest offset that it is true for.
    package func staleness(applied: JournalOffset, since before: ReplayMark) -> UInt64 {
        guard let position = try? self.journal.position(self.partition) else { return .max }
        return self.staleness(applied: applied, since: before, position)
    }

    private func staleness(applied: JournalOffset, since before: ReplayMark, _ position: JournalPosition) -> UInt64 {
        if applied >= position.committed, !self.journal.isReplicated { return 0 }
        if let since = self.journal.freshness(of: self.partition, at: applied) {
            // By one clock that nobody sets, whoever stamped what. Rounded up.
            let now = SystemTime.steadyNanoseconds
            return max(1, (now - min(since, now) + 999_999) / 1_000_000)
        }
        if applied >= position.committed {
            // Others may have committed what this node has not heard of: it is as fresh as its leader's last promise.
            let (now, closed) = (self.latestNow, position.closed.milliseconds)
            return now > closed ? now - closed : 0
        }
        let newest = self.mark
        let upTo = applied >= newest.offset ? newest.milliseconds : before.milliseconds
        let now = self.latestNow
        // An answer that misses something is never said to be fresh.
        return now > upTo ? now - upTo : 1
    }

    /// As late as it can be by the clock of whoever stamped an entry: known to be ahead of this one, or ahead by what is accepted.
    private var latestNow: UInt64 {
        let accepted = self.journal.isReplicated ? HLCState.defaultMaxOffset : 0
        let now = self.anchor.latest(wall: SystemTime.nextMillisecond, steady: SystemTime.steadyNanoseconds)
        return now + self.journal.clockSkewMilliseconds + accepted
    }

    /// Why replay stands still, if it does.
    package var standstill: VecraftError? { self.failure.withLock { $0 } }

    /// Of so many entries, by what they have had lately.
    func bytes(of entries: UInt64) -> UInt64 { entries * self.averageEntryBytes.load(ordering: .relaxed) }

    package var lag: (entries: UInt64, bytes: UInt64, milliseconds: UInt64) {
        guard let state = try? self.state() else { return (0, 0, 0) }
        let entries = state.committed - min(state.applied, state.committed)
        return (entries, entries * self.averageEntryBytes.load(ordering: .relaxed), state.stalenessMilliseconds)
    }

    // MARK: On the follower's thread

    private func handle(_ batch: Result<EntryBatch, VecraftError>) -> JournalFollower.Step {
        do throws(VecraftError) {
            let batch = try batch.get()
            if self.applyDelayMilliseconds > 0 { self.delay(batch) }
            if self.follower.isStopping { return .retry(after: .zero) }
            try self.apply(batch)
            if self.failure.withLock({ $0 != nil }) {
                self.failure.withLock { $0 = nil }
                self.log.notice("replay goes on", metadata: ["partition": "\(self.partition)"])
            }
            return .goOn
        } catch {
            self.metrics.failures.increment()
            if self.failure.withLock({ $0 != error }) {
                self.failure.withLock { $0 = error }
                self.log.error(
                    "replay stands still and will try again",
                    metadata: [
                        "partition": "\(self.partition)", "error": "\(error)", "applied": "\(self.waiters.applied)",
                    ])
            }
            return .retry(after: .seconds(1))
        }
    }

    /// Another node's collection may be written to before this one has heard of it: partitions are replayed each at its own pace.
    /// A collection's id is the HLC of the entry that made it, so an unknown one is waited for until `sys-0` has been applied that
    /// far; then it has been dropped, or its shard is here.
    private func awaitCatalog(of batch: EntryBatch) {
        guard let reached = self.catalogReached.withLock({ $0 }) else { return }
        var last: UInt64 = 0
        withExtendedLifetime(batch) {
            let known = self.shards.withLock { Set($0.keys.map(\.collection)) }
            for view in batch.views where !known.contains(view.collection) { last = max(last, view.collection) }
        }
        while last > reached(), !self.follower.isStopping { self.follower.pause(.milliseconds(2)) }
    }

    /// - Parameter reached: HLC up to which this node has applied `sys-0`. Nil in a journal without other nodes.
    package func awaitCatalogs(_ reached: (@Sendable () -> UInt64)?) { self.catalogReached.withLock { $0 = reached } }

    private func apply(_ batch: EntryBatch) throws(VecraftError) {
        self.awaitCatalog(of: batch)
        let start = SystemTime.monotonicNanoseconds
        try self.applying.withLock { (delivered) throws(VecraftError) in
            let shards = self.shards.withLock { Array($0.values) }
            try withExtendedLifetime(batch) { () throws(VecraftError) in
                let views = batch.views
                var judged: [UInt64: [EntryView]] = [:]
                for replica in shards where replica.engine.applied < batch.lastOffset {
                    let own = self.entries(of: replica, views, &judged)
                    try self.apply(own, to: replica, through: batch.lastOffset)
                }
                if let last = views.last { self.publish(last.offset, last.hlc) }
                // What a start replays was told of when it was new.
                if let tracer, batch.lastOffset > self.floor { self.trace(views, tracer, since: start) }
            }
            delivered = batch.lastOffset
        }
        self.refused.withLock { $0.removeAll() }
        self.receipts.note(batch.firstOffset, batch.lastOffset, at: self.clock.now())
        self.waiters.advance(to: batch.lastOffset)
        let average = self.averageEntryBytes.load(ordering: .relaxed)
        let now = UInt64(batch.bytes / max(batch.count, 1))
        self.averageEntryBytes.store(average == 0 ? now : (average * 7 + now) / 8, ordering: .relaxed)
        self.metrics.entries.increment(by: UInt64(batch.count))
        self.metrics.bytes.increment(by: UInt64(batch.bytes))
        self.metrics.seconds.observe(nanoseconds: SystemTime.monotonicNanoseconds &- start)
    }

    /// The writes of a batch that are sampled are linked to: their spans ended before this began.
    private func trace(_ views: [EntryView], _ tracer: SpanTracer, since start: UInt64) {
        var links: [TraceContext] = []
        for view in views {
            let trace = view.trace
            if trace.sampled { links.append(trace) }
        }
        guard !links.isEmpty, let first = views.first, let last = views.last else { return }
        let spent = SystemTime.monotonicNanoseconds &- start
        let now = SystemTime.nanoseconds
        tracer.report(
            "apply", .consumer, links: links, since: now - min(spent, now),
            [
                SpanField("vecraft.partition", self.partition.description),
                SpanField("vecraft.first_offset", first.offset), SpanField("vecraft.last_offset", last.offset),
                SpanField("vecraft.hlc", last.hlc.rawValue), SpanField("vecraft.entries", views.count),
                SpanField("vecraft.sampled_entries", links.count),
            ])
    }

    /// What of a batch is for a shard's collection. Of several shards each looks at its own points alone, so whether an entry is applied
    /// as a whole is decided before, once for all.
    func entries(
        of replica: ShardReplica, _ views: [EntryView], _ judged: inout [UInt64: [EntryView]]
    ) -> [EntryView] {
        let schema = replica.schema
        if let known = judged[schema.id] { return known }
        let own = views.filter { $0.collection == schema.id }
        guard schema.shards > 1 else { return own }
        let good = own.filter { entry in
            guard let what = EntryJudgement.refusal(entry, schema) else { return true }
            self.refuse(entry, replica, VecraftError(.dataLoss, what, reason: EntryJudgement.reason))
            return false
        }
        judged[schema.id] = good
        return good
    }

    /// Applies a shard's entries. One that cannot be applied is passed over, whole: the judgement is a function of entry and
    /// schema (``EntryJudgement``), so all replicas pass over the same ones, and one bad entry does not stop the partition.
    func apply(
        _ entries: [EntryView], to replica: ShardReplica, through: JournalOffset
    ) throws(VecraftError) {
        var rest = entries
        while true {
            do throws(VecraftError) {
                return try replica.engine.apply(rest, through: through)
            } catch {
                let applied = replica.engine.applied
                guard error.reason == EntryJudgement.reason,
                    let bad = rest.firstIndex(where: { $0.offset > applied })
                else { throw error }
                self.refuse(rest[bad], replica, error)
                rest.removeSubrange(...bad)
            }
        }
    }

    private func refuse(_ entry: EntryView, _ replica: ShardReplica, _ error: VecraftError) {
        guard self.refused.withLock({ $0.insert(entry.offset).inserted }) else { return }
        self.metrics.refused.increment()
        self.log.error(
            "an entry that cannot be applied was passed over",
            metadata: entry.logFields.merging([
                "partition": "\(self.partition)", "offset": "\(entry.offset)", "collection": "\(replica.schema.name)",
                "why": "\(error.message)",
            ]) { own, _ in own })
    }

    private func idle() {
        self.receipts.flush()
        // Read in this order: what is closed now is true of everything committed up to `committed`.
        guard let position = try? self.journal.position(self.partition), self.waiters.applied >= position.committed
        else { return }
        self.publish(position.committed, position.closed)
    }

    private func publish(_ offset: JournalOffset, _ hlc: HLCTimestamp) {
        self.published.withLock { $0 = ReplayMark(offset: offset, milliseconds: hlc.milliseconds) }
    }

    /// Fault injection (`storage.apply_delay_ms`): holds a batch back until its last entry is that old.
    private func delay(_ batch: EntryBatch) {
        guard batch.count > 0 else { return }
        let due = batch.view(batch.count - 1).hlc.milliseconds + self.applyDelayMilliseconds
        let now = SystemTime.coarseMilliseconds
        if due > now { self.follower.pause(.milliseconds(due - now)) }
    }
}
