import NIOCore

/// At most so many events in a stretch of time. The clock is read only when an event comes.
struct RateLimit {
    let count: Int
    let stretch: TimeAmount
    private var began = NIODeadline.uptimeNanoseconds(0)
    private var seen = 0

    init(_ count: Int, in stretch: TimeAmount) {
        self.count = count
        self.stretch = stretch
    }

    /// - Returns: Whether this event is one too many.
    mutating func isExceeded(now: NIODeadline = .now()) -> Bool {
        if now - self.began > self.stretch {
            self.began = now
            self.seen = 0
        }
        self.seen += 1
        return self.seen > self.count
    }
}
