import Gateway
import Primitives
import Testing

@Suite struct BudgetTests {
    private let budget = Budget(100) { held, limit in
        VecraftError(.resourceExhausted, "\(held) of \(limit)", retryAfter: .seconds(1))
    }

    @Test func whatIsBeyondTheBoundIsRefusedUntilSomeIsGivenBack() throws {
        var shares = [try self.budget.take(60), try self.budget.take(40)]
        let error = #expect(throws: VecraftError.self) { _ = try self.budget.take(1) }
        #expect(error?.message == "100 of 100")
        #expect(error?.retryAfter != nil)
        shares.removeLast()
        shares.append(try self.budget.take(40))
        #expect(throws: VecraftError.self) { _ = try self.budget.take(1) }
        withExtendedLifetime(shares) {}
    }

    @Test func oneAloneIsAlwaysTaken() throws {
        var shares = [try self.budget.take(1_000)]
        #expect(throws: VecraftError.self) { _ = try self.budget.take(1) }
        shares.removeAll()
        shares.append(try self.budget.take(1_000))
    }
}
