internal import Primitives
internal import Synchronization

/// Those who want to know of commits: callbacks that stay, and readers that wait for one offset.
final class CommitNotices: Sendable {
    private struct State {
        var nextID: UInt64 = 0
        var callbacks: [UInt64: @Sendable (JournalOffset) -> Void] = [:]
        var waiters: [UInt64: Waiter] = [:]
        /// The log has ended: nobody waits any more.
        var isEnded = false
    }
    private struct Waiter {
        let offset: JournalOffset
        let continuation: CheckedContinuation<Void, Never>
    }
    private let state = Mutex(State())

    func add(_ callback: @escaping @Sendable (JournalOffset) -> Void) -> UInt64 {
        self.state.withLock { state in
            state.nextID += 1
            state.callbacks[state.nextID] = callback
            return state.nextID
        }
    }

    func remove(_ id: UInt64) { self.state.withLock { _ = $0.callbacks.removeValue(forKey: id) } }

    /// From the writer thread, after the log's committed offset was published.
    func committed(_ offset: JournalOffset) {
        let (callbacks, reached) = self.state.withLock { state in
            let reached = state.waiters.filter { $0.value.offset <= offset }
            for id in reached.keys { state.waiters[id] = nil }
            return (Array(state.callbacks.values), reached)
        }
        for callback in callbacks { callback(offset) }
        for waiter in reached.values { waiter.continuation.resume() }
    }

    func end() {
        let waiters = self.state.withLock { state in
            state.isEnded = true
            defer { state.waiters = [:] }
            return state.waiters
        }
        for waiter in waiters.values { waiter.continuation.resume() }
    }

    var isEnded: Bool { self.state.withLock { $0.isEnded } }

    /// Returns when `offset` may be committed, the log has ended, or the task is cancelled: look again then.
    ///
    /// - Parameter committed: Read after the waiter stands, so that no commit slips between.
    func wait(for offset: JournalOffset, committed: @Sendable () -> JournalOffset) async {
        let id = self.state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let waits = self.state.withLock { state -> Bool in
                    guard !state.isEnded, !Task.isCancelled else { return false }
                    state.waiters[id] = Waiter(offset: offset, continuation: continuation)
                    return true
                }
                if !waits { continuation.resume() } else if committed() >= offset { self.release(id) }
            }
        } onCancel: {
            self.release(id)
        }
    }

    private func release(_ id: UInt64) {
        self.state.withLock { $0.waiters.removeValue(forKey: id) }?.continuation.resume()
    }
}
