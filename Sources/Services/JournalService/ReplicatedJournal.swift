package import FileStore
internal import HLC
package import JournalFormat
package import JournalStore
internal import Logging
package import NIOCore
package import PeerTransport
package import Primitives
package import Raft
internal import Synchronization
internal import Wire

/// The journal of a cluster, as one of its nodes sees it: a replica of every partition here, the leaders anywhere.
///
/// Appends and strong reads go to the partition's leader, wherever it is, and are repeated there until their time ends. An entry is
/// repeated after an unknown outcome only under its idempotency key, so that none is doubled.
package final class ReplicatedJournal: JournalClient, PeerReceiver {
    package let node: ReplicaID
    package let home: JournalHome
    package let directory: PeerDirectory
    private let byID: [PartitionID: JournalReplica]
    /// Of this node's journal, and of those that others came with.
    private let identity: UInt64
    private let identities: PeerIdentities
    private let skew: ClockSkew
    private let links: PeerLinks
    package let clients: PeerClients
    private let timers: any EventLoopGroup
    let isClosing = Atomic(false)
    private let questions = LeaderQuestions()
    private let looking: Mutex<RepeatedTask?> = Mutex(nil)
    /// How long after another leader is known a question to the old one is given up.
    private static let look: TimeAmount = .milliseconds(50)
    let trimLimit: Mutex<(@Sendable (PartitionID) async throws(VecraftError) -> JournalOffset)?> = Mutex(nil)
    let log = Logger(label: "vecraft.journal")

    /// An append or strong read is repeated for this long while there is no leader: a failover takes well under a second, a
    /// slow disk or a cut a few.
    package static let patience: Duration = .seconds(8)
    private static let pause: TimeAmount = .milliseconds(15)

    /// Opens this node's replicas and starts them; nothing reaches other nodes before ``start()``.
    ///
    /// - Parameters:
    ///   - members: Of groups that begin with this start; ``Membership/none`` for a node that is going to be added.
    ///   - membersOf: The same by partition, and then instead.
    ///   - maxClockOffsetMilliseconds: A node whose wall clock is further from the others' gives leadership up.
    package init(
        home: JournalHome, node: ReplicaID, members: Membership, directory: PeerDirectory, settings: JournalSettings,
        raft: RaftSettings, files: any FileStore, links: PeerLinks, clients: PeerClients, timers: any EventLoopGroup,
        maxClockOffsetMilliseconds: UInt64 = HLCState.defaultMaxOffset, observer: (any JournalObserver)? = nil,
        membersOf: (@Sendable (PartitionID) -> Membership)? = nil
    ) throws(VecraftError) {
        self.home = home
        self.node = node
        self.directory = directory
        self.links = links
        self.clients = clients
        self.timers = timers
        let identity = try home.identity(of: node.rawValue)
        self.identity = identity.value
        self.identities = try PeerIdentities(path: home.file("peer-identities"), files: files)
        let skew = ClockSkew()
        self.skew = skew
        var open: [PartitionID: JournalReplica] = [:]
        do throws(VecraftError) {
            for id in home.partitions {
                open[id] = try JournalReplica(
                    partition: id, directory: home.directory(of: id), replica: node, members: membersOf?(id) ?? members,
                    settings: settings,
                    raft: raft, files: files, clock: home.clock, sender: links, observer: observer,
                    address: { directory.address(of: $0) }, learned: { directory.learn($0) },
                    fitness: {
                        skew.note(links.lastClockOffsets)
                        let (clock, offsets) = (home.clock, links.clockOffsets)
                        clock.note(behind: UInt64(max(0, ClockJudgement.middle(offsets) / 1_000_000)))
                        return ClockJudgement.whyUnfit(
                            offsets, lead: clock.lead, limitMilliseconds: maxClockOffsetMilliseconds)
                    })
            }
            try home.keep(identity)
        } catch {
            for replica in open.values { replica.close() }
            throw error
        }
        self.byID = open
    }

    /// Links are made from here on.
    package func start() {
        self.links.start(receiver: self, identity: self.identity)
        let task = self.timers.next().scheduleRepeatedTask(initialDelay: Self.look, delay: Self.look) {
            [questions, byID] _ in
            questions.giveUp { byID[$0]?.status.leader }
        }
        self.looking.withLock { $0 = task }
        self.directory.onChange { [links, clients] peers in
            links.setPeers(peers)
            clients.setPeers(peers)
        }
    }

    /// Ends the links, then the replicas; their leaders hand over before.
    package func close() async {
        guard !self.isClosing.exchange(true, ordering: .acquiringAndReleasing) else { return }
        await self.handOver()
        self.looking.withLock { $0.take() }?.cancel()
        await self.links.shutdown()
        await self.clients.close()
        for replica in self.byID.values { replica.close() }
        self.home.close()
    }

    /// An orderly end should cost nobody an election timeout: each leader names the voter that is furthest.
    private func handOver() async {
        for replica in self.byID.values {
            let status = replica.status
            guard status.role == .leader else { continue }
            let heir = status.peers.filter { $0.isVoter && $0.silence < 300_000_000 }.max { $0.match < $1.match }
            guard let heir else { continue }
            replica.transferLeadership(to: heir.id) { _ in }
        }
        for _ in 0..<50 {
            let leads = self.byID.values.contains {
                $0.status.role == .leader && $0.status.peers.contains { $0.isVoter && $0.silence < 300_000_000 }
            }
            if !leads { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    package func replica(_ partition: PartitionID) throws(VecraftError) -> JournalReplica {
        guard let replica = self.byID[partition] else { throw LocalJournal.unknown(partition) }
        return replica
    }

    package var replicas: [JournalReplica] { self.byID.sorted { $0.key < $1.key }.map(\.value) }

    // MARK: JournalClient

    package var isReplicated: Bool { true }
    /// Of all peers ever measured, for any of them may have led.
    package var clockSkewMilliseconds: UInt64 { self.skew.milliseconds.load(ordering: .relaxed) }
    package var partitions: [PartitionID] { self.home.partitions }

    package func append(
        _ entry: EncodedEntry, to partition: PartitionID,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        guard self.byID[partition] != nil else { return completion(.failure(LocalJournal.unknown(partition))) }
        self.attempt(entry, partition, until: .now() + TimeAmount(Self.patience), completion)
    }

    private func attempt(
        _ entry: EncodedEntry, _ partition: PartitionID, until end: NIODeadline,
        _ completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        let replica = self.byID[partition]!
        let status = replica.status
        let answer: @Sendable (Result<Appended, VecraftError>) -> Void = { [self] result in
            guard case .failure(let error) = result,
                self.isWorthAgain(error, hasKey: !entry.idempotencyKey.isEmpty, until: end)
            else { return completion(result) }
            // Only then is it known that nothing was written.
            if error.reason == VecraftError.notLeaderReason, self.isRemoved(partition, until: end) {
                return completion(.failure(.notAMember(partition, self.node)))
            }
            self.later { self.attempt(entry, partition, until: end, completion) }
        }
        if let outage = self.outage(status) { return completion(.failure(outage)) }
        guard let leader = status.leader, leader != self.node, status.role != .leader else {
            return replica.append(entry, completion: answer)
        }
        let request = VecraftInternalV1.AppendRequest(partition: partition.description, entry: entry.bytes)
        let heard = self.questions.ask(partition, leader, answer)
        self.clients.call("Forward", request, at: leader, timeout: Self.patience) {
            (result: Result<VecraftInternalV1.AppendResponse, VecraftError>) in
            heard(
                result.map {
                    Appended(
                        offset: $0.offset, hlc: HLCTimestamp(rawValue: $0.hlc), term: $0.term, replayed: $0.replayed)
                })
        }
    }

    /// Nobody has led for so long that it is no failover any more: whoever asks hears so at once.
    private func outage(_ status: ReplicaStatus) -> VecraftError? {
        guard !status.isLeftOut, status.leader == nil, let since = status.leaderlessSince else { return nil }
        let now = SystemClock.monotonicNanoseconds()
        let silent = (now - min(since, now)) / 1_000_000
        guard silent > Self.outageMilliseconds else { return nil }
        return VecraftError(
            .unavailable,
            "\(status.partition) has had no leader for \(silent / 1000) s: is a majority of its nodes there?",
            reason: VecraftError.notLeaderReason, retryAfter: .seconds(1))
    }
    /// Many elections long.
    private static let outageMilliseconds: UInt64 = 3_000

    /// Waiting for a leader is in vain. A moment is waited all the same: one that is added again hears of the groups it was not in
    /// before it hears of the one it is in, and its leader may change meanwhile.
    private func isRemoved(_ partition: PartitionID, until end: NIODeadline) -> Bool {
        let status = self.byID[partition]!.status
        return status.isLeftOut && status.leader == nil
            && NIODeadline.now() > end - TimeAmount(Self.patience - .seconds(1))
    }

    /// - Parameter hasKey: It may be repeated although the first attempt may have gone through.
    private func isWorthAgain(_ error: VecraftError, hasKey: Bool, until end: NIODeadline) -> Bool {
        guard NIODeadline.now() + Self.pause < end, !self.isClosing.load(ordering: .relaxed) else { return false }
        switch error.reason {
        case VecraftError.notLeaderReason: return true
        case "UNKNOWN_PEER", "JOURNAL_CLOSED": return true
        case VecraftError.leadershipLostReason: return hasKey
        default:
            // A lost connection: the leader may have died with the entry, or after it.
            return hasKey
                && (error.code == .unavailable && error.reason != "JOURNAL_FAILED" || error.code == .cancelled)
        }
    }

    private func later(_ act: @escaping @Sendable () -> Void) {
        self.timers.next().scheduleTask(in: Self.pause) { act() }
    }

    package func readIndex(
        _ partition: PartitionID, completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) {
        guard self.byID[partition] != nil else { return completion(.failure(LocalJournal.unknown(partition))) }
        self.attemptRead(partition, until: .now() + TimeAmount(Self.patience), completion)
    }

    private func attemptRead(
        _ partition: PartitionID, until end: NIODeadline,
        _ completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) {
        let replica = self.byID[partition]!
        let status = replica.status
        let answer: @Sendable (Result<JournalOffset, VecraftError>) -> Void = { [self] result in
            guard case .failure(let error) = result, self.isWorthAgain(error, hasKey: true, until: end) else {
                return completion(result)
            }
            if error.reason == VecraftError.notLeaderReason, self.isRemoved(partition, until: end) {
                return completion(.failure(.notAMember(partition, self.node)))
            }
            self.later { self.attemptRead(partition, until: end, completion) }
        }
        if let outage = self.outage(status) { return completion(.failure(outage)) }
        guard let leader = status.leader, leader != self.node, status.role != .leader else {
            return replica.readIndex(answer)
        }
        let request = VecraftInternalV1.ReadIndexRequest(partition: partition.description)
        let heard = self.questions.ask(partition, leader, answer)
        self.clients.call("ReadIndex", request, at: leader, timeout: .seconds(2)) {
            (result: Result<VecraftInternalV1.ReadIndexResponse, VecraftError>) in heard(result.map(\.offset))
        }
    }

    package func position(_ partition: PartitionID) throws(VecraftError) -> JournalPosition {
        let replica = try self.replica(partition)
        let (committed, closed) = replica.position
        return JournalPosition(first: replica.firstOffset, committed: committed, closed: closed)
    }

    package func freshness(of partition: PartitionID, at offset: JournalOffset) -> UInt64? {
        self.byID[partition]?.freshness(at: offset)
    }

    package func read(
        _ partition: PartitionID, from offset: JournalOffset, maxBytes: Int
    ) throws(VecraftError) -> EntryBatch {
        try self.replica(partition).read(from: offset, maxBytes: maxBytes)
    }

    package func find(
        _ keys: [LineageKey], in partition: PartitionID, below: JournalOffset, atLeast count: Int, deadline: UInt64
    ) throws(VecraftError) -> LineageHits {
        try self.replica(partition).store.find(keys, below: below, atLeast: count, deadline: deadline)
    }

    package func offset(in partition: PartitionID, atOrAfter time: HLCTimestamp) throws(VecraftError) -> JournalOffset {
        try self.replica(partition).store.offset(atOrAfter: time)
    }

    package func onCommit(
        _ partition: PartitionID, _ callback: @escaping @Sendable (JournalOffset) -> Void
    ) throws(VecraftError) -> Subscription {
        try self.replica(partition).onCommit(callback)
    }

    package func status(_ partition: PartitionID) throws(VecraftError) -> JournalPartitionStatus {
        let replica = try self.replica(partition)
        let status = replica.status
        return JournalPartitionStatus(
            partition: partition, term: status.term, first: replica.firstOffset, committed: replica.committed,
            lastHLC: replica.lastHLC, diskBytes: replica.diskBytes, segments: replica.segmentCount, replica: status)
    }

    package func verify(_ partition: PartitionID, deadline: UInt64) throws(VecraftError) -> PartitionReport {
        try self.replica(partition).verify(deadline: deadline)
    }

    // MARK: PeerReceiver

    package func admit(_ peer: ReplicaID, identity: UInt64) throws(VecraftError) {
        try self.identities.admit(peer, identity)
    }
    package func receive(_ message: PeerMessage) { self.byID[message.partition]?.receive(message) }
    package func linkReset(_ peer: ReplicaID) { for replica in self.byID.values { replica.linkReset(peer) } }
    package func stage(_ transfer: LogTransfer, partition: PartitionID) throws(VecraftError) -> any LogStaging {
        try self.replica(partition).stage(transfer)
    }
}

/// A journal that its node's listener knows of before it is open.
package final class LateJournal: Sendable {
    private let state: Mutex<ReplicatedJournal?>

    package init(_ journal: ReplicatedJournal? = nil) { self.state = Mutex(journal) }

    package var journal: ReplicatedJournal? {
        get { self.state.withLock { $0 } }
        set { self.state.withLock { $0 = newValue } }
    }

    func opened() throws(VecraftError) -> ReplicatedJournal {
        guard let journal = self.journal else {
            throw VecraftError(
                .unavailable, "the node is starting", reason: "NOT_READY", retryAfter: .milliseconds(200))
        }
        return journal
    }
}

/// Questions under way to other nodes that lead. One is given up when this node hears of another leader: the old one may be behind a
/// cut, from where no answer comes and no refusal either.
final class LeaderQuestions: Sendable {
    private struct Question {
        let partition: PartitionID
        let leader: ReplicaID
        let giveUp: @Sendable () -> Void
    }
    private struct State {
        var open: [UInt64: Question] = [:]
        var last: UInt64 = 0
    }
    private let state = Mutex(State())

    /// - Returns: What answers it; an answer that comes later than ``giveUp(_:)`` is not heard.
    func ask<T: Sendable>(
        _ partition: PartitionID, _ leader: ReplicaID,
        _ completion: @escaping @Sendable (Result<T, VecraftError>) -> Void
    ) -> @Sendable (Result<T, VecraftError>) -> Void {
        let id = self.state.withLock { state in
            state.last += 1
            state.open[state.last] = Question(partition: partition, leader: leader) {
                completion(.failure(.leadershipLost(partition)))
            }
            return state.last
        }
        return { result in
            guard self.state.withLock({ $0.open.removeValue(forKey: id) }) != nil else { return }
            completion(result)
        }
    }

    /// Of partitions that another node leads by now.
    func giveUp(_ leader: (PartitionID) -> ReplicaID?) {
        let open = self.state.withLock { $0.open }
        for (id, question) in open {
            guard let newest = leader(question.partition), newest != question.leader else { continue }
            guard self.state.withLock({ $0.open.removeValue(forKey: id) }) != nil else { continue }
            question.giveUp()
        }
    }
}
