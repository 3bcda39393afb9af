internal import Primitives
internal import Raft

/// Three replicas in the steady state, with nothing beside them: what the machine itself costs.
package struct SteadyGroup {
    private final class NoView: RaftLogView {
        func extent(from first: LogIndex, through last: LogIndex, maxBytes: Int) -> (last: LogIndex, bytes: Int) {
            (last, 0)
        }
    }
    private var replicas: [RaftReplica]
    private var wire: [RaftMessage] = []
    private var next: [RaftMessage] = []
    private var now = MonotonicInstant(nanoseconds: 1)
    package private(set) var committed: UInt64 = 0

    package init() {
        let ids = (1...3).map { ReplicaID($0) }
        self.replicas = ids.map { id in
            let log = LogSummary(start: LogStart(membership: Membership(voters: ids)))
            return RaftReplica(id: id, start: RaftStart(log: log), view: NoView(), seed: id.rawValue, now: .zero)
        }
        while self.leader == nil {
            self.now = self.now + 10_000_000
            for i in self.replicas.indices {
                self.replicas[i].tick(now: self.now)
                self.carryOut(i)
            }
            self.settle()
        }
        self.settle()
    }

    private var leader: Int? { self.replicas.firstIndex { $0.role == .leader } }

    /// Each batch is one entry: proposed, written, sent, acknowledged, committed, told.
    package mutating func run(batches: Int) {
        guard let leader = self.leader else { preconditionFailure("no leader") }
        for _ in 0..<batches {
            self.now = self.now + 1000
            do throws(RaftRefusal) {
                _ = try self.replicas[leader].propose(count: 1, bytes: 4096, now: self.now)
            } catch { preconditionFailure("\(error)") }
            self.carryOut(leader)
            self.settle()
        }
    }

    private mutating func settle() {
        while !self.wire.isEmpty {
            swap(&self.wire, &self.next)
            for place in self.next.indices {
                let to = Int(self.next[place].to.rawValue) - 1
                self.replicas[to].receive(self.next[place], now: self.now)
                self.carryOut(to)
            }
            self.next.removeAll(keepingCapacity: true)
        }
    }

    /// All writes are durable at once.
    private mutating func carryOut(_ i: Int) {
        while !self.replicas[i].actions.isEmpty {
            var write: WriteTicket?
            var save: SaveTicket?
            for place in self.replicas[i].actions.indices {
                switch self.replicas[i].actions[place] {
                case .send(let message): self.wire.append(message)
                case .write(let order): write = order.ticket
                case .save(_, let ticket): save = ticket
                case .commit(let index): self.committed = max(self.committed, index)
                default: break
                }
            }
            self.replicas[i].clearActions()
            if let save { self.replicas[i].saved(save, now: self.now) }
            if let write { self.replicas[i].written(write, now: self.now) }
        }
    }
}
