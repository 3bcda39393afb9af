// A follower's log (Raft paper, 5.3 and figure 2, AppendEntries).

extension RaftReplica {
    mutating func receiveHeartbeat(_ beat: RaftMessage.Heartbeat) {
        self.heardRound = max(self.heardRound, beat.round)
        if let recovery = beat.recovery { self.recoveryPoint = recovery }
        self.learnCommit(beat.commit)
        self.finishRecovery()
        self.acknowledge()
    }

    mutating func receiveAppend(_ append: RaftMessage.Append) {
        self.heardRound = max(self.heardRound, append.round)
        // What is committed here is in every leader's log (leader completeness), also where it has been trimmed.
        guard append.previous.index <= self.commit || self.log.term(at: append.previous.index) == append.previous.term
        else {
            return self.reject(append.previous)
        }
        var isNew = false
        if let entries = append.entries, entries.last > self.commit || self.plantedBugs.contains(.truncateCommitted) {
            guard let order = self.take(entries) else { return }
            isNew = order
        }
        self.verified = min(max(self.verified, append.entries?.last ?? append.previous.index), self.log.last.index)
        self.learnCommit(append.commit)
        self.finishRecovery()
        // What is new is acknowledged when it is durable: one answer for all that one sync made so.
        if !isNew { self.acknowledge() }
    }

    /// Adds what is missing of a batch that follows on from the log.
    ///
    /// - Returns: Whether anything is written; nil if the batch is not taken.
    private mutating func take(_ entries: EntryRange) -> Bool? {
        // The sender's window bounds what is under way; a second leader's comes on top. Dropped, it is sent again.
        guard self.log.writes.count < self.settings.maxUncommittedBatches, self.mayWrite else { return nil }
        var entries = entries
        entries.first = max(entries.first, self.log.start.index + 1)
        if !self.plantedBugs.contains(.truncateCommitted) {
            entries.first = max(entries.first, self.commit + 1)
            // One term is one run: what is there of it is there without a break (log matching). Only a conflict cuts the log; a
            // batch that was overtaken by its successors must not.
            if self.log.term(at: entries.first) == entries.term {
                entries.first = min(self.log.runs.runEnd(of: entries.first), entries.last) + 1
            }
        }
        guard entries.first <= entries.last else { return false }
        let cut = entries.first <= self.log.last.index ? entries.first : nil
        if let cut, cut <= self.verified, !self.plantedBugs.contains(.truncateCommitted) {
            self.halt("entry \(cut) of term \(entries.term) contradicts one that is committed or the leader's own")
            return nil
        }
        self.actions.append(
            .write(self.log.write(entries, content: .received, truncatingFrom: cut, at: self.clock.own)))
        return true
    }

    private mutating func reject(_ previous: LogPosition) {
        guard let leader = self.leader else { return }
        self.counters.rejects += 1
        var hint = self.log.runs.floor(index: previous.index, term: previous.term)
        if hint.index < self.commit {
            hint = LogPosition(index: self.commit, term: self.log.term(at: self.commit) ?? 0)
        }
        self.send(
            .reject(
                .init(
                    previous: previous.index, hint: hint, incarnation: self.state.incarnation,
                    isRecovering: self.state.isRecovering)),
            to: leader)
    }

    /// The leader has committed through `index`; here that holds as far as the logs are known to be the same.
    mutating func learnCommit(_ index: LogIndex) {
        let index = min(index, self.verified, self.log.last.index)
        guard index > self.commit else { return }
        self.committed(through: index)
    }

    mutating func committed(through index: LogIndex) {
        self.commit = index
        self.verified = max(self.verified, index)
        self.actions.append(.commit(index))
        let membership = self.log.memberships.latest
        guard membership.index <= index, !membership.membership.isJoint else { return }
        let isMember = membership.membership.member(self.id) != nil
        if !isMember, !self.isRetired, !membership.membership.members.isEmpty { self.actions.append(.retire) }
        self.isRetired = !isMember
    }

    // MARK: A log that comes as a whole

    /// A transfer has arrived: complete, checked, durable, and still aside.
    package mutating func logStaged(_ transfer: LogTransfer, summary: LogSummary, now: MonotonicInstant) {
        guard self.begin(now) else { return }
        let isCurrent = transfer.term == self.state.term && (self.leader == nil || self.leader == transfer.from)
        guard transfer.term > self.state.term || isCurrent, self.leadership == nil, transfer.to == self.id,
            self.mayWrite
        else {
            return self.actions.append(.discardLog(transfer))
        }
        self.follow(term: transfer.term, leader: transfer.from)
        // If its last entry is here, so is all before it; what stands behind it may be promised and must stay (Raft paper, 7).
        guard transfer.through.index > self.commit, self.log.term(at: transfer.through.index) != transfer.through.term
        else {
            self.actions.append(.discardLog(transfer))
            self.verified = max(self.verified, min(transfer.through.index, self.log.last.index))
            return self.acknowledge()
        }
        self.counters.logTransfers += 1
        self.actions.append(.write(self.log.replace(with: summary, transfer: transfer, at: self.clock.own)))
        self.verified = transfer.through.index
        self.committed(through: transfer.through.index)
    }
}
