package import Primitives

/// What a partition tells the metrics. Called from the writer thread (or the opener): must be cheap and must not block.
package protocol JournalObserver: Sendable {
    /// One batch is durable.
    ///
    /// - Parameters:
    ///   - bytes: Written, frames included.
    ///   - write: Of the system call that wrote.
    ///   - sync: Of the `fdatasync`.
    ///   - waited: Of the batch's oldest append, from its call until it was durable.
    func committed(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration, waited: Duration)
    /// Entries are durable on this replica of a group.
    func synced(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration)
    /// Appends to a group were acknowledged; `waited` is the oldest one's, from its call until a majority had it.
    func acknowledged(partition: PartitionID, waited: Duration)
    /// A batch is answered: `answer` calls the completions of all that were in it, on this thread.
    func answering(_ answer: () -> Void)
    /// Appends waiting, after a batch was taken.
    func queued(partition: PartitionID, entries: Int, bytes: Int)
    /// An append was answered from the idempotency table.
    func replayed(partition: PartitionID)
    /// An append was refused; `reason` is the error's.
    func refused(partition: PartitionID, reason: String)
    /// The tail behind the last whole entry was cut at opening.
    func tailCut(partition: PartitionID, file: String, position: Int, bytes: Int)
    /// A segment was begun, or removed by trimming.
    func segments(partition: PartitionID, count: Int, diskBytes: Int)
    /// The partition closed itself after a failed `fdatasync`; it must be opened anew.
    func failed(partition: PartitionID, error: VecraftError)
}

extension JournalObserver {
    package func synced(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration) {}
    package func acknowledged(partition: PartitionID, waited: Duration) {}
    package func committed(partition: PartitionID, entries: Int, bytes: Int, write: Duration, sync: Duration, waited: Duration) {}
    package func answering(_ answer: () -> Void) { answer() }
    package func queued(partition: PartitionID, entries: Int, bytes: Int) {}
    package func replayed(partition: PartitionID) {}
    package func refused(partition: PartitionID, reason: String) {}
    package func tailCut(partition: PartitionID, file: String, position: Int, bytes: Int) {}
    package func segments(partition: PartitionID, count: Int, diskBytes: Int) {}
    package func failed(partition: PartitionID, error: VecraftError) {}
}
