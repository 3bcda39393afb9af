package import Primitives

/// Where an append stands in the log. It is durable.
package struct Appended: Sendable, Equatable {
    package var offset: JournalOffset
    package var hlc: HLCTimestamp
    package var term: UInt64
    /// The same idempotency key had been appended before: this is that entry, nothing new was written.
    package var replayed: Bool

    package init(offset: JournalOffset, hlc: HLCTimestamp, term: UInt64, replayed: Bool = false) {
        self.offset = offset
        self.hlc = hlc
        self.term = term
        self.replayed = replayed
    }
}

/// Called once, from the partition's writer thread (or at once from the caller's when the append is refused): be cheap, never block.
package typealias AppendCompletion = @Sendable (Result<Appended, VecraftError>) -> Void

/// What reading a whole partition found.
package struct PartitionReport: Sendable, Equatable {
    package var partition: PartitionID
    /// 0 when the log is empty.
    package var firstOffset: JournalOffset = 0
    package var lastOffset: JournalOffset = 0
    package var entries: UInt64 = 0
    /// Of entries, without frames.
    package var bytes: UInt64 = 0
    package var segments = 0
    /// One line a fault: file, byte, what is wrong. At most 1,000 are kept.
    package var faults: [String] = []
    /// The time given ended behind `lastOffset`.
    package var isUnfinished = false
    package var isOK: Bool { self.faults.isEmpty }

    package init(partition: PartitionID) { self.partition = partition }
}
