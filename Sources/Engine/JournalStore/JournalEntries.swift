package import Primitives

/// Batches of a partition in order, without end: reading waits for commits. One batch is in memory at a time, whatever the
/// distance to the end.
package struct JournalEntries: AsyncSequence, Sendable {
    package typealias Element = EntryBatch
    package typealias Failure = VecraftError
    let partition: JournalPartition
    let from: JournalOffset
    let maxBatchBytes: Int

    package func makeAsyncIterator() -> Iterator {
        Iterator(partition: self.partition, next: self.from, maxBatchBytes: self.maxBatchBytes)
    }

    package struct Iterator: AsyncIteratorProtocol {
        let partition: JournalPartition
        var next: JournalOffset
        let maxBatchBytes: Int

        package mutating func next() async throws(VecraftError) -> EntryBatch? { try await self.next(isolation: nil) }

        /// Nil when the task is cancelled, or the partition has been closed and all is read.
        package mutating func next(isolation actor: isolated (any Actor)?) async throws(VecraftError) -> EntryBatch? {
            let log = self.partition.log
            while !Task.isCancelled {
                // Asked before the look: what was committed before the end is then seen.
                let isEnded = log.notices.isEnded
                if log.committed >= self.next {
                    let batch = try log.read(from: self.next, maxBytes: self.maxBatchBytes)
                    self.next = batch.nextOffset
                    return batch
                }
                if isEnded { return nil }
                await log.notices.wait(for: self.next) { log.committed }
            }
            return nil
        }
    }
}
