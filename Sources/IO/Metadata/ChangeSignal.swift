import Synchronization

/// Wakes those who wait for a number that only grows: watchers for the store's revision, holders for the end of a lease.
package final class ChangeSignal: Sendable {
    private struct State {
        var revision: Revision
        var closed = false
        var waiters: [UInt64: CheckedContinuation<Void, Never>] = [:]
        /// Cancelled before they began to wait.
        var cancelled: Set<UInt64> = []
        var nextWaiter: UInt64 = 0
    }
    private let state: Mutex<State>

    package init(revision: Revision) { self.state = Mutex(State(revision: revision)) }

    package func advance(to revision: Revision) {
        self.wake { $0.revision = max($0.revision, revision) }
    }

    package func close() { self.wake { $0.closed = true } }

    private func wake(_ change: (inout sending State) -> Void) {
        let waiters = self.state.withLock { state in
            change(&state)
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume() }
    }

    /// Returns once the revision is above `seen`, the store is closed, or the task is cancelled; the caller looks
    /// which.
    package func wait(beyond seen: Revision) async {
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready = self.state.withLock { state in
                    if state.revision > seen || state.closed || state.cancelled.remove(id) != nil { return true }
                    state.waiters[id] = continuation
                    return false
                }
                if ready { continuation.resume() }
            }
        } onCancel: {
            let waiter = self.state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: id)
                if waiter == nil { state.cancelled.insert(id) }
                return waiter
            }
            waiter?.resume()
        }
        // A cancellation that came after the wake-up leaves its mark behind; nobody else has this number.
        _ = self.state.withLock { $0.cancelled.remove(id) }
    }

    package var isClosed: Bool { self.state.withLock { $0.closed } }
}
