import NIOCore
import Primitives
import Synchronization

/// Counts what is inside, and lets a closer wait until nothing is.
final class Attendance: Sendable {
    private struct State {
        var inside = 0
        var waiters: [Int: CheckedContinuation<Bool, Never>] = [:]
        var nextWaiter = 0
    }

    private let state = Mutex(State())

    var count: Int { self.state.withLock { $0.inside } }

    func enter() { _ = self.enter(limit: .max) }

    func enter(limit: Int) -> Bool {
        self.state.withLock { state in
            guard state.inside < limit else { return false }
            state.inside += 1
            return true
        }
    }

    func leave() {
        let waiters = self.state.withLock { state -> [CheckedContinuation<Bool, Never>] in
            state.inside -= 1
            precondition(state.inside >= 0, "more left than entered")
            guard state.inside == 0 else { return [] }
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in waiters { waiter.resume(returning: true) }
    }

    /// - Returns: Whether it was empty in time.
    func waitUntilEmpty(atMost limit: Duration, on eventLoop: any EventLoop) async -> Bool {
        await withCheckedContinuation { continuation in
            let ticket = self.state.withLock { state -> Int? in
                guard state.inside > 0 else { return nil }
                state.nextWaiter += 1
                state.waiters[state.nextWaiter] = continuation
                return state.nextWaiter
            }
            guard let ticket else { return continuation.resume(returning: true) }
            eventLoop.scheduleTask(in: TimeAmount(limit)) {
                self.state.withLock { $0.waiters.removeValue(forKey: ticket) }?.resume(returning: false)
            }
        }
    }
}
