internal import GRPC
import JournalStore
internal import Logging
import Observability
package import Primitives
internal import Synchronization

/// Turns what the journal tells into metrics and log lines.
package final class JournalReporting: JournalObserver {
    private struct Handles {
        let append: Histogram
        let fsync: Histogram
        let batchEntries: Histogram
        let batchBytes: Histogram
        let entries: Counter
        let bytes: Counter
        let replayed: Counter
        let tornTails: Counter
        let diskBytes: Gauge
        let segments: Gauge
        let queueBytes: Gauge
    }
    private let metrics: JournalMetrics
    private let handles = Mutex<[PartitionID: Handles]>([:])
    private let failures = Mutex<[PartitionID: VecraftError]>([:])
    /// Appends have been refused for a full disk, and no room was seen since.
    private let isFull = Atomic(false)
    private let hasRoom: @Sendable () -> Bool
    private let log = Logger(label: "vecraft.journal")

    private static let diskFull = "DISK_FULL"

    /// - Parameter hasRoom: Whether the disk has more free than the reserve. Asked only after an append was refused for a full
    ///   disk, to learn when that is over; must answer at once.
    package init(_ metrics: JournalMetrics, hasRoom: @escaping @Sendable () -> Bool) {
        self.metrics = metrics
        self.hasRoom = hasRoom
    }

    /// Writes are refused because the disk is full. Looks whether that is still so.
    package var isDiskFull: Bool {
        if self.isFull.load(ordering: .relaxed) { self.lookForRoom() }
        return self.isFull.load(ordering: .relaxed)
    }

    private func lookForRoom() {
        guard self.hasRoom(), self.isFull.exchange(false, ordering: .relaxed) else { return }
        self.log.notice("the disk has room again, writes are taken")
    }

    /// Partitions that have shut themselves, with the reason: not ready until opened anew.
    package var failed: [(partition: PartitionID, error: VecraftError)] {
        self.failures.withLock { $0.sorted { $0.key < $1.key }.map { ($0.key, $0.value) } }
    }

    /// The longest of the partitions' queues, in bytes of entries that wait to be written.
    package var longestQueue: Int {
        self.handles.withLock { $0.values.reduce(0) { max($0, Int($1.queueBytes.value)) } }
    }

    /// Copies positions into the gauges; for the scrape.
    package func collect(_ journal: any JournalClient) {
        for id in journal.partitions {
            guard let status = try? journal.status(id) else { continue }
            let name = id.description
            self.metrics.committed.with(name).set(status.committed)
            self.metrics.first.with(name).set(status.first)
            self.metrics.term.with(name).set(status.term)
            self.metrics.diskBytes.with(name).set(status.diskBytes)
            self.metrics.segments.with(name).set(status.segments)
            self.metrics.lastTimestamp.with(name).set(Double(status.lastHLC.milliseconds) / 1000)
        }
    }

    package func committed(
        partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration, waited: Duration
    ) {
        self.acknowledged(partition: partition, waited: waited)
        self.synced(partition: partition, entries: entries, bytes: bytes, write: write, sync: sync)
    }

    package func acknowledged(partition: PartitionID, waited: Duration) { self.handles(partition).append.observe(waited) }

    package func synced(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration) {
        let handles = self.handles(partition)
        handles.fsync.observe(sync)
        handles.batchEntries.observe(Double(entries))
        handles.batchBytes.observe(Double(bytes))
        handles.entries.increment(by: UInt64(entries))
        handles.bytes.increment(by: UInt64(bytes))
        // Deletes are taken on a full disk too, so a commit alone says nothing.
        if self.isFull.load(ordering: .relaxed) { self.lookForRoom() }
    }

    /// Callers over the wire hear of their batch together: one wake-up of each event loop, not one an append.
    package func answering(_ answer: () -> Void) { GRPCServer.gatherAnswers(answer) }

    package func queued(partition: PartitionID, entries: Int, bytes: Int) {
        self.handles(partition).queueBytes.set(bytes)
    }

    package func replayed(partition: PartitionID) { self.handles(partition).replayed.increment() }

    package func refused(partition: PartitionID, reason: String) {
        self.metrics.rejected.with(partition.description, reason).increment()
        if reason == Self.diskFull, !self.isFull.exchange(true, ordering: .relaxed) {
            self.log.error("the disk is full, writes are refused until there is room", metadata: ["partition": "\(partition)"])
        }
    }

    package func tailCut(partition: PartitionID, file: String, position: Int, bytes: Int) {
        self.handles(partition).tornTails.increment()
        self.log.warning(
            "unacknowledged tail cut",
            metadata: ["partition": "\(partition)", "file": "\(file)", "byte": "\(position)", "bytes": "\(bytes)"])
    }

    package func segments(partition: PartitionID, count: Int, diskBytes: Int) {
        let handles = self.handles(partition)
        handles.segments.set(count)
        handles.diskBytes.set(diskBytes)
    }

    package func failed(partition: PartitionID, error: VecraftError) {
        self.failures.withLock { $0[partition] = error }
        self.log.critical("journal partition closed itself", metadata: ["partition": "\(partition)", "error": "\(error)"])
    }

    private func handles(_ partition: PartitionID) -> Handles {
        self.handles.withLock { known in
            if let handles = known[partition] { return handles }
            let name = partition.description
            let made = Handles(
                append: self.metrics.appendSeconds.with(name), fsync: self.metrics.fsyncSeconds.with(name),
                batchEntries: self.metrics.batchEntries.with(name), batchBytes: self.metrics.batchBytes.with(name),
                entries: self.metrics.entries.with(name), bytes: self.metrics.bytes.with(name),
                replayed: self.metrics.replayed.with(name), tornTails: self.metrics.tornTails.with(name),
                diskBytes: self.metrics.diskBytes.with(name), segments: self.metrics.segments.with(name),
                queueBytes: self.metrics.queueBytes.with(name))
            known[partition] = made
            return made
        }
    }
}
