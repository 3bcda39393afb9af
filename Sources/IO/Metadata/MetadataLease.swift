package import Primitives
import Synchronization

/// Names a lease in its store; never 0, never given twice.
package typealias LeaseID = UInt64

/// Keys that go when their holder does.
///
/// The store gives out leases and sees that they are kept alive; the holder asks ``isHeld``, or waits for ``lost()``. A holder
/// considers a lease lost before the store does, so what another does once the keys are gone does not meet what this one
/// still does. A lease that nobody holds any more (in Swift's sense) is not kept alive.
package final class MetadataLease: Sendable {
    package let id: LeaseID
    /// What was granted.
    package let ttl: Duration
    private let term: Mutex<LeaseTerm>
    /// 1 once it is over.
    private let over = ChangeSignal(revision: 0)
    private let withdraw: @Sendable () async throws(VecraftError) -> Void
    private let dropped: @Sendable () -> Void

    /// - Parameters:
    ///   - until: When the holder must consider it lost unless it was renewed; nil: only when it is told.
    ///   - withdraw: Revokes it in the store; may be asked again.
    ///   - dropped: Nobody has this object any more.
    package init(
        id: LeaseID, ttl: Duration, until: ContinuousClock.Instant?,
        withdraw: @escaping @Sendable () async throws(VecraftError) -> Void, dropped: @escaping @Sendable () -> Void
    ) {
        self.id = id
        self.ttl = ttl
        self.term = Mutex(LeaseTerm(until: until))
        self.withdraw = withdraw
        self.dropped = dropped
    }

    deinit { self.dropped() }

    /// Judged by this machine's monotonic clock, which goes on while the machine is suspended. False is for good.
    package var isHeld: Bool { self.term.withLock { $0.isHeld(at: .now) } }

    /// Nil while it is held.
    package var ending: LeaseTerm.Ending? { self.term.withLock { $0.isHeld(at: .now) ? nil : $0.ending } }

    /// Returns once it is not held any more, or the task is cancelled.
    package func lost() async {
        while !Task.isCancelled {
            let (isHeld, until) = self.term.withLock { ($0.isHeld(at: .now), $0.until) }
            if !isHeld { return }
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await self.over.wait(beyond: 0) }
                if let until { group.addTask { try? await Task.sleep(until: until, clock: .continuous) } }
                await group.next()
                group.cancelAll()
            }
        }
    }

    /// Deletes its keys and ends it. For its holder it is over at once, whatever comes of the call; if that fails, the keys go
    /// when the lease has run out.
    package func revoke() async throws(VecraftError) {
        self.end(.revoked)
        try await self.withdraw()
    }

    // MARK: For the store

    package func renew(until: ContinuousClock.Instant) {
        self.term.withLock { $0.renew(until: until, at: .now) }
    }

    package func end(_ ending: LeaseTerm.Ending) {
        self.term.withLock { $0.end(ending) }
        self.over.advance(to: 1)
    }

    package static let lost = VecraftError(
        .failedPrecondition, "the lease is not held any more", reason: "LEASE_LOST")
}
