/// Two readings of one clock.
///
/// `raw` judges the lease: a clock that leaps ahead, or a process that stood still, ends it early. `own` runs the timers and the
/// promise not to vote: it takes at most `maxStep` from one event to the next, so a leap neither starts an election before the
/// mail is read nor ends the promise that another's lease rests on. Either way a wrong clock costs time only.
struct ReplicaClock: Sendable {
    private(set) var raw: MonotonicInstant
    private(set) var own = MonotonicInstant.zero
    private let maxStep: Nanoseconds

    init(now: MonotonicInstant, maxStep: Nanoseconds) {
        self.raw = now
        self.maxStep = maxStep
    }

    /// - Returns: False if the clock has gone back, which it must not: how much time has passed is then unknown.
    mutating func advance(to now: MonotonicInstant) -> Bool {
        let goesOn = now >= self.raw
        self.own = self.own + min(now - self.raw, self.maxStep)
        self.raw = now
        return goesOn
    }
}
