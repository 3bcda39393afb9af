internal import Observability
internal import Synchronization

/// At most so many lines a second of a kind.
final class LineBudget: Sendable {
    private struct State {
        var second: UInt64 = 0
        var taken = 0
    }
    private let state = Mutex(State())
    private let perSecond: Int

    init(perSecond: Int) { self.perSecond = perSecond }

    func take() -> Bool {
        let now = SystemTime.monotonicNanoseconds / 1_000_000_000
        return self.state.withLock { state in
            if state.second != now { state = State(second: now, taken: 0) }
            state.taken += 1
            return state.taken <= self.perSecond
        }
    }
}
