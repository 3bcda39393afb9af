package import Primitives
import Synchronization

/// Who waits for a partition's replay to reach an offset.
///
/// Replay publishes progress; each waiter is called once, from the replay thread (or at once when it is there already).
/// Limit: ``maxWaiting`` at a time; one more is refused rather than queued.
package final class AppliedWaiters: Sendable {
    package typealias Callback = @Sendable (Result<Void, VecraftError>) -> Void

    /// Each waiter holds a request (at most 64 MiB, usually 2 KiB) in memory.
    package static let maxWaiting = 10_000

    private struct Waiter {
        let offset: JournalOffset
        let callback: Callback
    }
    private struct State {
        var applied: JournalOffset = 0
        var waiters: [UInt64: Waiter] = [:]
        /// Smallest offset anyone waits for: progress below it wakes nobody and scans nothing.
        var next: JournalOffset = .max
        var lastID: UInt64 = 0
        var closed = false
    }
    private let state: Mutex<State>
    private let published: Atomic<UInt64>

    package init(applied: JournalOffset = 0) {
        self.state = Mutex(State(applied: applied))
        self.published = Atomic(applied)
    }

    /// Everything up to here is visible to searches.
    package var applied: JournalOffset { self.published.load(ordering: .acquiring) }

    /// Calls back once `offset` is applied.
    /// - Returns: A ticket for ``cancel(_:error:)``, or nil when the callback has run already.
    package func wait(for offset: JournalOffset, _ callback: @escaping Callback) -> UInt64? {
        enum Outcome { case now(Result<Void, VecraftError>), later(UInt64) }
        let outcome = self.state.withLock { state -> Outcome in
            if state.applied >= offset { return .now(.success(())) }
            if state.closed { return .now(.failure(Self.stopping)) }
            if state.waiters.count >= Self.maxWaiting {
                return .now(
                    .failure(
                        VecraftError(
                            .resourceExhausted, "\(Self.maxWaiting) reads already wait for replay",
                            reason: "TOO_MANY_WAITING", retryAfter: .milliseconds(100))))
            }
            state.lastID += 1
            state.waiters[state.lastID] = Waiter(offset: offset, callback: callback)
            state.next = min(state.next, offset)
            return .later(state.lastID)
        }
        switch outcome {
        case .now(let result):
            callback(result)
            return nil
        case .later(let id):
            return id
        }
    }

    /// Ends a wait early, as a deadline does. Does nothing if it ended already.
    package func cancel(_ ticket: UInt64, error: VecraftError) {
        let waiter = self.state.withLock { $0.waiters.removeValue(forKey: ticket) }
        waiter?.callback(.failure(error))
    }

    package func advance(to offset: JournalOffset) {
        let due = self.state.withLock { state -> [Waiter] in
            precondition(offset >= state.applied, "applied went back from \(state.applied) to \(offset)")
            state.applied = offset
            self.published.store(offset, ordering: .releasing)
            guard offset >= state.next else { return [] }
            var due: [Waiter] = []
            var next = JournalOffset.max
            for (id, waiter) in state.waiters {
                if waiter.offset <= offset {
                    due.append(waiter)
                    state.waiters[id] = nil
                } else {
                    next = min(next, waiter.offset)
                }
            }
            state.next = next
            return due
        }
        for waiter in due { waiter.callback(.success(())) }
    }

    /// No more progress will come: everyone who waits is told.
    package func close() {
        let left = self.state.withLock { state in
            state.closed = true
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        for waiter in left { waiter.callback(.failure(Self.stopping)) }
    }

    package var waiting: Int { self.state.withLock { $0.waiters.count } }

    private static let stopping = VecraftError(.unavailable, "the node is stopping", reason: "DRAINING")
}
