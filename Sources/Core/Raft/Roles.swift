/// What only a leader has.
struct Leadership: Sendable {
    /// All members but itself, in order of id.
    var peers: [Progress] = []
    /// How it counts itself.
    var isVoter = false
    var isOutgoing = false
    /// Its first entry, the barrier. Until that is committed it knows neither what is committed nor may it say so (thesis, 6.4).
    let termStart: LogIndex
    var rounds = Rounds()
    var reads = PendingReads()
    /// Own clock.
    var heartbeatDue: MonotonicInstant
    var handover: Handover?
    /// Somebody was told to campaign without waiting; that may happen at any later time of this term.
    var hasGivenUpLease = false
    /// Proposed and not committed.
    var uncommitted = InFlight()
    /// The newest batch, which is sent as it was proposed.
    var newest = EntryRange(first: 0, last: 0, term: 0, bytes: 0)
    var transferNumber: UInt64 = 0

    struct Handover: Sendable {
        let to: ReplicaID
        let since: MonotonicInstant
        var isTold = false
    }

    init(termStart: LogIndex, now: MonotonicInstant) {
        self.termStart = termStart
        self.heartbeatDue = now
    }

    /// Enters a configuration; who stays keeps its progress.
    mutating func adopt(_ membership: Membership, own: ReplicaID, next: LogIndex, now: MonotonicInstant) {
        var peers: [Progress] = []
        for member in membership.members where member.id != own {
            var peer = self.peers.first { $0.id == member.id } ?? Progress(id: member.id, next: next, now: now)
            peer.isVoter = member.isVoter
            peer.isOutgoing = member.isOutgoing
            peers.append(peer)
        }
        self.peers = peers
        let me = membership.member(own)
        self.isVoter = me?.isVoter ?? false
        self.isOutgoing = me?.isOutgoing ?? false
    }

    func position(of id: ReplicaID) -> Int? { self.peers.firstIndex { $0.id == id } }

    /// The greatest value that a quorum has reached: both majorities while joint (thesis, 4.3).
    func quorum(own: UInt64, _ value: (borrowing Progress) -> UInt64) -> UInt64 {
        let entering = self.majority(own: self.isVoter ? own : nil, \.isVoter, value) ?? 0
        let leaving = self.majority(own: self.isOutgoing ? own : nil, \.isOutgoing, value) ?? .max
        return min(entering, leaving)
    }

    private func majority(
        own: UInt64?, _ isCounted: (borrowing Progress) -> Bool, _ value: (borrowing Progress) -> UInt64
    ) -> UInt64? {
        // On the stack: this runs with every answer.
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: self.peers.count + 1) { sorted in
            var count = 0
            func insert(_ value: UInt64) {
                var place = count
                while place > 0, sorted[place - 1] < value {
                    sorted[place] = sorted[place - 1]
                    place -= 1
                }
                sorted[place] = value
                count += 1
            }
            if let own { insert(own) }
            for i in self.peers.indices where isCounted(self.peers[i]) { insert(value(self.peers[i])) }
            return count == 0 ? nil : sorted[count / 2]
        }
    }
}

/// What only a replica has that wants to lead.
struct Campaign: Sendable {
    enum Stage: Equatable, Sendable {
        /// Asks whether it would be elected, before it disturbs anyone (thesis, 9.6).
        case preVote
        case vote(isTransfer: Bool)
    }
    var stage: Stage
    var granted: [ReplicaID] = []
    /// Requests are out: for a vote, once its own is durable.
    var isAsked = false
}

package enum RaftRole: String, Sendable {
    case follower, preCandidate = "pre-candidate", candidate, leader
}
