import Dispatch
import Glibc
import Synchronization

/// SIGTERM and SIGINT as something to wait for. The first begins an orderly end; a second one ends the process at once.
package final class TerminationSignals: Sendable {
    package enum Signal: Int32, Sendable {
        case interrupt = 2
        case terminate = 15
        package var name: String { self == .interrupt ? "SIGINT" : "SIGTERM" }
    }

    private struct State {
        var received: Signal?
        var waiters: [Int: CheckedContinuation<Signal?, Never>] = [:]
        var cancelled: Set<Int> = []
        var nextWaiter = 0
    }
    private let state = Mutex(State())
    private let exitNow: @Sendable (Int32) -> Void
    // @unchecked by way of the box: dispatch sources may be cancelled from any thread.
    private let sources: SourceBox

    private final class SourceBox: @unchecked Sendable {
        // Written once before the signals are watched, and in `deinit` after all use.
        var sources: [any DispatchSourceSignal] = []
        deinit { for source in self.sources { source.cancel() } }
    }

    /// Takes the two signals over from the system for the rest of the process.
    /// - Parameters:
    ///   - numbers: What each is on the wire; others in tests, whose process has further listeners.
    ///   - exitNow: Ends the process on a second signal, with 128 + its number, as shells report deaths by signal.
    package init(
        numbers: [Signal: Int32] = [.interrupt: SIGINT, .terminate: SIGTERM],
        exitNow: @escaping @Sendable (Int32) -> Void = { _exit($0) }
    ) {
        self.exitNow = exitNow
        self.sources = SourceBox()
        let queue = DispatchQueue(label: "vecraft.signals")
        let registered = DispatchGroup()
        for (signal, number) in numbers {
            // The default action is left alone: on Linux Dispatch takes it over, while an ignored signal would be lost.
            let source = DispatchSource.makeSignalSource(signal: number, queue: queue)
            source.setEventHandler { [weak self] in self?.deliver(signal) }
            registered.enter()
            source.setRegistrationHandler { registered.leave() }
            source.resume()
            self.sources.sources.append(source)
        }
        // Until then a signal takes its default course, which ends a process that has not begun anything yet.
        _ = registered.wait(timeout: .now() + .seconds(5))
    }

    /// The first signal; at once if it has come already. Nil if the waiting task is cancelled.
    package func first() async -> Signal? {
        let id = self.state.withLock { state in
            state.nextWaiter += 1
            return state.nextWaiter
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: Signal?? = self.state.withLock { state in
                    if let received = state.received { return .some(received) }
                    if state.cancelled.remove(id) != nil { return .some(nil) }
                    state.waiters[id] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            let waiter = self.state.withLock { state in
                let waiter = state.waiters.removeValue(forKey: id)
                if waiter == nil, state.received == nil { state.cancelled.insert(id) }
                return waiter
            }
            waiter?.resume(returning: nil)
        }
    }

    func deliver(_ signal: Signal) {
        let waiters: [CheckedContinuation<Signal?, Never>]? = self.state.withLock { state in
            if state.received != nil { return nil }
            state.received = signal
            defer { state.waiters = [:] }
            return Array(state.waiters.values)
        }
        guard let waiters else { return self.exitNow(128 + signal.rawValue) }
        for waiter in waiters { waiter.resume(returning: signal) }
    }
}
