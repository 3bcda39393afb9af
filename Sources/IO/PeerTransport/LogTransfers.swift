internal import Dispatch
package import Primitives
internal import Raft
internal import Synchronization

/// The log transfers under way: the tasks of those that leave, the partitions of those that come.
final class LogTransfers: Sendable {
    private struct State {
        var tasks: [Int: Task<Void, Never>] = [:]
        var nextTask = 0
        var receiving: Set<PartitionID> = []
        var isClosed = false
    }

    private let limit: Int
    private let state = Mutex(State())

    init(limit: Int) { self.limit = limit }

    /// - Returns: False when there are too many, or the node ends.
    func run(_ body: @escaping @Sendable () async -> Void) -> Bool {
        self.state.withLock { state in
            guard !state.isClosed, state.tasks.count < self.limit else { return false }
            let id = state.nextTask
            state.nextTask += 1
            state.tasks[id] = Task {
                await body()
                // Waits for this lock: the task is in the list by then.
                self.state.withLock { _ = $0.tasks.removeValue(forKey: id) }
            }
            return true
        }
    }

    /// At most one comes for a partition at a time: it replaces the log.
    func claim(_ partition: PartitionID) throws(VecraftError) {
        let isClaimed = self.state.withLock { !$0.isClosed && $0.receiving.insert(partition).inserted }
        guard isClaimed else {
            throw VecraftError(.unavailable, "a log is being received for \(partition)", reason: "TRANSFER_BUSY")
        }
    }

    func release(_ partition: PartitionID) { self.state.withLock { _ = $0.receiving.remove(partition) } }

    func shutdown() async {
        let tasks = self.state.withLock { state in
            state.isClosed = true
            return Array(state.tasks.values)
        }
        for task in tasks { task.cancel() }
        for task in tasks { await task.value }
    }
}

/// One transfer's own queue: what waits for a disk must not hold an event loop or a thread of the cooperative pool.
package struct BlockingQueue: Sendable {
    private let queue = DispatchQueue(label: "vecraft.peer.transfer")

    package init() {}

    package func run<T: Sendable>(
        _ body: @escaping @Sendable () throws(VecraftError) -> T
    ) async throws(VecraftError) -> T {
        let result = await withCheckedContinuation { (done: CheckedContinuation<Result<T, VecraftError>, Never>) in
            self.queue.async { done.resume(returning: Result { () throws(VecraftError) in try body() }) }
        }
        return try result.get()
    }
}
