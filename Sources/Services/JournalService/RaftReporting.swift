package import Observability
internal import Primitives
internal import Raft
internal import Synchronization

/// The metrics of this node's replicas, by partition; filled at the scrape.
package final class RaftReporting: Sendable {
    private let role: GaugeFamily
    private let term: GaugeFamily
    private let hasLeader: GaugeFamily
    private let commit: GaugeFamily
    private let last: GaugeFamily
    private let durable: GaugeFamily
    private let inFlight: GaugeFamily
    private let members: GaugeFamily
    private let recovering: GaugeFamily
    private let unfit: GaugeFamily
    private let lagEntries: GaugeFamily
    private let lagBytes: GaugeFamily
    private let lagSeconds: GaugeFamily
    private let silence: GaugeFamily
    private let leaderChanges: CounterFamily
    private let elections: CounterFamily
    private let refusedVotes: CounterFamily
    private let rejects: CounterFamily
    private let reads: CounterFamily
    private let transfers: CounterFamily
    private let trims: CounterFamily
    private let dropped: CounterFamily
    private let refusedClocks: CounterFamily
    private let halted: GaugeFamily
    private let known = Mutex<[PartitionID: (counters: RaftCounters, dropped: UInt64, clocks: UInt64)]>([:])

    package init(_ registry: MetricsRegistry) {
        let by = ["partition"]
        self.role = registry.gauge(
            "vecraft_raft_role", help: "1 for the role that this node's replica has, by partition and role.", labels: ["partition", "role"])
        self.term = registry.gauge("vecraft_raft_term", help: "Term of this node's replica.", labels: by)
        self.hasLeader = registry.gauge("vecraft_raft_has_leader", help: "1 while a leader is known.", labels: by)
        self.commit = registry.gauge("vecraft_raft_commit_index", help: "Committed, as this node's replica knows.", labels: by)
        self.last = registry.gauge("vecraft_raft_last_index", help: "Last entry in this node's log, committed or not.", labels: by)
        self.durable = registry.gauge("vecraft_raft_durable_index", help: "Last entry durable on this node.", labels: by)
        self.inFlight = registry.gauge(
            "vecraft_raft_in_flight_bytes", help: "Sent to peers and not durable there, as a leader knows.", labels: by)
        self.members = registry.gauge("vecraft_raft_voters", help: "Voters of the partition's group.", labels: by)
        self.recovering = registry.gauge(
            "vecraft_raft_recovering", help: "1 while a replica that lost entries does not vote.", labels: by)
        self.lagEntries = registry.gauge(
            "vecraft_raft_peer_lag_entries", help: "Entries not durable on a peer, as the leader knows.", labels: ["partition", "peer"])
        self.lagBytes = registry.gauge(
            "vecraft_raft_peer_lag_bytes", help: "Bytes of entries not durable on a peer, as the leader knows.",
            labels: ["partition", "peer"])
        self.lagSeconds = registry.gauge(
            "vecraft_raft_peer_lag_seconds", help: "Since the first entry that is not durable on a peer was proposed.",
            labels: ["partition", "peer"])
        self.unfit = registry.gauge(
            "vecraft_raft_unfit_to_lead",
            help: "1 while this replica gives leadership up: its disk is nearly full, or its clock is far from the others'.", labels: by)
        self.silence = registry.gauge(
            "vecraft_raft_peer_silence_seconds", help: "Since a peer's last answer to the leader.", labels: ["partition", "peer"])
        self.leaderChanges = registry.counter(
            "vecraft_raft_leader_changes_total", help: "Times this node's replica became leader or ceased to lead.", labels: by)
        self.elections = registry.counter("vecraft_raft_elections_total", help: "Elections that this node's replica began.", labels: by)
        self.refusedVotes = registry.counter("vecraft_raft_votes_refused_total", help: "Votes and pre-votes refused.", labels: by)
        self.rejects = registry.counter("vecraft_raft_append_rejects_total", help: "Appends that did not fit a log.", labels: by)
        self.reads = registry.counter(
            "vecraft_raft_reads_total", help: "Strong reads confirmed, under the lease or by a round of messages.", labels: ["partition", "by"])
        self.transfers = registry.counter(
            "vecraft_raft_log_transfers_total", help: "Logs sent or taken as a whole.", labels: by)
        self.dropped = registry.counter(
            "vecraft_raft_messages_dropped_total", help: "Messages of peers that found no room in a replica's inbox.", labels: by)
        self.refusedClocks = registry.counter(
            "vecraft_raft_clocks_refused_total",
            help: "Messages of peers whose clocks are too far ahead, that were not taken or whose clocks were not.", labels: by)
        self.halted = registry.gauge(
            "vecraft_raft_halted", help: "1 once this node's replica does nothing more: its disk failed, or damage was found.",
            labels: by)
        self.trims = registry.counter("vecraft_raft_trims_total", help: "Times the log's start was moved.", labels: by)
    }

    package func collect(_ journal: ReplicatedJournal) {
        for replica in journal.replicas { self.collect(replica.status, dropped: replica.droppedMessages) }
    }

    private func collect(_ status: ReplicaStatus, dropped: UInt64) {
        let name = status.partition.description
        for role in [RaftRole.follower, .preCandidate, .candidate, .leader] {
            self.role.with(name, role.rawValue).set(role == status.role ? 1 : 0)
        }
        self.term.with(name).set(status.term)
        self.hasLeader.with(name).set(status.leader == nil ? 0 : 1)
        self.commit.with(name).set(status.committed)
        self.last.with(name).set(status.last)
        self.durable.with(name).set(status.durable)
        self.inFlight.with(name).set(status.inFlightBytes)
        self.members.with(name).set(status.membership.voters.count)
        self.recovering.with(name).set(status.isRecovering ? 1 : 0)
        self.unfit.with(name).set(status.whyUnfit == nil ? 0 : 1)
        self.halted.with(name).set(status.failure == nil ? 0 : 1)
        for member in status.membership.members where member.id != status.replica {
            let peer = status.peers.first { $0.id == member.id }
            let lag = status.lags.first { $0.id == member.id }
            self.lagEntries.with(name, member.id.description).set(lag?.entries ?? 0)
            self.lagBytes.with(name, member.id.description).set(lag?.bytes ?? 0)
            self.lagSeconds.with(name, member.id.description).set(Double(lag?.nanoseconds ?? 0) / 1e9)
            self.silence.with(name, member.id.description).set(peer.map { Double($0.silence) / 1e9 } ?? 0)
        }
        let before = self.known.withLock { known in
            defer { known[status.partition] = (status.counters, dropped, status.refusedClocks) }
            return known[status.partition] ?? (RaftCounters(), 0, 0)
        }
        self.dropped.with(name).increment(by: dropped - min(before.dropped, dropped))
        self.refusedClocks.with(name).increment(by: status.refusedClocks - min(before.clocks, status.refusedClocks))
        func add(_ family: CounterFamily, _ labels: [String], _ path: KeyPath<RaftCounters, Int>) {
            let grown = status.counters[keyPath: path] - before.counters[keyPath: path]
            let counter = labels.count == 1 ? family.with(labels[0]) : family.with(labels[0], labels[1])
            counter.increment(by: UInt64(max(0, grown)))
        }
        add(self.leaderChanges, [name], \.leaderships)
        add(self.leaderChanges, [name], \.stepDowns)
        add(self.elections, [name], \.elections)
        add(self.refusedVotes, [name], \.refusedVotes)
        add(self.rejects, [name], \.rejects)
        add(self.reads, [name, "lease"], \.leaseReads)
        add(self.reads, [name, "round"], \.roundReads)
        add(self.transfers, [name], \.logTransfers)
        add(self.trims, [name], \.trims)
    }
}
