// What holds after every event. Checked after each step of a simulation, and by a driver's debug build.

extension RaftReplica {
    /// - Returns: What does not hold; nil if all does.
    package func brokenInvariant() -> String? {
        if self.failure != nil { return nil }
        return self.brokenLog() ?? self.brokenState() ?? self.brokenLeadership()
    }

    private func brokenLog() -> String? {
        let log = self.log
        if !log.runs.isOrdered { return "terms are out of order" }
        if log.durable > log.last.index { return "durable through \(log.durable), but the log ends at \(log.last)" }
        if self.commit < log.start.index || self.commit > log.last.index {
            return "committed \(self.commit), but the log is \(log.start)...\(log.last)"
        }
        if self.verified < self.commit || self.verified > log.last.index {
            return "verified \(self.verified), committed \(self.commit), last \(log.last)"
        }
        let records = log.memberships.records
        let areOrdered = zip(records, records.dropFirst()).allSatisfy { $0.index < $1.index }
        if !areOrdered || log.memberships.latest.index > log.last.index { return "configurations are out of order" }
        return nil
    }

    private func brokenState() -> String? {
        if self.log.last.term > self.state.term {
            return "the log ends \(self.log.last), the term is \(self.state.term)"
        }
        if self.leadership != nil, self.campaign != nil { return "leader and candidate at once" }
        if self.saves.done > self.saves.last { return "saved what was not asked for" }
        if self.owed.vote != nil, self.owed.vote != self.state.votedFor { return "owes another vote than it gave" }
        if self.state.isRecovering, self.campaign != nil { return "campaigns while recovering" }
        return nil
    }

    private func brokenLeadership() -> String? {
        guard let leadership = self.leadership else { return nil }
        if self.state.votedFor != self.id || self.leader != self.id { return "leads without its own vote" }
        if !self.saves.isDone { return "leads a term that is not durable" }
        for peer in leadership.peers {
            if peer.match >= peer.next { return "peer \(peer.id): match \(peer.match), next \(peer.next)" }
            if peer.next > self.log.last.index + 1 {
                return "peer \(peer.id): next \(peer.next) beyond \(self.log.last)"
            }
            if peer.inFlight.bytes < 0 || peer.inFlight.count > self.settings.maxInFlightMessages {
                return "peer \(peer.id): \(peer.inFlight.count) messages, \(peer.inFlight.bytes) bytes in flight"
            }
            if peer.mode == .probing, !peer.inFlight.isEmpty { return "peer \(peer.id): probed with batches in flight" }
        }
        if leadership.peers.map(\.id) + [self.id] != self.membership.members.map(\.id).filter({ $0 != self.id }) + [
            self.id
        ] {
            return "peers are not the members"
        }
        return nil
    }
}
