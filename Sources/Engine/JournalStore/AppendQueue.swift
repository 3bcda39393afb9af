package import JournalFormat
package import Primitives
internal import Synchronization

/// An append that waits for the disk.
package struct PendingAppend: Sendable {
    package let entry: EncodedEntry
    /// When the journal took it: the beginning of its `appended` span.
    package let arrived: HLCTimestamp
    /// Nanoseconds of the monotonic clock.
    package let arrivedAt: UInt64
    package let completion: AppendCompletion

    package init(entry: EncodedEntry, arrived: HLCTimestamp, arrivedAt: UInt64, completion: @escaping AppendCompletion) {
        self.entry = entry
        self.arrived = arrived
        self.arrivedAt = arrivedAt
        self.completion = completion
    }
}

/// What appenders fill and the writer empties.
package final class AppendQueue: Sendable {
    private struct State {
        var waiting: TierQueue<PendingAppend>
        /// The writer sleeps, or is about to: it must be woken once so many bytes wait. Nil while it works.
        var wakeFrom: Int?
        /// Why nothing more is taken.
        var refusal: VecraftError?
    }
    private let state: Mutex<State>
    private let signal: Signal

    /// Counted for each entry beside its bytes: what it holds of memory while it waits.
    static let overheadBytes = 256

    /// - Parameter signal: Raised when something waits and the writer may sleep.
    package init(limitBytes: Int, signal: Signal = Signal()) {
        self.signal = signal
        self.state = Mutex(State(waiting: TierQueue(limitBytes: limitBytes)))
    }

    /// - Returns: Why it was refused; nil if it waits now.
    package func push(_ pending: PendingAppend, tier: Tier) -> VecraftError? {
        let bytes = pending.entry.bytes.count + Self.overheadBytes
        let (refusal, wake) = self.state.withLock { state -> (VecraftError?, Bool) in
            if let refusal = state.refusal { return (refusal, false) }
            guard state.waiting.push(pending, bytes: bytes, tier: tier) else {
                let error = VecraftError(
                    .resourceExhausted, "\(state.waiting.bytes) bytes wait for the journal's disk already",
                    reason: "JOURNAL_QUEUE_FULL", retryAfter: .milliseconds(100))
                return (error, false)
            }
            guard let from = state.wakeFrom, state.waiting.bytes >= from else { return (nil, false) }
            state.wakeFrom = nil
            return (nil, true)
        }
        if wake { self.signal.raise() }
        return refusal
    }

    /// Waits for something to write.
    ///
    /// - Returns: False when the queue is closed and empty.
    func take(maxBytes: Int, maxCount: Int, into batch: inout [PendingAppend]) -> Bool {
        while true {
            let isEnd = self.state.withLock { state -> Bool? in
                if state.waiting.count > 0 {
                    state.waiting.take(maxBytes: maxBytes, maxCount: maxCount, into: &batch)
                    return false
                }
                if state.refusal != nil { return true }
                state.wakeFrom = 0
                return nil
            }
            if let isEnd { return !isEnd }
            self.signal.wait()
        }
    }

    /// The same without waiting.
    ///
    /// - Returns: False when nothing waits; the signal is raised when something does again.
    package func takeNow(maxBytes: Int, maxCount: Int, into batch: inout [PendingAppend]) -> Bool {
        self.state.withLock { state in
            guard state.waiting.count > 0 else {
                state.wakeFrom = 0
                return false
            }
            state.waiting.take(maxBytes: maxBytes, maxCount: maxCount, into: &batch)
            return true
        }
    }

    /// Lets less than so many bytes wait.
    ///
    /// - Returns: False when as many wait already; the signal is raised when they do.
    package func rest(below bytes: Int) -> Bool {
        self.state.withLock { state in
            guard state.waiting.bytes < bytes else { return false }
            state.wakeFrom = bytes
            return true
        }
    }

    /// Gives back all that waits; further appends are taken, and the signal is raised for them.
    package func drain() -> [PendingAppend] {
        self.state.withLock { state in
            state.wakeFrom = 0
            return state.waiting.drain()
        }
    }

    /// Refuses all further appends; what waits is still taken.
    package func close(_ refusal: VecraftError) {
        self.state.withLock { state in if state.refusal == nil { state.refusal = refusal } }
        self.signal.raise()
    }

    /// Refuses all further appends, and gives back what waits.
    package func fail(_ refusal: VecraftError) -> [PendingAppend] {
        self.state.withLock { state in
            state.refusal = refusal
            return state.waiting.drain()
        }
    }

    package var depth: (entries: Int, bytes: Int) { self.state.withLock { ($0.waiting.count, $0.waiting.bytes) } }
}
