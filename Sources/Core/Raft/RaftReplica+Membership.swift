// Membership by joint consensus, learners first (thesis, 4.2.1 and 4.3), and handing over (3.10).

extension RaftReplica {
    /// Begins a change; it is through when ``membership`` is not joint and its entry is committed.
    ///
    /// - Returns: Where its entry is.
    @discardableResult
    package mutating func change(_ change: MembershipChange, now: MonotonicInstant) throws(RaftRefusal) -> LogIndex {
        try self.beginAsLeader(now)
        if let handover = self.leadership!.handover { throw .handingOver(to: handover.to) }
        // One at a time, and not before an entry of its own term is committed: else a leader could build on a configuration that
        // another one is just replacing (Ongaro, raft-dev, "bug in single-server membership changes", 2015).
        guard self.commit >= max(self.leadership!.termStart, self.log.memberships.latest.index),
            !self.membership.isJoint
        else {
            throw .changePending
        }
        return self.append(try self.changed(change))
    }

    private func changed(_ change: MembershipChange) throws(RaftRefusal) -> Membership {
        let membership = self.membership
        switch change {
        case .addLearner(let id):
            guard membership.member(id) == nil else { throw .invalid("\(id) is a member already") }
            guard membership.members.count < RaftSettings.maxMembers else {
                throw .limit("members", RaftSettings.maxMembers)
            }
            return membership.adding(learner: id)
        case .removeLearner(let id):
            guard membership.learners.contains(id) else { throw .invalid("\(id) is no learner") }
            return membership.removing(learner: id)
        case .add(let id):
            guard membership.learners.contains(id) else { return try self.changed(.addLearner(id)) }
            return try self.entering(membership.voters + [id])
        case .remove(let id):
            guard let member = membership.member(id) else { throw .invalid("\(id) is no member") }
            guard member.isVoter else { return try self.changed(.removeLearner(id)) }
            return try self.entering(membership.voters.filter { $0 != id })
        case .setVoters(let voters): return try self.entering(voters)
        }
    }

    private func entering(_ voters: [ReplicaID]) throws(RaftRefusal) -> Membership {
        try self.check(voters: voters)
        return self.membership.entering(voters: voters)
    }

    private func check(voters: [ReplicaID]) throws(RaftRefusal) {
        guard !voters.isEmpty, Set(voters).count == voters.count else {
            throw .invalid("the voters must be some, each once")
        }
        guard voters.count <= RaftSettings.maxVoters else { throw .limit("voters", RaftSettings.maxVoters) }
        guard voters.sorted() != self.membership.voters else { throw .invalid("these are the voters already") }
        for id in voters where id != self.id {
            guard let i = self.leadership!.position(of: id) else { throw .invalid("\(id) is no learner yet") }
            if !self.leadership!.peers[i].isVoter { try self.checkPromotion(of: i) }
        }
        let isHeard = { (id: ReplicaID) -> Bool in
            guard id != self.id, let i = self.leadership!.position(of: id) else { return id == self.id }
            return self.clock.own - self.leadership!.peers[i].heard <= self.timing.electionMax
        }
        guard Membership(voters: voters).isQuorum(isHeard) else { throw .wouldLoseQuorum }
    }

    private func checkPromotion(of i: Int) throws(RaftRefusal) {
        let peer = self.leadership!.peers[i]
        // On a short log one that is not there at all is not far behind.
        guard peer.hasAnswered, self.clock.own - peer.heard <= self.timing.electionMax else {
            throw .learnerSilent(peer.id)
        }
        // A voter that lacks half the log would keep the group from committing until it has it (thesis, 4.2.1).
        let lag = self.log.last.index - peer.match
        guard lag <= self.settings.maxPromotionLag else {
            throw .learnerBehind(peer.id, entries: lag, limit: self.settings.maxPromotionLag)
        }
    }

    private mutating func append(_ membership: Membership) -> LogIndex {
        let index = self.log.last.index + 1
        // In force from here on, for this entry too (thesis, 4.1).
        self.leadership!.adopt(membership, own: self.id, next: index, now: self.clock.own)
        self.append(
            EntryRange(first: index, last: index, term: self.state.term, bytes: 0, membership: membership),
            .configuration)
        return index
    }

    /// The leader has committed something: a joint configuration is left as soon as it is committed, by whoever leads then; one
    /// that is without the leader ends its leading (thesis, 4.2.2 and 4.3).
    mutating func advanceMembership() {
        let record = self.log.memberships.latest
        guard let leadership = self.leadership, record.index <= self.commit, self.commit >= leadership.termStart else {
            return
        }
        if record.membership.isJoint {
            _ = self.append(record.membership.leavingJoint())
        } else if !record.membership.isVoter(self.id) {
            for i in leadership.peers.indices { self.tellCommit(i) }
            // The best of those that stay need not wait for a timeout.
            let heir = leadership.peers.filter { $0.isVoter && $0.recovery == nil }.max {
                ($0.match, $1.id) < ($1.match, $0.id)
            }
            if let heir { self.send(.timeoutNow, to: heir.id) }
            self.follow(term: self.state.term, leader: nil)
        }
    }

    // MARK: Handing over

    /// Hands leadership to a voter, once it has the whole log; meanwhile proposals are refused. Given up after an election timeout.
    package mutating func transferLeadership(to id: ReplicaID, now: MonotonicInstant) throws(RaftRefusal) {
        try self.beginAsLeader(now)
        if let handover = self.leadership!.handover { throw .handingOver(to: handover.to) }
        guard let i = self.leadership!.position(of: id), self.leadership!.peers[i].isVoter,
            self.leadership!.peers[i].recovery == nil
        else { throw .invalid("\(id) is no other voter of the group, or is recovering") }
        self.beginHandover(to: id)
    }

    private mutating func beginHandover(to id: ReplicaID) {
        self.leadership!.handover = .init(to: id, since: self.clock.own)
        if let i = self.leadership!.position(of: id) { self.replicate(to: i) }
        self.advanceHandover()
    }

    mutating func advanceHandover() {
        guard let handover = self.leadership!.handover, !handover.isTold,
            let i = self.leadership!.position(of: handover.to),
            self.leadership!.peers[i].match == self.log.last.index
        else { return }
        self.leadership!.handover!.isTold = true
        // From here on it may be voted out without any timeout, however late the message arrives.
        self.leadership!.hasGivenUpLease = true
        self.send(.timeoutNow, to: handover.to)
    }

    mutating func tickHandover(_ now: MonotonicInstant) {
        if let handover = self.leadership!.handover {
            if now - handover.since > self.timing.electionMax { self.leadership!.handover = nil }
            return
        }
        // A leader whose disk stands still fills its limits and then stops a group whose other disks are well.
        guard let oldest = self.log.writes.oldest, now - oldest > self.timing.diskStall else { return }
        let durable = self.log.durable
        let well = self.leadership!.peers.filter {
            $0.isVoter && $0.recovery == nil && $0.match > durable && now - $0.heard < self.timing.electionMin
        }
        guard let heir = well.max(by: { ($0.match, $1.id) < ($1.match, $0.id) }) else { return }
        self.beginHandover(to: heir.id)
    }
}
