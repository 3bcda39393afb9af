import Primitives

/// How one call goes over its attempts. Decides; the client acts.
struct Course {
    let repeating: EtcdClient.Repeating
    let members: Int
    let deadline: ContinuousClock.Instant
    var pause: Duration
    var failures = 0
    /// Attempts refused for their token.
    var refusals = 0
    /// An attempt may have been applied.
    var isUnknown = false

    var left: Duration { max(.zero, self.deadline - .now) }

    /// How long the next attempt may take. One that is the last is given all that is left.
    func patience(_ attempt: Duration) -> Duration {
        self.members == 1 || self.repeating == .forbidden ? self.left : min(self.left, attempt)
    }

    /// Nil: another attempt.
    func end(after error: VecraftError) -> VecraftError? {
        switch EtcdVerdict(error) {
        case .final(let error):
            // What refuses this attempt says nothing of one before it.
            return self.isUnknown && self.repeating != .harmless ? self.unknown(error) : error
        case .authenticate where self.refusals > 2:
            return VecraftError(.unauthenticated, "etcd refuses the token it gave: \(error.message)")
        case .unknown where self.repeating == .forbidden: return self.unknown(error)
        case .notApplied, .unknown, .authenticate:
            guard self.left == .zero else { return nil }
            if self.isUnknown, self.repeating != .harmless { return self.unknown(error) }
            return VecraftError(.unavailable, "etcd cannot be asked: \(error.message)", retryAfter: .seconds(1))
        }
    }

    func unknown(_ error: VecraftError) -> VecraftError {
        VecraftError(
            .unavailable, "the change may or may not have been made: \(error.message)", reason: "OUTCOME_UNKNOWN")
    }

    /// After a round of all members. Nil: the next one at once.
    mutating func nextPause(upTo longest: Duration) -> Duration? {
        guard self.failures % self.members == 0 else { return nil }
        defer { self.pause = min(self.pause * 2, longest) }
        return min(self.pause, self.left)
    }
}
