import HLC
package import JournalFormat
package import JournalStore
package import Primitives

/// The journal of this process: every partition has one replica, here.
package final class LocalJournal: JournalClient {
    package let journal: Journal
    private let byID: [PartitionID: JournalPartition]

    package init(_ journal: Journal) {
        self.journal = journal
        self.byID = Dictionary(uniqueKeysWithValues: journal.partitions.map { ($0.id, $0) })
    }

    package var partitions: [PartitionID] { self.journal.partitions.map(\.id) }

    package func append(
        _ entry: EncodedEntry, to partition: PartitionID,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        guard let log = self.byID[partition] else {
            completion(.failure(Self.unknown(partition)))
            return
        }
        log.append(entry, completion: completion)
    }

    package var isReplicated: Bool { false }

    package func readIndex(
        _ partition: PartitionID, completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) {
        completion(Result { () throws(VecraftError) in try self.log(partition).committed })
    }

    package func position(_ partition: PartitionID) throws(VecraftError) -> JournalPosition {
        let log = try self.log(partition)
        let (committed, closed) = log.position
        return JournalPosition(first: log.firstOffset, committed: committed, closed: closed)
    }

    package func read(
        _ partition: PartitionID, from offset: JournalOffset, maxBytes: Int
    ) throws(VecraftError) -> EntryBatch {
        try self.log(partition).read(from: offset, maxBytes: maxBytes)
    }

    package func find(
        _ keys: [LineageKey], in partition: PartitionID, below: JournalOffset, atLeast count: Int, deadline: UInt64
    ) throws(VecraftError) -> LineageHits {
        try self.log(partition).find(keys, below: below, atLeast: count, deadline: deadline)
    }

    package func offset(in partition: PartitionID, atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        try self.log(partition).offset(atOrAfter: time)
    }

    package func onCommit(
        _ partition: PartitionID, _ callback: @escaping @Sendable (JournalOffset) -> Void
    ) throws(VecraftError) -> Subscription {
        try self.log(partition).onCommit(callback)
    }

    package func status(_ partition: PartitionID) throws(VecraftError) -> JournalPartitionStatus {
        let log = try self.log(partition)
        return JournalPartitionStatus(
            partition: partition, term: log.term, first: log.firstOffset, committed: log.committed,
            lastHLC: log.lastHLC,
            diskBytes: log.diskBytes, segments: log.segmentCount)
    }

    package func verify(_ partition: PartitionID, deadline: UInt64) throws(VecraftError) -> PartitionReport {
        try self.log(partition).verify(deadline: deadline)
    }

    package func entries(
        _ partition: PartitionID, from offset: JournalOffset, maxBatchBytes: Int
    ) throws(VecraftError) -> JournalEntries {
        try self.log(partition).entries(from: offset, maxBatchBytes: maxBatchBytes)
    }

    package func log(_ partition: PartitionID) throws(VecraftError) -> JournalPartition {
        guard let log = self.byID[partition] else { throw Self.unknown(partition) }
        return log
    }

    static func unknown(_ partition: PartitionID) -> VecraftError {
        VecraftError(.notFound, "there is no journal partition \(partition) here", field: "partition")
    }
}
