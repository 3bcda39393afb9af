/// Until when a lease is held, as its holder may believe. No clock of its own.
///
/// Invariant: once not held, never held again, whatever answers come later.
package struct LeaseTerm: Sendable, Equatable {
    package enum Ending: Sendable, Equatable {
        case revoked
        /// No sign of life got through in time.
        case expired
        /// The store says that there is no such lease.
        case gone
    }

    /// Nil: without end, until something ends it.
    private(set) var until: ContinuousClock.Instant?
    package private(set) var ending: Ending?

    package init(until: ContinuousClock.Instant?) { self.until = until }

    /// The holder's end comes before the store's: it counts from before the sign of life was sent, and stops a tenth early,
    /// for two clocks that do not run alike and for what is done between looking at the clock and acting.
    package static func until(sentAt: ContinuousClock.Instant, ttl: Duration) -> ContinuousClock.Instant {
        sentAt + ttl - ttl / 10
    }

    package mutating func isHeld(at now: ContinuousClock.Instant) -> Bool {
        if self.ending == nil, let until = self.until, until <= now { self.ending = .expired }
        return self.ending == nil
    }

    /// A sign of life got through. It changes nothing when the holder could have seen the end already.
    package mutating func renew(until: ContinuousClock.Instant, at now: ContinuousClock.Instant) {
        guard self.isHeld(at: now), let before = self.until else { return }
        self.until = max(before, until)
    }

    package mutating func end(_ ending: Ending) { self.ending = self.ending ?? ending }
}
