internal import FileStore
internal import HLC
internal import JournalFormat
internal import JournalStore
internal import Logging
internal import PeerTransport
internal import Primitives
internal import Raft

/// Who should not lead: this replica and others, as they say of themselves.
struct LeaderDuty {
    static let diskFull = "its disk is nearly full"

    /// Why this replica should not.
    var whyUnfit: String?
    private var unfitPeers: Set<ReplicaID> = []
    /// Messages from clocks too far ahead.
    var refusedClocks: UInt64 = 0
    /// When the last of them was told of, by peer: once in ten seconds.
    fileprivate var toldOfClocks: [ReplicaID: UInt64] = [:]
    /// When leadership was last given up, and to whom.
    fileprivate var handedOver: (to: ReplicaID, at: UInt64)?

    mutating func hear(from peer: ReplicaID, isUnfit: Bool) {
        if isUnfit { self.unfitPeers.insert(peer) } else if !self.unfitPeers.isEmpty { self.unfitPeers.remove(peer) }
    }

    /// The fit voter that has most of the log, among those heard from within an election's time.
    func heir(among peers: [PeerProgress], heardWithin limit: Nanoseconds) -> PeerProgress? {
        peers.filter {
            $0.isVoter && !$0.isRecovering && $0.silence < limit && !self.unfitPeers.contains($0.id)
        }.max { ($0.match, $1.id) < ($1.match, $0.id) }
    }
}

extension ReplicaLoop {
    /// Takes a peer's clock over. One that is too far ahead would draw the clocks of all after it, for good: it is not taken
    /// (design 9, `max_clock_offset`), and neither is anything that rests on it: entries stamped by it, a leader's promises, votes. So it
    /// leads nobody. Its answers as a follower rest on its log alone, and count.
    func admit(_ message: PeerMessage) -> Bool {
        if self.clock.follow(message.clock) { return true }
        self.duty.refusedClocks += 1
        let (peer, now) = (message.message.from, SystemClock.boottimeNanoseconds())
        if self.duty.toldOfClocks[peer].map({ now - $0 > Self.tellingPause }) ?? true {
            self.duty.toldOfClocks[peer] = now
            self.log.warning(
                "the clock of a peer is too far ahead: what it stamps is refused",
                metadata: ["partition": "\(self.store.partition)", "peer": "\(peer)", "clock": "\(message.clock)"])
        }
        switch message.message.body {
        case .acknowledge, .reject, .timeoutNow: return true
        default: return false
        }
    }
    private static let tellingPause: UInt64 = 10_000_000_000

    /// Looks whether this replica should lead, and gives leadership up if it should not and another can.
    ///
    /// Nothing depends on it: an unfit leader still keeps every promise. But it refuses writes for want of room, or stamps them
    /// with a time that nobody else has.
    func judgeFitness() {
        var why = self.fitness()
        if why == nil {
            do throws(VecraftError) { try self.store.checkSpace(for: .upsert, &self.space) } catch { why = LeaderDuty.diskFull }
        }
        self.duty.whyUnfit = why
        if let why, self.raft.role == .leader { _ = self.handOver(because: why) }
    }

    /// - Returns: Who leads next; nil if there is nobody.
    func handOver(because why: String) -> ReplicaID? {
        let now = SystemClock.boottimeNanoseconds()
        if let last = self.duty.handedOver, now - last.at < Self.handOverPause { return last.to }
        let limit = self.raftSettings.electionTimeoutMin.nanoseconds
        guard let heir = self.duty.heir(among: self.raft.peers, heardWithin: limit) else { return nil }
        do throws(RaftRefusal) { try self.raft.transferLeadership(to: heir.id, now: Self.now) } catch { return nil }
        self.log.warning(
            "leadership is handed over",
            metadata: ["partition": "\(self.store.partition)", "to": "\(heir.id)", "why": "\(why)"])
        self.duty.handedOver = (heir.id, now)
        self.carryOut()
        return heir.id
    }
    /// Between two attempts: a handover takes an election at most.
    private static let handOverPause: UInt64 = 1_000_000_000

    /// How far each peer is behind this leader's log.
    func lags(_ peers: [PeerProgress]) -> [PeerLag] {
        let last = self.raft.last.index
        let now = SystemClock.monotonicNanoseconds()
        return peers.map { peer in
            let behind = last - min(peer.match, last)
            guard behind > 0 else { return PeerLag(id: peer.id, entries: 0, bytes: 0, nanoseconds: 0) }
            if let found = self.history.after(peer.match) {
                return PeerLag(id: peer.id, entries: behind, bytes: found.bytes, nanoseconds: now - min(now, found.since))
            }
            // All of it from before this leader: at most what the log takes on the disk.
            let share = Double(behind) / Double(max(behind, last - self.raft.logStart.index))
            return PeerLag(
                id: peer.id, entries: behind, bytes: UInt64(Double(self.store.diskBytes) * share), nanoseconds: peer.silence)
        }
    }
}
