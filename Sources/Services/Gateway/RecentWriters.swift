internal import Primitives
internal import Synchronization

/// What each caller wrote last, so that read-your-writes holds for clients that keep no session token.
///
/// Keyed by a hash of the caller (client id, else peer address). Bounded: two generations of `capacity` callers; when the
/// young one is full the old one is forgotten. A forgotten caller falls back to the partition's newest acknowledged offset
/// at the time of forgetting, so forgetting costs time, never correctness.
final class RecentWriters: Sendable {
    private struct State {
        var young: [UInt64: SessionToken] = [:]
        var old: [UInt64: SessionToken] = [:]
        /// Everything ever forgotten, merged.
        var floor = SessionToken()
    }
    private let state = Mutex(State())
    private let capacity: Int

    init(capacity: Int) {
        precondition(capacity > 0)
        self.capacity = capacity
    }

    func wrote(_ caller: UInt64, _ partition: PartitionID, _ offset: JournalOffset) {
        self.state.withLock { state in
            var token = state.young[caller] ?? state.old[caller] ?? SessionToken()
            token.merge(partition, offset)
            if state.young.count >= self.capacity, state.young[caller] == nil {
                for (_, forgotten) in state.old { state.floor.merge(forgotten) }
                state.old = state.young
                state.young = [:]
            }
            state.young[caller] = token
        }
    }

    /// The offset that a read by `caller` must reach to see its own writes.
    func offset(_ caller: UInt64, _ partition: PartitionID) -> JournalOffset {
        self.state.withLock { state in
            if let token = state.young[caller] ?? state.old[caller] {
                // A caller known again after having been forgotten: its older writes are under the floor.
                return max(token.offset(of: partition), state.floor.offset(of: partition))
            }
            return state.floor.offset(of: partition)
        }
    }
}
