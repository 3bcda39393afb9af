// Coming back without entries that were durable once.
//
// Such a replica may have helped to commit what it lost. If it voted, a majority could elect a leader without those entries. So it
// says so, under a new incarnation, and neither votes nor campaigns until it again has all it may have promised:
//
// 1. The incarnation and the fact are durable before anything is said (``HardState``): a second crash does not hide the first.
//    Until then the damage stays on the disk, and nothing is written behind it.
// 2. A leader that hears of a new incarnation forgets what older ones acknowledged and ignores what still arrives from them.
// 3. It answers with its last index at that moment. Every entry that an older incarnation acknowledged and that is committed is in
//    that leader's log by then: the leader was elected either with this replica's vote from before the loss, whose log had it, or
//    by a majority without this replica, which meets the entry's majority in another replica (Raft paper, 5.4.3).
// 4. When the log is the leader's through that index, and durable, that is saved, and from then on it votes.
//
// Its acknowledgements count for commitment all the time: they are true. Sources: the rule that one without its state must not
// take part as itself: thesis, 3.8; the nonce and waiting for a leader's log: Liskov and Cowling, "Viewstamped Replication
// Revisited" (2012), 4.3; that damage is told from a torn tail and mended from others: Alagappan et al., "Protocol-Aware Recovery
// for Consensus-Based Storage" (FAST 2018), 3.3. Losing term or vote is not recovered from: that replica is removed, another added.

extension RaftReplica {
    /// At start.
    mutating func recover(_ start: RaftStart) {
        if start.hasLostEntries {
            self.state.incarnation += 1
            self.state.isRecovering = true
        }
        // The log may be durable before the term is: then nothing was said in that term, and no vote was given.
        if self.log.last.term > self.state.term {
            self.state.term = self.log.last.term
            self.state.votedFor = nil
        }
        if self.plantedBugs.contains(.voteTwice) { self.state.votedFor = nil }
        if self.state != start.hardState { self.save() }
    }

    /// While the disk may still say that nothing was lost, nothing is written over the damage that would say otherwise.
    var mayWrite: Bool { !self.state.isRecovering || self.saves.isDone }

    /// The leader said how far to catch up, or the log got further.
    mutating func finishRecovery() {
        guard self.state.isRecovering, let point = self.recoveryPoint, point.incarnation == self.state.incarnation,
            min(self.verified, self.log.durable) >= point.through
        else { return }
        self.state.isRecovering = false
        self.recoveryPoint = nil
        self.save()
    }

    /// Leader: takes note of an answer's incarnation.
    ///
    /// - Returns: False if the answer is from an incarnation before a loss, and worth nothing.
    mutating func meets(_ i: Int, incarnation: UInt32, isRecovering: Bool) -> Bool {
        let last = self.log.last.index
        let known = self.leadership!.peers[i].incarnation
        guard incarnation >= known else { return false }
        if incarnation > known {
            self.leadership!.peers[i].incarnation = incarnation
            self.leadership!.peers[i].recovery = nil
            self.leadership!.peers[i].match = 0
            self.leadership!.peers[i].received = 0
            self.leadership!.peers[i].probe(next: last + 1)
        }
        if !isRecovering {
            self.leadership!.peers[i].recovery = nil
        } else if self.leadership!.peers[i].recovery == nil {
            self.leadership!.peers[i].recovery = .init(incarnation: incarnation, through: last)
        }
        return true
    }
}
