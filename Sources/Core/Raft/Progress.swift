/// What a leader knows of one peer.
struct Progress: Sendable {
    enum Mode: Equatable, Sendable {
        /// Where the logs part is not known: one question at a time.
        case probing
        /// Batches follow each other without waiting (thesis, 10.2.1).
        case replicating
        /// It is behind the log's start and gets segments.
        case transferring(LogTransfer)
    }

    let id: ReplicaID
    var isVoter = false
    var isOutgoing = false
    var mode = Mode.probing
    /// Durable there. Invariant: `match < next`.
    var match: LogIndex = 0
    /// In its log, as it last said; less after it was started anew.
    var received: LogIndex = 0
    /// To be sent next.
    var next: LogIndex
    var inFlight = InFlight()
    /// The newest round it has answered.
    var round: UInt64 = 0
    /// On the leader's own clock: when it was heard, and when it last got further or was first sent something new.
    var heard: MonotonicInstant
    /// It has answered this leader; until then ``heard`` is when it was added, or when the leader began.
    var hasAnswered = false
    var advanced: MonotonicInstant
    /// A question is out since; nil when one may be asked.
    var probed: MonotonicInstant?
    var incarnation: UInt32 = 0
    var recovery: RaftMessage.RecoveryPoint?
    /// The commit index it was last told.
    var toldCommit: LogIndex = 0

    init(id: ReplicaID, next: LogIndex, now: MonotonicInstant) {
        self.id = id
        self.next = next
        self.heard = now
        self.advanced = now
    }

    mutating func hear(now: MonotonicInstant) {
        self.heard = now
        self.hasAnswered = true
    }

    mutating func probe(next: LogIndex) {
        self.mode = .probing
        self.next = max(next, self.match + 1)
        self.inFlight.removeAll()
        self.probed = nil
    }

    mutating func replicate(now: MonotonicInstant) {
        self.mode = .replicating
        self.next = max(self.match, self.received) + 1
        self.inFlight.removeAll()
        self.probed = nil
        self.advanced = now
    }
}

/// Batches sent to a peer and not durable there.
struct InFlight: Sendable {
    private struct Batch {
        let last: LogIndex
        let bytes: Int
    }
    private var batches = Ring<Batch>()
    private(set) var bytes = 0

    var count: Int { self.batches.count }
    var isEmpty: Bool { self.batches.isEmpty }

    mutating func add(last: LogIndex, bytes: Int) {
        self.batches.append(Batch(last: last, bytes: bytes))
        self.bytes += bytes
    }

    mutating func release(through index: LogIndex) {
        while let first = self.batches.first, first.last <= index {
            self.bytes -= first.bytes
            self.batches.removeFirst()
        }
    }

    mutating func removeAll() {
        self.batches.removeAll()
        self.bytes = 0
    }
}
