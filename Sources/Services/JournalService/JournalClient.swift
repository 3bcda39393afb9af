package import JournalFormat
package import JournalStore
package import Primitives

/// Judges an entry that comes ready made, before it gets an offset; throws what its sender is told.
package typealias EntryAdmittance = @Sendable (EntryView) throws(VecraftError) -> Void

/// The journal as every other service sees it, whether it lives in this process or on other nodes.
package protocol JournalClient: Sendable {
    /// All partitions, in order.
    var partitions: [PartitionID] { get }

    /// Appends one entry. `completion` is called exactly once, from the journal's writer thread: it must be short.
    ///
    /// - Success means durable, ordered, and found by lineage from now on. Failure means not written, or (deadline, lost
    ///   connection) unknown: the same idempotency key finds out.
    func append(
        _ entry: EncodedEntry, to partition: PartitionID,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void)

    /// Whether other processes have replicas: what is committed is then known here a moment later than it is acknowledged, and
    /// appends are made under a key of their own, so that they can be repeated.
    var isReplicated: Bool { get }

    /// How far another node's wall clock is ahead of this one's, at most: what was stamped there may look newer here by it.
    var clockSkewMilliseconds: UInt64 { get }

    /// Offset that includes every write acknowledged before this call (ReadIndex; Raft thesis section 6.4). With one replica it is
    /// what is durable, and `completion` is called at once; else from a thread that must not be held up.
    func readIndex(
        _ partition: PartitionID, completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void)

    /// What this process knows to be committed, and how far the partition's order is closed; never waits.
    func position(_ partition: PartitionID) throws(VecraftError) -> JournalPosition

    /// The latest moment of which it is known that every write acknowledged before it is at or below `offset`; nanoseconds of this node's steady
    /// clock (`SystemTime.steadyNanoseconds`). Nil: nothing is known of such an offset, and its age is a matter of wall clocks.
    func freshness(of partition: PartitionID, at offset: JournalOffset) -> UInt64?

    /// Committed entries from `offset` on, at least one if there is one. Empty at the end.
    func read(_ partition: PartitionID, from offset: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch

    /// Where committed entries are that have one of the keys, as candidates: from the newest segment back until there are at least `count`.
    ///
    /// - Parameters:
    ///   - below: Only offsets below it.
    ///   - deadline: Monotonic nanoseconds. Beyond it: `.deadlineExceeded`, reason SCAN_UNFINISHED.
    func find(
        _ keys: [LineageKey], in partition: PartitionID, below: JournalOffset, atLeast count: Int, deadline: UInt64
    ) throws(VecraftError) -> LineageHits

    /// The first committed entry with an HLC of at least `time`; one behind the last committed if there is none.
    func offset(in partition: PartitionID, atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset

    /// Calls back after commits (coalesced) until the subscription is cancelled. The callback must be short.
    func onCommit(
        _ partition: PartitionID, _ callback: @escaping @Sendable (JournalOffset) -> Void
    ) throws(VecraftError) -> Subscription

    func status(_ partition: PartitionID) throws(VecraftError) -> JournalPartitionStatus

    /// Reads this process's log of a partition from end to end.
    ///
    /// - Parameter deadline: Monotonic nanoseconds; then the report ends, and says so.
    func verify(_ partition: PartitionID, deadline: UInt64) throws(VecraftError) -> PartitionReport
}

package struct JournalPosition: Sendable {
    package var first: JournalOffset
    package var committed: JournalOffset
    /// No later entry will have an HLC below this.
    package var closed: HLCTimestamp
}

package struct JournalPartitionStatus: Sendable {
    package var partition: PartitionID
    package var term: UInt64
    package var first: JournalOffset
    package var committed: JournalOffset
    package var lastHLC: HLCTimestamp
    package var diskBytes: Int
    package var segments: Int
    /// Of a partition that is replicated.
    package var replica: ReplicaStatus?
}

extension JournalClient {
    package var clockSkewMilliseconds: UInt64 { 0 }
    package func freshness(of partition: PartitionID, at offset: JournalOffset) -> UInt64? { nil }

    package func readIndex(_ partition: PartitionID) async throws(VecraftError) -> JournalOffset {
        let result = await withCheckedContinuation { continuation in
            self.readIndex(partition) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// Appends and waits for the answer.
    package func append(_ entry: EncodedEntry, to partition: PartitionID) async throws(VecraftError) -> Appended {
        let result = await withCheckedContinuation { continuation in
            self.append(entry, to: partition) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }
}
