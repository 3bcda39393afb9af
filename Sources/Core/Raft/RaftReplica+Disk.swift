// What waits for the disk: nothing is promised before it is durable (Raft paper, figure 2: "updated on stable storage before
// responding to RPCs").

extension RaftReplica {
    /// A save is durable, and with it all before.
    package mutating func saved(_ ticket: SaveTicket, now: MonotonicInstant) {
        guard self.begin(now) else { return }
        self.saves.done = max(self.saves.done, ticket)
        guard self.saves.isDone else { return }
        if let candidate = self.owed.vote {
            self.owed.vote = nil
            self.send(.voteReply(isGranted: true), to: candidate)
        }
        if self.owed.acknowledge { self.acknowledge() }
        self.askForVotes()
    }

    /// All writes up to a ticket are durable.
    package mutating func written(_ ticket: WriteTicket, now: MonotonicInstant) {
        guard self.begin(now) else { return }
        let before = self.log.durable
        self.log.written(ticket)
        guard self.log.durable > before else { return }
        if self.leadership != nil {
            self.advanceCommit()
        } else {
            self.finishRecovery()
            self.acknowledge()
        }
    }

    /// Tells the leader how far this log is its own, and how far that is durable.
    mutating func acknowledge() {
        guard let leader = self.leader, self.leadership == nil else { return }
        // The term is part of the promise: who answers in it must never again follow or vote in an older one.
        guard self.saves.isDone else {
            self.owed.acknowledge = true
            return
        }
        self.owed.acknowledge = false
        let durable = self.plantedBugs.contains(.acknowledgeBeforeSync) ? self.log.last.index : self.log.durable
        self.send(
            .acknowledge(
                .init(
                    matched: self.verified, durable: min(durable, self.verified), round: self.heardRound,
                    incarnation: self.state.incarnation, isRecovering: self.state.isRecovering)),
            to: leader)
    }

    /// Entries at or before `index` may go; the caller knows that nobody needs them any more.
    ///
    /// - Returns: False if they must stay: not committed, or not durable here, or gone already.
    @discardableResult
    package mutating func trim(through index: LogIndex, now: MonotonicInstant) -> Bool {
        guard self.begin(now), index > self.log.start.index, index <= min(self.commit, self.log.durable) else {
            return false
        }
        self.counters.trims += 1
        self.actions.append(.trim(self.log.trim(through: index)))
        return true
    }
}
