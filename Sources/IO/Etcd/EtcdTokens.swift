import Metadata
import Primitives
import Synchronization

/// The token that stands for user and password, asked for by one call at a time; etcd checks a password slowly.
final class EtcdTokens: Sendable {
    private enum State {
        case none
        case asking
        /// Nil: this etcd wants none.
        case known(String?)
    }
    private let state = Mutex((state: State.none, asked: UInt64(0)))
    private let answered = ChangeSignal(revision: 0)

    /// - Parameter ask: Authenticates; nil: not needed.
    func token(_ ask: () async throws(VecraftError) -> String?) async throws(VecraftError) -> String? {
        while true {
            let (state, asked) = self.state.withLock { shared -> (State, UInt64) in
                defer { if case .none = shared.state { shared.state = .asking } }
                return (shared.state, shared.asked)
            }
            switch state {
            case .known(let token): return token
            case .asking:
                await self.answered.wait(beyond: asked)
                if Task.isCancelled { throw VecraftError(.cancelled, "the call was cancelled") }
            case .none:
                do throws(VecraftError) {
                    let token = try await ask()
                    self.settle(.known(token))
                    return token
                } catch {
                    // One of those that wait asks next.
                    self.settle(.none)
                    throw error
                }
            }
        }
    }

    private func settle(_ state: State) {
        let asked = self.state.withLock { shared in
            shared.state = state
            shared.asked += 1
            return shared.asked
        }
        self.answered.advance(to: asked)
    }

    /// Etcd did not take this one. A newer one stays.
    func drop(_ token: String?) {
        self.state.withLock { shared in
            if case .known(let known) = shared.state, known == token { shared.state = .none }
        }
    }
}
