internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Primitives
internal import ShardEngine

extension PartitionReplay {
    /// Rounds in which a shard follows replay by itself; then replay waits for it. Each is shorter than the one before, unless
    /// entries come faster than the shard applies them, and then it must hold replay up sooner or later.
    private static let rounds = 16

    /// Brings a shard that stands at any offset to where replay stands, by a pass of its own over the journal, and lets it join
    /// between two batches: behind replay, it gets every entry up to there first; ahead of it, replay passes over what it has.
    ///
    /// Blocks; for a thread of the caller's. The replay thread is held up for at most one batch, as a rule.
    /// - Parameters:
    ///   - isCancelled: Asked before each batch.
    ///   - reached: Told how far it is, and how far replay was.
    ///   - register: Runs while no batch is applied; from then on replay feeds the shard. If it throws, it does not.
    /// - Throws: OUT_OF_RANGE, reason TRIMMED, if the journal does not hold what it needs; CANCELLED; what applying met.
    func join(
        _ replica: ShardReplica, isCancelled: () -> Bool, reached: (JournalOffset, JournalOffset) -> Void,
        register: () throws(VecraftError) -> Void
    ) throws(VecraftError) {
        for round in 0... {
            let goal = self.waiters.applied
            while replica.engine.applied < goal {
                if isCancelled() {
                    throw VecraftError(
                        .cancelled, "shard \(replica.engine.id) is not wanted any more", reason: "BUILD_CANCELLED")
                }
                try self.applyNext(to: replica)
                reached(replica.engine.applied, goal)
            }
            let hasJoined = try self.betweenBatches { (applied) throws(VecraftError) -> Bool in
                while round >= Self.rounds, replica.engine.applied < applied, !isCancelled() {
                    try self.applyNext(to: replica)
                }
                guard replica.engine.applied >= applied else { return false }
                try register()
                return true
            }
            if hasJoined { return }
        }
    }

    /// One batch of the journal behind what the shard has.
    private func applyNext(to replica: ShardReplica) throws(VecraftError) {
        let next = replica.engine.applied + 1
        let batch = try self.journal.read(self.partition, from: next, maxBytes: Self.batchBytes)
        guard !batch.isEmpty else {
            throw VecraftError(.internalError, "\(self.partition) was applied beyond \(next), which it does not hold")
        }
        try withExtendedLifetime(batch) { () throws(VecraftError) in
            var judged: [UInt64: [EntryView]] = [:]
            let own = self.entries(of: replica, batch.views, &judged)
            try self.apply(own, to: replica, through: batch.lastOffset)
        }
    }
}
