extension RaftMessage.Body {
    /// Only the leader of the message's term sends it.
    var isFromLeader: Bool {
        switch self {
        case .append, .heartbeat, .commit, .timeoutNow: true
        default: false
        }
    }
}

extension RaftReplica {
    /// A message has come: any, in any order, any number of times.
    package mutating func receive(_ message: RaftMessage, now: MonotonicInstant) {
        guard self.begin(now), message.to == self.id else { return }
        let from = message.from
        switch message.body {
        case .preVote(let last): self.receivePreVote(last, term: message.term, from: from)
        case .preVoteReply(let isGranted): self.receivePreVoteReply(isGranted, term: message.term, from: from)
        case .vote(let last, let isTransfer):
            self.receiveVote(last, isTransfer: isTransfer, term: message.term, from: from)
        default: self.receiveInTerm(message)
        }
    }

    /// Messages whose term decides first (Raft paper, 5.1).
    private mutating func receiveInTerm(_ message: RaftMessage) {
        let from = message.from
        let isFromLeader = message.body.isFromLeader
        guard message.term >= self.state.term else {
            if isFromLeader { self.send(.outdated, to: from) }
            return
        }
        if isFromLeader {
            guard self.leadership == nil || message.term > self.state.term else {
                return self.halt("\(from) leads term \(message.term) too")
            }
            self.hear(from, term: message.term)
        } else if message.term > self.state.term {
            self.follow(term: message.term, leader: nil)
        }
        switch message.body {
        case .append(let append): self.receiveAppend(append)
        case .heartbeat(let beat): self.receiveHeartbeat(beat)
        case .commit(let index): self.learnCommit(index)
        case .timeoutNow: self.receiveTimeoutNow()
        case .voteReply(let isGranted): self.receiveVoteReply(isGranted, from: from)
        case .acknowledge(let reply): self.receiveAcknowledge(reply, from: from)
        case .reject(let reject): self.receiveReject(reject, from: from)
        case .preVote, .preVoteReply, .vote, .outdated: break
        }
    }

    /// The leader of this term is heard: nobody else gets a vote for an election timeout.
    private mutating func hear(_ leader: ReplicaID, term: Term) {
        if let known = self.leader, known != leader, term == self.state.term {
            return self.halt("\(known) and \(leader) both lead term \(term)")
        }
        self.follow(term: term, leader: leader)
        self.campaigns = 0
        self.promisedUntil = self.clock.own + self.timing.electionMin
        self.resetElectionTimer()
    }
}
