// Elections: pre-vote (thesis, 9.6), votes (Raft paper, 5.2 and 5.4.1), and the promise to a leader (thesis, 4.2.3 and 6.4.1).

extension RaftReplica {
    /// Whether a leader may count on this replica's promise to elect nobody else.
    var isPromised: Bool { self.leadership != nil || self.clock.own < self.promisedUntil }

    /// Time has passed. Call it every third of a heartbeat or so; irregular calls cost time, never safety.
    package mutating func tick(now: MonotonicInstant) {
        guard self.begin(now) else { return }
        if self.leadership != nil {
            self.tickLeader()
        } else if self.clock.own >= self.electionDue, self.saves.isDone {
            // While its disk has not answered, a replica cannot vote for itself either; a vote it has given is on its way.
            self.loseLeader()
        }
    }

    /// A replica that its newest configuration leaves out goes on campaigning until that is committed: it may be the only one that
    /// has it, and its log the longest (thesis, 4.2.2). It does not count itself then. The configuration before the newest is the one
    /// that may still be in force, for no change is begun before the last is committed.
    private var mayCampaign: Bool {
        guard !self.state.isRecovering else { return false }
        let records = self.log.memberships.records
        let newest = records[records.count - 1]
        if newest.membership.isVoter(self.id) { return true }
        return newest.index > self.commit && records.count > 1 && records[records.count - 2].membership.isVoter(self.id)
    }

    private mutating func loseLeader() {
        if self.mayCampaign {
            self.campaign(.preVote)
        } else {
            self.follow(term: self.state.term, leader: nil)
            self.resetElectionTimer()
        }
    }

    mutating func campaign(_ stage: Campaign.Stage) {
        if self.leader != nil { self.follow(term: self.state.term, leader: nil) }
        self.campaign = Campaign(stage: stage)
        self.resetElectionTimer()
        if stage != .preVote {
            self.counters.elections += 1
            self.state.term += 1
            self.state.votedFor = self.id
            self.owed = Owed()
            self.verified = self.commit
            self.save()
        }
        self.askForVotes()
    }

    /// Sends a campaign's requests, once. A real one's own vote must be durable first, as any vote.
    mutating func askForVotes() {
        guard let campaign = self.campaign, !campaign.isAsked else { return }
        guard campaign.stage == .preVote || self.saves.isDone else { return }
        self.campaign!.isAsked = true
        if campaign.stage != .preVote {
            self.resetElectionTimer(times: 1 << min(Nanoseconds(self.campaigns), 3))
            self.campaigns += 1
        }
        for member in self.membership.members where member.id != self.id && (member.isVoter || member.isOutgoing) {
            switch campaign.stage {
            case .preVote: self.send(.preVote(last: self.log.last), to: member.id, term: self.state.term + 1)
            case .vote(let isTransfer): self.send(.vote(last: self.log.last, isTransfer: isTransfer), to: member.id)
            }
        }
        self.count(voteOf: self.id)
    }

    private mutating func count(voteOf voter: ReplicaID) {
        guard var campaign = self.campaign, !campaign.granted.contains(voter),
            voter == self.id || self.membership.isVoter(voter)
        else { return }
        campaign.granted.append(voter)
        self.campaign = campaign
        guard self.membership.isQuorum(campaign.granted.contains) else { return }
        switch campaign.stage {
        case .preVote: self.campaign(.vote(isTransfer: false))
        case .vote: self.lead()
        }
    }

    // MARK: Answers

    mutating func receivePreVote(_ last: LogPosition, term: Term, from candidate: ReplicaID) {
        let isGranted =
            term > self.state.term && !self.isPromised && !self.state.isRecovering
            && last.isUpToDate(with: self.log.last)
        if !isGranted { self.counters.refusedVotes += 1 }
        self.send(.preVoteReply(isGranted: isGranted), to: candidate, term: isGranted ? term : self.state.term)
    }

    mutating func receivePreVoteReply(_ isGranted: Bool, term: Term, from voter: ReplicaID) {
        if !isGranted {
            if term > self.state.term { self.follow(term: term, leader: nil) }
        } else if self.campaign?.stage == .preVote, term == self.state.term + 1 {
            self.count(voteOf: voter)
        }
    }

    mutating func receiveVote(_ last: LogPosition, isTransfer: Bool, term: Term, from candidate: ReplicaID) {
        if term > self.state.term {
            // Not even the term is taken: a replica that was cut off must not depose a leader that all others hear (thesis, 4.2.3).
            guard isTransfer || !self.isPromised else {
                self.counters.refusedVotes += 1
                return
            }
            self.follow(term: term, leader: nil)
        }
        let isFree = self.state.votedFor == nil || self.state.votedFor == candidate
        guard term == self.state.term, isFree, self.leader == nil, !self.state.isRecovering,
            last.isUpToDate(with: self.log.last)
        else {
            self.counters.refusedVotes += 1
            self.send(.voteReply(isGranted: false), to: candidate)
            return
        }
        self.resetElectionTimer()
        if self.state.votedFor == nil {
            self.state.votedFor = candidate
            self.save()
        }
        if self.saves.isDone {
            self.send(.voteReply(isGranted: true), to: candidate)
        } else {
            self.owed.vote = candidate
        }
    }

    mutating func receiveVoteReply(_ isGranted: Bool, from voter: ReplicaID) {
        guard isGranted, let campaign = self.campaign, campaign.stage != .preVote else { return }
        self.count(voteOf: voter)
    }

    /// The leader hands over (thesis, 3.10).
    mutating func receiveTimeoutNow() {
        guard self.mayCampaign else { return }
        self.campaign(.vote(isTransfer: true))
    }

    // MARK: Elected

    private mutating func lead() {
        self.counters.leaderships += 1
        self.campaign = nil
        self.campaigns = 0
        self.leader = self.id
        let last = self.log.last.index
        var leadership = Leadership(termStart: last + 1, now: self.clock.own)
        leadership.adopt(self.membership, own: self.id, next: last + 1, now: self.clock.own)
        self.leadership = leadership
        self.actions.append(.lead(self.state.term))
        self.append(EntryRange(first: last + 1, last: last + 1, term: self.state.term, bytes: 0), .barrier)
        self.beginRound()
    }
}
