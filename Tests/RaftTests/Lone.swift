import Primitives
import Raft

/// Entries of 100 bytes each.
final class EvenView: RaftLogView {
    func extent(from first: LogIndex, through last: LogIndex, maxBytes: Int) -> (last: LogIndex, bytes: Int) {
        let count = max(1, min(last - first + 1, UInt64(maxBytes / 100)))
        return (first + count - 1, Int(count) * 100)
    }
}

/// One replica whose surroundings a test plays by hand.
struct Lone {
    var raft: RaftReplica
    var now = MonotonicInstant(nanoseconds: 0)

    init(
        _ id: UInt64 = 1, voters: [UInt64] = [1, 2, 3], settings: RaftSettings = RaftSettings(),
        start: RaftStart? = nil,
        bugs: PlantedBugs = []
    ) {
        let log = LogSummary(start: LogStart(membership: Membership(voters: voters.map { ReplicaID($0) })))
        self.raft = RaftReplica(
            id: ReplicaID(id), start: start ?? RaftStart(log: log), view: EvenView(), settings: settings, seed: id,
            now: .zero,
            plantedBugs: bugs)
    }

    /// What has been decided since last asked; saves and writes are done at once if `syncs`.
    mutating func actions(syncs: Bool = true) -> [RaftAction] {
        var all: [RaftAction] = []
        while !self.raft.actions.isEmpty {
            let new = self.raft.actions
            self.raft.clearActions()
            all += new
            guard syncs else { break }
            for action in new {
                switch action {
                case .save(_, let ticket): self.raft.saved(ticket, now: self.now)
                case .write(let order): self.raft.written(order.ticket, now: self.now)
                default: break
                }
            }
        }
        return all
    }

    mutating func pass(_ duration: Duration, tick: Duration = .milliseconds(10)) {
        for _ in 0..<duration.nanoseconds / tick.nanoseconds {
            self.now = self.now + tick.nanoseconds
            self.raft.tick(now: self.now)
        }
    }

    mutating func hear(_ body: RaftMessage.Body, from: UInt64, term: Term) {
        self.raft.receive(RaftMessage(from: ReplicaID(from), to: self.raft.id, term: term, body: body), now: self.now)
    }

    /// Elected in the next term by 2, with a barrier that 2 has acknowledged.
    mutating func lead() {
        self.pass(.milliseconds(310))
        _ = self.actions()
        let term = self.raft.term + 1
        self.hear(.preVoteReply(isGranted: true), from: 2, term: term)
        _ = self.actions()
        self.hear(.voteReply(isGranted: true), from: 2, term: term)
        _ = self.actions()
        self.acknowledge(from: 2)
        _ = self.actions()
    }

    /// A peer has all there is, and has heard the newest round that was sent.
    mutating func acknowledge(
        from: UInt64, through: LogIndex? = nil, round: UInt64 = 1, incarnation: UInt32 = 0, isRecovering: Bool = false
    ) {
        let last = through ?? self.raft.last.index
        self.hear(
            .acknowledge(
                .init(matched: last, durable: last, round: round, incarnation: incarnation, isRecovering: isRecovering)),
            from: from, term: self.raft.term)
    }

    /// All peers have all that is decided, twice: a joint configuration is followed by the one it leads to.
    mutating func settle() {
        for _ in 0..<2 {
            _ = self.actions()
            for peer in self.raft.peers { self.acknowledge(from: peer.id.rawValue) }
        }
        _ = self.actions()
    }

    mutating func propose(_ count: Int = 1, bytes: Int = 100) throws(RaftRefusal) -> EntryRange {
        try self.raft.propose(count: count, bytes: bytes, now: self.now)
    }
}

extension [RaftAction] {
    var messages: [RaftMessage] { self.compactMap { if case .send(let message) = $0 { message } else { nil } } }
    var appends: [RaftMessage.Append] {
        self.messages.compactMap { if case .append(let append) = $0.body { append } else { nil } }
    }
    func to(_ id: UInt64) -> [RaftMessage] { self.messages.filter { $0.to == ReplicaID(id) } }
    var reads: [UInt64] { self.compactMap { if case .readReady(let id, _) = $0 { id } else { nil } } }
    var commits: [LogIndex] { self.compactMap { if case .commit(let index) = $0 { index } else { nil } } }
}
