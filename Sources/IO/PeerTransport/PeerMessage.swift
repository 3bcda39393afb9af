package import JournalFormat
package import Primitives
package import Raft

/// One message between two replicas of a partition's group.
package struct PeerMessage: Sendable {
    package var partition: PartitionID
    package var message: RaftMessage
    /// The entries of an append that has some, exactly those of its range; nil for all other messages.
    package var frames: FrameRun?
    /// From a leader: how far the order is closed.
    package var closed: ClosedTimestamp?
    /// The sender's clock when it was sent; the receiver's moves above it. So whoever is elected is above every closed timestamp
    /// that its voters have heard of.
    package var clock = HLCTimestamp.zero
    /// The sender should not lead now: its disk is nearly full, or its wall clock is far from the others'.
    package var isUnfit = false

    package init(partition: PartitionID, message: RaftMessage, frames: FrameRun? = nil, closed: ClosedTimestamp? = nil)
    {
        self.partition = partition
        self.message = message
        self.frames = frames
        self.closed = closed
    }
}

/// A leader's promise: every entry above `offset` has an HLC of at least `hlc`.
package struct ClosedTimestamp: Equatable, Sendable {
    package var offset: JournalOffset
    package var hlc: HLCTimestamp
    /// Every write that was acknowledged before this moment is at or below `offset`. By the steady clock of whoever has this: the leader's
    /// when it is sent, the receiver's once it is received. Nil: not known.
    package var since: UInt64?

    package init(offset: JournalOffset, hlc: HLCTimestamp, since: UInt64? = nil) {
        self.offset = offset
        self.hlc = hlc
        self.since = since
    }
}

/// Who takes what comes from other nodes. Calls come from event loops: they must be short and never block.
package protocol PeerReceiver: Sendable {
    /// In the order of the sender's calls, while one link lasts. The frames have been checked: checksums, offsets, the message's
    /// range and term.
    func receive(_ message: PeerMessage)
    /// What was under way to a node may be lost: its link broke, or is new.
    func linkReset(_ peer: ReplicaID)
    /// A node says which journal it has.
    ///
    /// - Throws: FAILED_PRECONDITION: it is another one than it had before, and is not listened to.
    func admit(_ peer: ReplicaID, identity: UInt64) throws(VecraftError)
    /// A leader sends its log as a whole.
    ///
    /// - Returns: Where it goes; called from one task, may block on the disk.
    /// - Throws: Refused: no such partition here, or one is being received already.
    func stage(_ transfer: LogTransfer, partition: PartitionID) throws(VecraftError) -> any LogStaging
}

extension PeerReceiver {
    package func admit(_ peer: ReplicaID, identity: UInt64) throws(VecraftError) {}
}

/// Where a log that comes as a whole is put, aside, until it is complete. One task calls it, one call after the other.
package protocol LogStaging: Sendable {
    /// The next frames, consecutive from the transfer's start on.
    func write(_ frames: FrameRun) throws(VecraftError)
    func write(_ keys: [KeyRecord]) throws(VecraftError)
    /// All is there: made durable, and handed to the replica.
    func finish() throws(VecraftError)
    /// It ends early: what is there is removed.
    func abandon()
}

/// Where a log that is sent as a whole comes from. One task calls it; may block on the disk.
package protocol LogSource: Sendable {
    /// Frames from an offset on, at least one, about `maxBytes`; never beyond the transfer's end.
    func frames(from offset: JournalOffset, maxBytes: Int) throws(VecraftError) -> FrameRun
    /// All keys of entries at or before the transfer's end that are still remembered.
    func keys() throws(VecraftError) -> [KeyRecord]
}

/// The way to other nodes. Nothing here blocks.
package protocol PeerSender: Sendable {
    /// Hands messages over, to whom each names. Loss is no error; the order to one peer is kept while its link lasts.
    func send(_ messages: [PeerMessage])
    /// Sends a log as a whole; `progress` is called as it is taken, `end` once, with true when it is staged there.
    func sendLog(
        _ transfer: LogTransfer, partition: PartitionID, from source: any LogSource,
        progress: @escaping @Sendable () -> Void,
        end: @escaping @Sendable (Bool) -> Void)
}
