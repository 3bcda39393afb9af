internal import Primitives

/// One replica of one Raft group: events in, ``RaftAction``s out. No clock, disk, network or task of its own.
///
/// Every method is one event; it leaves what is to be done in ``actions``, which the driver carries out in order and clears.
/// Each takes the time, read after the event came. What may never happen is never trapped but ends the replica (``failure``), so
/// one damaged group does not take a node's other groups with it.
///
/// Sources: Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), here "Raft paper"; Ongaro,
/// "Consensus: Bridging Theory and Practice" (2014), here "thesis".
package struct RaftReplica: Sendable {
    package let id: ReplicaID
    package let settings: RaftSettings
    package let plantedBugs: PlantedBugs
    let timing: Timing
    let view: any RaftLogView
    var rng: SeededRNG
    var clock: ReplicaClock

    /// In effect from the moment it is changed; nothing that promises it is said before it is saved.
    package internal(set) var state: HardState
    var saves = Saves()
    var log: ReplicaLog
    /// Invariant: never falls, and no entry at or before it ever changes.
    package internal(set) var commit: LogIndex

    /// Of the current term, once heard.
    package internal(set) var leader: ReplicaID?
    /// As far as the log is known to be the current leader's; what is committed always is.
    var verified: LogIndex
    var heardRound: UInt64 = 0
    /// What the leader says to catch up with, while recovering.
    var recoveryPoint: RaftMessage.RecoveryPoint?
    var owed = Owed()

    // Exactly one role: a leader has `leadership`, a candidate `campaign`, a follower neither. Separate and not cases of an enum
    // so that they are changed in place.
    var leadership: Leadership?
    var campaign: Campaign?

    /// Own clock: until then nobody else gets a vote, for a leader may hold a lease by it.
    var promisedUntil: MonotonicInstant
    /// Own clock: without a leader until then, campaign.
    var electionDue: MonotonicInstant
    /// Real campaigns since a leader was last heard. Each waits twice as long for its votes, up to eight times, so that disks
    /// slower than an election timeout still elect somebody.
    var campaigns = 0

    package internal(set) var actions: [RaftAction] = []
    /// Why it does nothing more.
    package internal(set) var failure: String?
    package internal(set) var counters = RaftCounters()
    var isRetired = false

    struct Saves: Sendable {
        var last: SaveTicket = 0
        var done: SaveTicket = 0
        var isDone: Bool { self.last == self.done }
    }

    /// Answers that wait for the disk.
    struct Owed: Sendable {
        var vote: ReplicaID?
        var acknowledge = false
    }

    /// - Parameters:
    ///   - seed: For election timeouts; another one on each replica.
    ///   - bugs: Tests only.
    package init(
        id: ReplicaID, start: RaftStart, view: any RaftLogView, settings: RaftSettings = RaftSettings(), seed: UInt64,
        now: MonotonicInstant, plantedBugs bugs: PlantedBugs = []
    ) {
        self.id = id
        self.settings = settings
        self.plantedBugs = bugs
        self.timing = Timing(settings)
        self.view = view
        self.rng = SeededRNG(seed: seed)
        self.clock = ReplicaClock(now: now, maxStep: self.timing.maxStep)
        self.state = start.hardState
        self.log = ReplicaLog(bugs.contains(.forgetMembership) ? start.log.forgettingMemberships() : start.log)
        // What is gone was committed; what is committed of the rest a leader will say.
        self.commit = start.log.start.position.index
        self.verified = self.commit
        // It may have answered a leader just before it stopped: the promise outlives the process (thesis, 6.4.1).
        self.promisedUntil = .zero + self.timing.electionMin
        self.electionDue = .zero
        self.resetElectionTimer()
        self.recover(start)
    }

    package var role: RaftRole {
        if self.leadership != nil { return .leader }
        guard let campaign = self.campaign else { return .follower }
        return campaign.stage == .preVote ? .preCandidate : .candidate
    }
    package var term: Term { self.state.term }
    package var last: LogPosition { self.log.last }
    package var durable: LogIndex { self.log.durable }
    /// Before the first entry.
    package var logStart: LogPosition { self.log.start }
    package var membership: Membership { self.log.membership }
    /// The newest configuration is committed and without this replica, or is being left for one that is: nobody tells it more.
    package var isLeftOut: Bool {
        let newest = self.log.memberships.latest
        guard newest.index <= self.commit, !newest.membership.members.isEmpty else { return false }
        guard let own = newest.membership.member(self.id) else { return true }
        return own.isOutgoing && !own.isVoter
    }
    /// A leader's calls to all: the newest, and the newest that a majority has answered. Nil on others.
    package var rounds: (current: UInt64, confirmed: UInt64)? {
        self.leadership.map { ($0.rounds.current, $0.rounds.confirmed) }
    }
    /// All that earlier leaders may have acknowledged is committed, as this leader knows.
    package var hasBarrier: Bool { self.leadership.map { self.commit >= $0.termStart } ?? false }
    /// On the raw clock: no write that was acknowledged before is above ``commit``, whoever acknowledged it. Nil on others than leaders, and
    /// while what earlier leaders had acknowledged may not be known to be committed.
    package var confirmedSince: MonotonicInstant? {
        self.hasBarrier ? self.leadership?.rounds.confirmedSince : nil
    }
    /// How far each peer is, as its leader knows; empty on others.
    package var peers: [PeerProgress] {
        self.leadership?.peers.map {
            PeerProgress(
                id: $0.id, match: $0.match, next: $0.next, inFlightBytes: $0.inFlight.bytes, isVoter: $0.isVoter,
                silence: self.clock.own - $0.heard, isRecovering: $0.recovery != nil)
        } ?? []
    }
    package func term(at index: LogIndex) -> Term? { self.log.term(at: index) }

    /// Forgets the actions that have been carried out; their memory is used again.
    package mutating func clearActions() { self.actions.removeAll(keepingCapacity: true) }

    // MARK: Common to all roles

    /// Every event begins with this.
    ///
    /// - Returns: False if the replica has ended.
    mutating func begin(_ now: MonotonicInstant) -> Bool {
        guard self.failure == nil else { return false }
        if !self.clock.advance(to: now) { self.leadership?.rounds.forgetTimes() }
        return true
    }

    mutating func send(_ body: RaftMessage.Body, to peer: ReplicaID, term: Term? = nil) {
        self.actions.append(.send(RaftMessage(from: self.id, to: peer, term: term ?? self.state.term, body: body)))
    }

    mutating func save() {
        self.saves.last += 1
        self.actions.append(.save(self.state, self.saves.last))
    }

    /// The driver can go on no more: its disk failed.
    package mutating func stop(_ why: String) { self.halt(why) }

    mutating func halt(_ why: String) {
        guard self.failure == nil else { return }
        self.failure = why
        self.leadership = nil
        self.campaign = nil
        self.actions.append(.halt(why))
    }

    mutating func resetElectionTimer(times factor: Nanoseconds = 1) {
        let timeout = Nanoseconds.random(in: self.timing.electionMin...self.timing.electionMax, using: &self.rng)
        self.electionDue = self.clock.own + factor * timeout
    }

    /// Becomes a follower, in this term or a later one (Raft paper, figure 2, rules for all servers).
    mutating func follow(term: Term, leader: ReplicaID?) {
        guard term != self.state.term || leader != self.leader || self.role != .follower else { return }
        if term > self.state.term {
            self.state.term = term
            self.state.votedFor = nil
            self.save()
        }
        self.endLeading()
        self.campaign = nil
        self.leader = leader
        self.verified = self.commit
        self.heardRound = 0
        self.owed = Owed()
        self.resetElectionTimer()
        self.actions.append(.follow(term, leader: leader))
    }

    private mutating func endLeading() {
        guard self.leadership != nil else { return }
        while let read = self.leadership?.reads.removeFirst() { self.actions.append(.readRefused(id: read.id)) }
        self.leadership = nil
        self.counters.stepDowns += 1
    }
}

/// What a leader knows of a peer.
package struct PeerProgress: Equatable, Sendable {
    package var id: ReplicaID
    /// Durable there.
    package var match: LogIndex
    /// The next to be sent.
    package var next: LogIndex
    package var inFlightBytes: Int
    package var isVoter: Bool
    /// Since its last answer.
    package var silence: Nanoseconds
    package var isRecovering: Bool
}

/// What has happened since the start.
package struct RaftCounters: Equatable, Sendable {
    package var elections = 0
    package var leaderships = 0
    package var stepDowns = 0
    package var refusedVotes = 0
    package var rejects = 0
    package var leaseReads = 0
    package var roundReads = 0
    package var logTransfers = 0
    package var trims = 0

    package init() {}
}

extension LogSummary {
    /// A mistake on purpose: ``PlantedBugs/forgetMembership``.
    fileprivate func forgettingMemberships() -> LogSummary {
        var copy = LogSummary(start: self.start)
        var index = self.start.position.index
        while index < self.last.index {
            let end = self.runs.runEnd(of: index + 1)
            copy.append(through: end, term: self.runs.term(at: end) ?? 0)
            index = end
        }
        return copy
    }
}
