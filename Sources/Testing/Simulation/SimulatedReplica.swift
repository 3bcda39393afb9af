internal import Primitives
internal import Raft

/// One process with its replica, clock and disk.
final class SimulatedReplica {
    struct Waiter {
        let client: Int
        let attempt: Int
        let keys: [UInt64]
    }
    struct WaitingRead {
        let id: UInt64
        let client: Int
        let attempt: Int
    }
    let id: ReplicaID
    let store: SimulatedStore
    var disk = SimulatedDisk()
    var clock: SimulatedClock
    /// Nil while it is down.
    var raft: RaftReplica?
    /// Counts its starts: what an earlier process began ends nowhere.
    var life = 0
    /// Handed to the checker and to clients through here, by this process.
    var applied: LogIndex = 0
    var waiters: [Waiter] = []
    var reads: [WaitingRead] = []
    /// Transfers that have arrived, aside.
    var staged: [(transfer: LogTransfer, image: LogImage)] = []
    /// It stands still: nothing is handled before.
    var pausedUntil: UInt64 = 0
    var held: [SimulatedEvent] = []
    /// It dies after so many further actions.
    var actionsLeft: Int?

    init(id: ReplicaID, store: SimulatedStore, clock: SimulatedClock) {
        self.id = id
        self.store = store
        self.clock = clock
    }

    var isUp: Bool { self.raft != nil }
}
