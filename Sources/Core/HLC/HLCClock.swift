package import Primitives
internal import Synchronization

/// The process's hybrid logical clock, shared by all threads.
///
/// Monotonic over restart: no timestamp is given out at or beyond the last bound that was persisted, and a restarted process
/// starts at the bound. ``extendBound()`` moves the bound ahead from a background thread, so that ``now()`` persists by itself
/// only when that thread is late.
package final class HLCClock: Sendable {
    private struct Guarded {
        var state: HLCState
        /// Milliseconds. Timestamps given out have a smaller physical part.
        var bound: UInt64
    }

    private let guarded: Mutex<Guarded>
    /// Held while a bound is persisted; taken before `guarded`, never inside it.
    private let persisting = Mutex<Void>(())
    private let physical: @Sendable () -> UInt64
    private let persist: (@Sendable (UInt64) -> Void)?
    /// How far physical time is known to be behind, milliseconds.
    private let behind = Atomic<UInt64>(0)

    /// How far ahead of the clock the bound is put, milliseconds: what the clock may be ahead after a crash, and how long a disk may
    /// stall before those who ask for a timestamp wait for it.
    package static let boundAhead: UInt64 = 1_000
    /// How far above what was given out, when that is ahead of physical time, milliseconds: the clock then only counts, 65,536 to
    /// a millisecond. Were it `boundAhead` too, each kill within a second of the last would put the next start a second
    /// further ahead, and a cluster takes over the furthest of its nodes.
    package static let margin: UInt64 = 100

    /// - Parameters:
    ///   - bound: What the last process persisted, milliseconds; 0 for a new one.
    ///   - physical: Milliseconds since 1970.
    ///   - persistedBound: Makes the bound durable before it returns. Called by one thread at a time, with growing bounds, and
    ///     before a timestamp beyond the last bound is given out. Nil: nothing is persisted.
    package init(
        bound: UInt64 = 0, maxOffset: UInt64 = HLCState.defaultMaxOffset, physical: @escaping @Sendable () -> UInt64,
        persistedBound: (@Sendable (_ boundMs: UInt64) -> Void)? = nil
    ) {
        var state = HLCState(maxOffset: maxOffset)
        state.restore(bound: bound)
        self.guarded = Mutex(Guarded(state: state, bound: persistedBound == nil ? .max : bound))
        self.physical = physical
        self.persist = persistedBound
    }

    /// The next timestamp: above every one before it.
    package func now() -> HLCTimestamp {
        let physical = self.physical()
        while true {
            let next = self.guarded.withLock { guarded in
                Self.giveOut(in: &guarded) { $0.now(physical: physical) }
            }
            switch next {
            case .given(let timestamp): return timestamp
            case .beyondBound(let reached): self.raiseBound(above: reached, leaving: 0)
            }
        }
    }

    /// Merges a timestamp that came with a message, and gives one above it.
    ///
    /// - Throws: `.failedPrecondition`, reason `CLOCK_DRIFT`, if it is too far ahead.
    @discardableResult
    package func observe(_ remote: HLCTimestamp) throws(VecraftError) -> HLCTimestamp {
        let physical = self.physical()
        while true {
            let next = try self.guarded.withLock { (guarded) throws(VecraftError) in
                try Self.giveOut(in: &guarded) { (state) throws(VecraftError) in
                    try state.observe(remote, physical: physical)
                }
            }
            switch next {
            case .given(let timestamp): return timestamp
            case .beyondBound(let reached): self.raiseBound(above: reached, leaving: 0)
            }
        }
    }

    /// Puts the clock above a timestamp of our own log. Never refused.
    package func restore(last: HLCTimestamp) {
        self.guarded.withLock { $0.state.restore(last: last) }
    }

    /// Takes over a timestamp of another replica of our journal, unless it is too far ahead (``HLCState/follow(_:physical:)``).
    ///
    /// - Returns: False if it was not taken.
    package func follow(_ remote: HLCTimestamp) -> Bool {
        let physical = self.physical() + self.behind.load(ordering: .relaxed)
        return self.guarded.withLock { $0.state.follow(remote, physical: physical) }
    }

    /// The others' clocks say that physical time is so far behind here, milliseconds: what they stamp is not judged by ours then.
    package func note(behind milliseconds: UInt64) { self.behind.store(milliseconds, ordering: .relaxed) }

    /// How far the clock is ahead of physical time as it should be, milliseconds.
    package var lead: UInt64 {
        let physical = self.physical() + self.behind.load(ordering: .relaxed)
        let last = self.last.milliseconds
        return last > physical ? last - physical : 0
    }

    /// Moves the persisted bound ahead when less than two thirds of it are left. For a background thread, four times a second.
    package func extendBound() {
        guard self.persist != nil else { return }
        self.raiseBound(above: self.last.milliseconds, leaving: Self.boundAhead * 2 / 3)
    }

    /// Persists the exact end of what was given out, so that the next process need not start ahead of its physical clock.
    /// For a clean stop: nothing may take a timestamp afterwards, or the bound moves ahead again.
    package func settleBound() {
        guard let persist = self.persist else { return }
        self.persisting.withLock { _ in
            let bound = self.guarded.withLock { guarded in
                guarded.bound = guarded.state.last.milliseconds + 1
                return guarded.bound
            }
            persist(bound)
        }
    }

    /// The latest timestamp given out or observed.
    package var last: HLCTimestamp { self.guarded.withLock { $0.state.last } }

    /// How far the clock is ahead of physical time, milliseconds; negative when it has been idle.
    package var driftMilliseconds: Int64 {
        let physical = Int64(self.physical())
        return Int64(self.last.milliseconds) - physical
    }

    private enum Next {
        case given(HLCTimestamp)
        /// Nothing was given out: the bound must first be above these milliseconds.
        case beyondBound(UInt64)
    }

    private static func giveOut<E: Error>(
        in guarded: inout Guarded, _ step: (inout HLCState) throws(E) -> HLCTimestamp
    ) throws(E) -> Next {
        var state = guarded.state
        let next = try step(&state)
        guard next.milliseconds < guarded.bound else { return .beyondBound(next.milliseconds) }
        guarded.state = state
        return .given(next)
    }

    /// - Parameter rest: Nothing is done while `reached` and this many milliseconds above physical time are covered.
    private func raiseBound(above reached: UInt64, leaving rest: UInt64) {
        self.persisting.withLock { _ in
            // Another thread may have raised it while this one waited.
            let physical = self.physical()
            guard self.guarded.withLock({ $0.bound <= max(physical + rest, reached) }) else { return }
            let bound = max(physical + Self.boundAhead, reached + Self.margin)
            self.persist?(bound)
            self.guarded.withLock { $0.bound = max($0.bound, bound) }
        }
    }
}
