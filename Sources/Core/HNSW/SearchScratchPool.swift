internal import Synchronization

/// Lends ``SearchScratch``es to threads; each is in one thread's hands at a time.
package final class SearchScratchPool: Sendable {
    /// Crosses threads only through the lock below, and is used by whoever took it alone.
    private struct Idle: @unchecked Sendable {
        var scratches: [SearchScratch] = []
    }

    private let idle = Mutex(Idle())
    private let limit: Int

    /// - Parameter limit: Idle ones kept; more than this many searches at once allocate.
    package init(limit: Int = 64) { self.limit = limit }

    package func withScratch<Result, Failure: Error>(
        _ body: (SearchScratch) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        let scratch = self.take()
        defer { self.give(scratch) }
        return try body(scratch)
    }

    private func take() -> SearchScratch {
        self.idle.withLock { $0.scratches.popLast().map(Handover.init) }?.scratch ?? SearchScratch()
    }

    private func give(_ scratch: SearchScratch) {
        let handover = Handover(scratch: scratch)
        let limit = self.limit
        self.idle.withLock { idle in
            if idle.scratches.count < limit { idle.scratches.append(handover.scratch) }
        }
    }

    /// A scratch on its way between the lock and its one user.
    private struct Handover: @unchecked Sendable {
        let scratch: SearchScratch
    }
}
