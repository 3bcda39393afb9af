// A leader and its peers' logs (Raft paper, 5.3; thesis, 10.2.1, pipelining).

extension RaftReplica {
    /// Sends a peer all that may be sent to it now.
    mutating func replicate(to i: Int) {
        while let append = self.nextAppend(to: i) {
            self.leadership!.peers[i].toldCommit = max(self.leadership!.peers[i].toldCommit, append.commit)
            self.send(.append(append), to: self.leadership!.peers[i].id)
        }
    }

    private mutating func nextAppend(to i: Int) -> RaftMessage.Append? {
        switch self.leadership!.peers[i].mode {
        case .probing: self.probe(i)
        case .replicating: self.batch(to: i)
        case .transferring: nil
        }
    }

    private mutating func probe(_ i: Int) -> RaftMessage.Append? {
        guard self.leadership!.peers[i].probed == nil else { return nil }
        let next = self.leadership!.peers[i].next
        guard let previous = self.position(before: next) else {
            self.beginLogTransfer(to: i)
            return nil
        }
        self.leadership!.peers[i].probed = self.clock.own
        var entries: EntryRange?
        if next <= self.log.last.index {
            let batch = self.entries(from: next, maxBytes: self.settings.maxProbeBytes)
            if batch.bytes <= self.settings.maxProbeBytes { entries = batch }
        }
        return self.message(previous, entries)
    }

    private mutating func batch(to i: Int) -> RaftMessage.Append? {
        let next = self.leadership!.peers[i].next
        let room = self.settings.maxInFlightBytes - self.leadership!.peers[i].inFlight.bytes
        guard next <= self.log.last.index, room > 0,
            self.leadership!.peers[i].inFlight.count < self.settings.maxInFlightMessages
        else { return nil }
        guard let previous = self.position(before: next) else {
            // Trimmed while the peer lagged.
            self.leadership!.peers[i].probe(next: next)
            return self.probe(i)
        }
        let entries = self.entries(from: next, maxBytes: min(self.settings.maxBatchBytes, room))
        if self.leadership!.peers[i].inFlight.isEmpty { self.leadership!.peers[i].advanced = self.clock.own }
        self.leadership!.peers[i].inFlight.add(last: entries.last, bytes: entries.bytes)
        self.leadership!.peers[i].next = entries.last + 1
        return self.message(previous, entries)
    }

    private func message(_ previous: LogPosition, _ entries: EntryRange?) -> RaftMessage.Append {
        RaftMessage.Append(
            previous: previous, entries: entries, commit: self.commit, round: self.leadership!.rounds.current)
    }

    /// The position before an entry; nil if it has been trimmed.
    private func position(before next: LogIndex) -> LogPosition? {
        guard next > 0, let term = self.log.term(at: next - 1) else { return nil }
        return LogPosition(index: next - 1, term: term)
    }

    /// A batch of one term, and of one kind: a configuration goes alone.
    private func entries(from first: LogIndex, maxBytes: Int) -> EntryRange {
        let newest = self.leadership!.newest
        if first == newest.first { return newest }
        // The store may not have the newest batch yet: its write is among the actions that are just being made.
        var last = self.log.runs.runEnd(of: first)
        if first < newest.first { last = min(last, newest.first - 1) }
        var membership: Membership?
        if let record = self.log.memberships.next(from: first) {
            membership = record.index == first ? record.membership : nil
            last = record.index == first ? first : min(last, record.index - 1)
        }
        let extent = self.view.extent(from: first, through: last, maxBytes: maxBytes)
        return EntryRange(
            first: first, last: extent.last, term: self.log.term(at: first) ?? 0, bytes: extent.bytes,
            membership: membership)
    }

    // MARK: Answers

    mutating func receiveAcknowledge(_ reply: RaftMessage.Acknowledge, from: ReplicaID) {
        guard let i = self.leadership?.position(of: from),
            self.meets(i, incarnation: reply.incarnation, isRecovering: reply.isRecovering)
        else { return }
        let last = self.log.last.index
        let match = self.leadership!.peers[i].match
        let isNewest = reply.round >= self.leadership!.peers[i].round
        let hasAdvanced = reply.durable > match || reply.matched > self.leadership!.peers[i].received
        self.leadership!.peers[i].hear(now: self.clock.own)
        if isNewest {
            self.leadership!.peers[i].round = min(reply.round, self.leadership!.rounds.current)
            self.leadership!.peers[i].received = min(reply.matched, last)
        }
        if hasAdvanced { self.leadership!.peers[i].advanced = self.clock.own }
        if reply.durable > match {
            self.leadership!.peers[i].match = min(reply.durable, last)
            self.leadership!.peers[i].inFlight.release(through: reply.durable)
            self.leadership!.peers[i].next = max(self.leadership!.peers[i].next, self.leadership!.peers[i].match + 1)
        }
        self.follow(up: i, reply, hasRestarted: isNewest && reply.matched < match)
        self.confirmRounds()
        guard self.leadership != nil else { return }
        if reply.durable > match { self.advanceCommit() }
        // Committing its own removal ends a leader.
        guard self.leadership != nil, i < self.leadership!.peers.count, self.leadership!.peers[i].id == from else {
            return
        }
        self.replicate(to: i)
        self.tellCommit(i)
        self.advanceHandover()
    }

    private mutating func follow(up i: Int, _ reply: RaftMessage.Acknowledge, hasRestarted: Bool) {
        switch self.leadership!.peers[i].mode {
        case .probing:
            // An answer to a heartbeat may say less than the question would find: it ends the probing only if it says as much.
            if reply.matched + 1 >= self.leadership!.peers[i].next {
                self.leadership!.peers[i].replicate(now: self.clock.own)
            }
        case .replicating:
            // Knows less than it had durable: started anew. One question, and it knows again how far its log is the leader's.
            if hasRestarted { self.leadership!.peers[i].probe(next: self.leadership!.peers[i].match + 1) }
        case .transferring(let transfer):
            if reply.matched >= transfer.through.index { self.leadership!.peers[i].replicate(now: self.clock.own) }
        }
    }

    mutating func receiveReject(_ reject: RaftMessage.Reject, from: ReplicaID) {
        guard let i = self.leadership?.position(of: from),
            self.meets(i, incarnation: reject.incarnation, isRecovering: reject.isRecovering)
        else { return }
        self.leadership!.peers[i].hear(now: self.clock.own)
        // Late, or of a question not asked any more.
        guard reject.previous > self.leadership!.peers[i].match, self.isAwaited(reject, i) else { return }
        self.counters.rejects += 1
        var next = reject.hint.index + 1
        if reject.hint.index >= self.log.start.index {
            // The last entry here that may be there too (Raft paper, end of 5.3). Each refusal leads strictly further back.
            next = self.log.runs.floor(index: reject.hint.index, term: reject.hint.term).index + 1
        }
        self.leadership!.peers[i].probe(next: min(next, reject.previous))
        self.replicate(to: i)
    }

    private func isAwaited(_ reject: RaftMessage.Reject, _ i: Int) -> Bool {
        switch self.leadership!.peers[i].mode {
        case .probing: reject.previous + 1 == self.leadership!.peers[i].next
        case .replicating: reject.previous < self.leadership!.peers[i].next
        case .transferring: false
        }
    }

    /// What was under way to a peer is lost: its connection broke.
    package mutating func linkReset(_ peer: ReplicaID, now: MonotonicInstant) {
        guard self.begin(now), let i = self.leadership?.position(of: peer),
            self.leadership!.peers[i].mode == .replicating || self.leadership!.peers[i].mode == .probing
        else { return }
        self.leadership!.peers[i].probe(next: self.leadership!.peers[i].match + 1)
        self.replicate(to: i)
    }

    // MARK: Below the log's start

    private mutating func beginLogTransfer(to i: Int) {
        let now = self.clock.own
        let running = self.leadership!.peers.count { if case .transferring = $0.mode { true } else { false } }
        let through = min(self.commit, self.log.durable)
        guard running < self.settings.maxLogTransfers, now - self.leadership!.peers[i].heard < self.timing.electionMax,
            through >= self.log.start.index, let term = self.log.term(at: through)
        else {
            self.leadership!.peers[i].probed = now
            return
        }
        self.leadership!.transferNumber += 1
        let start = LogStart(
            position: self.log.start, membership: self.log.memberships.membership(at: self.log.start.index))
        let transfer = LogTransfer(
            from: self.id, to: self.leadership!.peers[i].id, term: self.state.term,
            number: self.leadership!.transferNumber,
            start: start, through: LogPosition(index: through, term: term))
        self.leadership!.peers[i].mode = .transferring(transfer)
        self.leadership!.peers[i].advanced = now
        self.counters.logTransfers += 1
        self.actions.append(.sendLog(transfer))
    }

    /// Bytes of a transfer have arrived.
    package mutating func logTransferAdvanced(_ transfer: LogTransfer, now: MonotonicInstant) {
        guard self.begin(now), let i = self.peer(of: transfer) else { return }
        self.leadership!.peers[i].advanced = self.clock.own
    }

    /// A transfer is over: staged by the peer, or given up.
    package mutating func logTransferEnded(_ transfer: LogTransfer, isDelivered: Bool, now: MonotonicInstant) {
        guard self.begin(now) else { return }
        self.endLogTransfer(transfer, isDelivered: isDelivered)
    }

    mutating func endLogTransfer(_ transfer: LogTransfer, isDelivered: Bool) {
        guard let i = self.peer(of: transfer) else { return }
        self.leadership!.peers[i].probe(next: isDelivered ? transfer.through.index + 1 : transfer.start.position.index)
        // One that failed is tried again, but not at once.
        if !isDelivered { self.leadership!.peers[i].probed = self.clock.own }
        self.replicate(to: i)
    }

    private func peer(of transfer: LogTransfer) -> Int? {
        guard let leadership = self.leadership, transfer.term == self.state.term else { return nil }
        return leadership.peers.firstIndex { $0.mode == .transferring(transfer) }
    }
}
