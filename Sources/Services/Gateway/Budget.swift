package import Primitives
internal import Synchronization

/// A bound on what is held at once. What is asked for is refused rather than waited for; one that asks while nothing is held
/// is never refused.
package final class Budget: Sendable {
    /// What its holder may use. Given back when the last holder lets go.
    package final class Share: Sendable {
        private let budget: Budget
        private let amount: Int

        fileprivate init(_ budget: Budget, _ amount: Int) {
            self.budget = budget
            self.amount = amount
        }
        deinit { self.budget.held.withLock { $0 -= self.amount } }
    }

    package let limit: Int
    private let held = Mutex(0)
    private let refusal: @Sendable (_ held: Int, _ limit: Int) -> VecraftError

    package init(_ limit: Int, refusal: @escaping @Sendable (_ held: Int, _ limit: Int) -> VecraftError) {
        self.limit = limit
        self.refusal = refusal
    }

    /// Held now.
    package var used: Int { self.held.withLock { $0 } }

    package func take(_ amount: Int) throws(VecraftError) -> Share {
        let before = self.held.withLock { held -> Int? in
            guard held == 0 || held + amount <= self.limit else { return held }
            held += amount
            return nil
        }
        if let before { throw self.refusal(before, self.limit) }
        return Share(self, amount)
    }
}
