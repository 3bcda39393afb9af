// Strong reads: ReadIndex (thesis, 6.4) and the leader's lease (6.4.1).

extension RaftReplica {
    /// Asks up to where a read must see to be linearizable; answered by ``RaftAction/readReady(id:index:)`` or
    /// ``RaftAction/readRefused(id:)``, perhaps at once.
    ///
    /// - Parameter now: Read after the request came: a lease that holds then covers all that was answered before the request.
    package mutating func read(id: UInt64, now: MonotonicInstant) throws(RaftRefusal) {
        try self.beginAsLeader(now)
        if self.hasLease || (self.plantedBugs.contains(.staleLease) && self.commit >= self.leadership!.termStart) {
            self.counters.leaseReads += 1
            return self.actions.append(.readReady(id: id, index: self.commit))
        }
        guard self.leadership!.reads.count < self.settings.maxPendingReads else {
            throw .limit("raft.max_pending_reads", self.settings.maxPendingReads)
        }
        self.counters.roundReads += 1
        let current = self.leadership!.rounds.current
        let index = max(self.commit, self.leadership!.termStart)
        // A round that began before the read proves nothing for it. While one that reads wait for is out, the next is shared by
        // all that come meanwhile.
        let isBusy = self.leadership!.rounds.confirmed < current && self.leadership!.reads.lastRound >= current
        self.leadership!.reads.add(id: id, index: index, round: current + 1)
        if !isBusy { self.beginRound() }
    }

    /// Whether nobody else can have been elected yet: a majority answered a round begun less than a lease ago, and each of them
    /// votes for nobody for an election timeout after.
    package var hasLease: Bool {
        guard self.settings.readsUnderLease, let leadership = self.leadership, !leadership.hasGivenUpLease,
            self.commit >= leadership.termStart, let since = leadership.rounds.confirmedSince
        else { return false }
        return self.clock.raw < since + self.timing.lease
    }

    /// Calls all members: keeps them from campaigning, tells them what is committed, and proves that this replica leads.
    mutating func beginRound() {
        let own = self.clock.own
        self.leadership!.rounds.begin(at: self.clock.raw)
        self.leadership!.heartbeatDue = own + self.timing.heartbeat
        let round = self.leadership!.rounds.current
        for i in self.leadership!.peers.indices {
            self.leadership!.peers[i].toldCommit = self.commit
            self.send(
                .heartbeat(.init(commit: self.commit, round: round, recovery: self.leadership!.peers[i].recovery)),
                to: self.leadership!.peers[i].id)
        }
        self.confirmRounds()
    }

    /// A peer has answered, or there is none.
    mutating func confirmRounds() {
        let current = self.leadership!.rounds.current
        let confirmed = self.leadership!.quorum(own: current) { $0.round }
        guard confirmed > self.leadership!.rounds.confirmed else { return }
        self.leadership!.rounds.confirm(confirmed)
        self.answerReads()
        if self.leadership!.reads.lastRound > current, confirmed >= current { self.beginRound() }
    }

    mutating func answerReads() {
        let confirmed = self.leadership!.rounds.confirmed
        while let read = self.leadership!.reads.next(confirmed: confirmed, commit: self.commit) {
            self.actions.append(.readReady(id: read.id, index: read.index))
        }
    }
}
