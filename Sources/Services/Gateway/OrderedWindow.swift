internal import Primitives
internal import Synchronization

/// Results in the order their slots were opened, though they are filled in any order. One opener, one taker.
///
/// Limit: `capacity` slots open or untaken; ``open()`` waits for a free one.
final class OrderedWindow<Value: Sendable>: Sendable {
    private struct State {
        /// Slot numbers taken so far.
        var taken = 0
        var opened = 0
        var results: [Int: Result<Value, VecraftError>] = [:]
        var end: End?
        var taker: CheckedContinuation<Void, Never>?
        var opener: CheckedContinuation<Void, Never>?
    }
    private struct End {
        let error: (any Error)?
    }
    private enum Found {
        case value(Result<Value, VecraftError>, CheckedContinuation<Void, Never>?)
        case end((any Error)?)
        case nothing
    }
    private let state = Mutex(State())
    private let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    struct Slot: Sendable {
        fileprivate let number: Int
        fileprivate let window: OrderedWindow
        /// Exactly once.
        func fill(_ result: Result<Value, VecraftError>) { self.window.fill(self.number, result) }
    }

    func open() async throws -> Slot {
        while true {
            try Task.checkCancellation()
            let number = self.state.withLock { state -> Int? in
                guard state.opened - state.taken < self.capacity else { return nil }
                state.opened += 1
                return state.opened - 1
            }
            if let number { return Slot(number: number, window: self) }
            await self.suspend(\.opener) { $0.opened - $0.taken < self.capacity || $0.end != nil }
        }
    }

    /// No slot will be opened any more. With an error, what is untaken is dropped.
    func finish(_ error: (any Error)?) {
        let wake = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.end = End(error: error)
            defer { state.taker = nil }
            return state.taker
        }
        wake?.resume()
    }

    /// The next result in order; nil at the end.
    func next() async throws -> Value? {
        while true {
            try Task.checkCancellation()
            let found = self.state.withLock { state -> Found in
                if let error = state.end?.error { return .end(error) }
                if let result = state.results.removeValue(forKey: state.taken) {
                    state.taken += 1
                    defer { state.opener = nil }
                    return .value(result, state.opener)
                }
                if state.end != nil, state.taken == state.opened { return .end(nil) }
                return .nothing
            }
            switch found {
            case .value(let result, let opener):
                opener?.resume()
                return try result.get()
            case .end(let error):
                if let error { throw error }
                return nil
            case .nothing:
                await self.suspend(\.taker) { $0.results[$0.taken] != nil || $0.end != nil && ($0.taken == $0.opened || $0.end?.error != nil) }
            }
        }
    }

    private func fill(_ number: Int, _ result: Result<Value, VecraftError>) {
        let wake = self.state.withLock { state -> CheckedContinuation<Void, Never>? in
            state.results[number] = result
            guard number == state.taken else { return nil }
            defer { state.taker = nil }
            return state.taker
        }
        wake?.resume()
    }

    /// Waits to be woken, unless what is waited for is there or the task is cancelled.
    private func suspend(
        _ place: any WritableKeyPath<State, CheckedContinuation<Void, Never>?> & Sendable,
        unless ready: @Sendable (State) -> Bool
    ) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let wait = self.state.withLock { state in
                    if ready(state) || Task.isCancelled { return false }
                    state[keyPath: place] = continuation
                    return true
                }
                if !wait { continuation.resume() }
            }
        } onCancel: {
            let woken = self.state.withLock { state in
                defer { state[keyPath: place] = nil }
                return state[keyPath: place]
            }
            woken?.resume()
        }
    }
}
