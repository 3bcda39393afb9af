// A leader's own log, commitment and clock (Raft paper, 5.3, 5.4.2; thesis, 6.2, 10.2).

extension RaftReplica {
    /// Appends a batch of `count` entries in one term.
    ///
    /// The answer says which places they have; the actions hold the batch's write and the messages to the peers, to be done at the
    /// same time (thesis, 10.2.1). That they are final is told by ``RaftAction/commit(_:)``.
    ///
    /// - Parameter bytes: Of the entries' frames.
    package mutating func propose(count: Int, bytes: Int, now: MonotonicInstant) throws(RaftRefusal) -> EntryRange {
        try self.beginAsLeader(now)
        precondition(count > 0 && bytes >= 0, "a batch of \(count) entries, \(bytes) bytes")
        if let handover = self.leadership!.handover { throw .handingOver(to: handover.to) }
        let uncommitted = self.leadership!.uncommitted.bytes
        guard uncommitted == 0 || uncommitted + bytes <= self.settings.maxUncommittedBytes else {
            throw .limit("raft.max_uncommitted_bytes", self.settings.maxUncommittedBytes)
        }
        let batches = max(self.leadership!.uncommitted.count, self.log.writes.count)
        guard batches < self.settings.maxUncommittedBatches else {
            throw .limit("raft.max_uncommitted_batches", self.settings.maxUncommittedBatches)
        }
        let first = self.log.last.index + 1
        let entries = EntryRange(first: first, last: first + UInt64(count) - 1, term: self.state.term, bytes: bytes)
        self.append(entries, .proposed)
        return entries
    }

    mutating func beginAsLeader(_ now: MonotonicInstant) throws(RaftRefusal) {
        guard self.begin(now) else { throw .halted(self.failure ?? "") }
        guard self.leadership != nil else { throw .notLeader(hint: self.leader) }
    }

    /// Adds to its own log and to the peers'.
    mutating func append(_ entries: EntryRange, _ content: WriteOrder.Content) {
        self.actions.append(.write(self.log.write(entries, content: content, at: self.clock.own)))
        self.leadership!.uncommitted.add(last: entries.last, bytes: entries.bytes)
        self.leadership!.newest = entries
        for i in self.leadership!.peers.indices { self.replicate(to: i) }
    }

    /// Commits what a quorum has durable. The leader's own disk counts as any other: it may come last (thesis, 10.2.1).
    mutating func advanceCommit() {
        let index = self.leadership!.quorum(own: self.log.durable) { $0.match }
        guard index > self.commit else { return }
        // Only entries of its own term are committed by counting; older ones with them (Raft paper, 5.4.2 and figure 8).
        guard self.log.term(at: index) == self.state.term || self.plantedBugs.contains(.commitOldTerm) else { return }
        self.leadership!.uncommitted.release(through: index)
        self.committed(through: index)
        self.answerReads()
        for i in self.leadership!.peers.indices { self.tellCommit(i) }
        self.advanceMembership()
    }

    /// A peer that nothing is under way to learns of a commitment at once, not with the next heartbeat: its subscribers wait.
    mutating func tellCommit(_ i: Int) {
        guard self.leadership!.peers[i].mode == .replicating, self.leadership!.peers[i].inFlight.isEmpty,
            self.leadership!.peers[i].toldCommit < self.commit
        else { return }
        self.leadership!.peers[i].toldCommit = self.commit
        self.send(.commit(self.commit), to: self.leadership!.peers[i].id)
    }

    // MARK: Time

    mutating func tickLeader() {
        let now = self.clock.own
        // Check-quorum: one that a majority does not answer any more leads nobody (thesis, 6.2).
        let heard = MonotonicInstant(
            nanoseconds: self.leadership!.quorum(own: now.nanoseconds) { $0.heard.nanoseconds })
        guard now - heard <= self.timing.electionMax else { return self.follow(term: self.state.term, leader: nil) }
        if now >= self.leadership!.heartbeatDue { self.beginRound() }
        for i in self.leadership!.peers.indices { self.tickPeer(i, now) }
        self.tickHandover(now)
    }

    private mutating func tickPeer(_ i: Int, _ now: MonotonicInstant) {
        switch self.leadership!.peers[i].mode {
        case .probing:
            // Asked again after two heartbeats: unlike a batch, a question lost stops the peer altogether.
            guard let probed = self.leadership!.peers[i].probed, now - probed > 2 * self.timing.heartbeat else { break }
            self.leadership!.peers[i].probed = nil
        case .replicating:
            let isMissing = self.leadership!.peers[i].received + 1 < self.leadership!.peers[i].next
            guard isMissing, now - self.leadership!.peers[i].advanced > self.timing.retransmit else { return }
            self.leadership!.peers[i].probe(
                next: max(self.leadership!.peers[i].match, self.leadership!.peers[i].received) + 1)
        case .transferring(let transfer):
            guard now - self.leadership!.peers[i].advanced > self.timing.logTransferStall else { return }
            return self.endLogTransfer(transfer, isDelivered: false)
        }
        self.replicate(to: i)
    }
}
