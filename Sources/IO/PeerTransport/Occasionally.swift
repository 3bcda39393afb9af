internal import Logging
internal import Observability
internal import Synchronization

/// Lets through one log line a second and says how many it held back: what a peer does may not fill a disk.
final class Occasionally: Sendable {
    private struct State {
        var lastNanoseconds: UInt64?
        var heldBack = 0
    }
    private let state = Mutex(State())

    /// - Parameter log: Given what to add to its metadata.
    func run(_ log: (Logger.Metadata) -> Void) {
        let now = SystemTime.monotonicNanoseconds
        let heldBack = self.state.withLock { state -> Int? in
            if let last = state.lastNanoseconds, now - last < 1_000_000_000 {
                state.heldBack += 1
                return nil
            }
            defer { state = State(lastNanoseconds: now) }
            return state.heldBack
        }
        if let heldBack { log(heldBack == 0 ? [:] : ["held_back": "\(heldBack)"]) }
    }
}
