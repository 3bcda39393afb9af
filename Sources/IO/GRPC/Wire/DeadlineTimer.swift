import NIOCore

/// One timer for the deadlines of many calls: it is set for the earliest, and most calls are over long before theirs, so
/// that a call costs a comparison and no timer of its own. Confined to its event loop.
final class DeadlineTimer {
    private let eventLoop: any EventLoop
    /// Ends the calls whose deadline is not after the time given; returns the earliest of the others.
    private let expire: (NIODeadline) -> NIODeadline
    private var next = NIODeadline.distantFuture
    private var scheduled: Scheduled<Void>?

    init(eventLoop: any EventLoop, expire: @escaping (NIODeadline) -> NIODeadline) {
        self.eventLoop = eventLoop
        self.expire = expire
    }

    func add(_ deadline: NIODeadline) {
        guard deadline < self.next else { return }
        // One timer at a time: a client may name a deadline hours away, sooner with each call, and hang up.
        self.scheduled?.cancel()
        self.next = deadline
        self.scheduled = self.eventLoop.assumeIsolated().scheduleTask(deadline: deadline) { [weak self] in self?.fired()
        }
    }

    deinit { self.scheduled?.cancel() }

    private func fired() {
        self.next = .distantFuture
        let now = NIODeadline.now()
        let next = self.expire(now)
        // At most a thousand rounds a second, whatever the deadlines.
        if next < .distantFuture { self.add(max(next, now + .milliseconds(1))) }
    }
}
