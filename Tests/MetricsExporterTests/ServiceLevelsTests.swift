import MetricsExporter
import Observability
import Primitives
import Testing

/// Budgets and burn rates, against sums done by hand.
@Suite struct ServiceLevelsTests {
    private func totals(_ interactive: RequestTally) -> [RequestTally] {
        [RequestTally(), interactive, RequestTally(), RequestTally()]
    }

    @Test func noRequestsSpendNothing() {
        var levels = ServiceLevels()
        for tier in Tier.allCases {
            #expect(levels.budgetRemaining(tier) == 1)
            for window in ServiceLevels.Window.allCases { #expect(levels.burnRate(tier, window) == 0) }
        }
        levels.observe(totals(RequestTally()), at: 1000)
        #expect(levels.budgetRemaining(.interactive) == 1 && levels.burnRate(.interactive, .hour) == 0)
    }

    @Test func failuresBurnTheBudgetOfAvailability() {
        var levels = ServiceLevels()
        // 3 of 1,000 failed, 1 of 1,000 may: three times too fast. None was slow.
        levels.observe(totals(RequestTally(requests: 1000, faults: 3, timed: 1000)), at: 1000)
        #expect(abs(levels.burnRate(.interactive, .fiveMinutes) - 3) < 1e-9)
        #expect(abs(levels.budgetRemaining(.interactive) - -2) < 1e-9)
        // The same of another tier, which may fail 1 of 200: 0.003 / 0.005.
        #expect(abs(RequestTally(requests: 1000, faults: 3).burnRate(Tier.batch.objective) - 0.6) < 1e-9)
        #expect(abs(RequestTally(requests: 10_000, faults: 1).burnRate(Tier.critical.objective) - 1) < 1e-9)
        #expect(levels.burnRate(.batch, .hour) == 0 && levels.budgetRemaining(.critical) == 1)
    }

    @Test func slownessBurnsItsOwnBudgetAndTheWorseCounts() {
        // 5 of 1,000 slow where 10 may be: half the budget. None failed.
        #expect(
            abs(RequestTally(requests: 1000, timed: 1000, slow: 5).burnRate(Tier.interactive.objective) - 0.5) < 1e-9)
        // 20 slow: 2. 1 failed: 1. The larger.
        let both = RequestTally(requests: 1000, faults: 1, timed: 1000, slow: 20)
        #expect(abs(both.burnRate(Tier.interactive.objective) - 2) < 1e-9)
        var levels = ServiceLevels()
        levels.observe(totals(RequestTally(requests: 1000, timed: 1000, slow: 5)), at: 10)
        #expect(abs(levels.budgetRemaining(.interactive) - 0.5) < 1e-9)
    }

    @Test func aWindowForgetsWhatIsOlder() {
        var levels = ServiceLevels()
        var total = RequestTally(requests: 100, faults: 100, timed: 100)
        levels.observe(totals(total), at: 0)
        #expect(abs(levels.burnRate(.interactive, .fiveMinutes) - 1000) < 1e-6)
        // Five minutes later, 900 good ones: the hour holds 100 of 1,000, the five minutes none.
        total += RequestTally(requests: 900, timed: 900)
        levels.observe(totals(total), at: 300)
        #expect(levels.burnRate(.interactive, .fiveMinutes) == 0)
        #expect(abs(levels.burnRate(.interactive, .hour) - 100) < 1e-6)
        // An hour on, nothing new: of the hour nothing is left, of the six hours all.
        levels.observe(totals(total), at: 300 + 3600)
        #expect(levels.tally(.interactive, .hour) == RequestTally())
        #expect(levels.tally(.interactive, .sixHours) == total)
        // A day without a word: no slice of the first round is taken for one of this.
        levels.observe(totals(total), at: 300 + 86_400)
        #expect(levels.tally(.interactive, .sixHours) == RequestTally())
        // The budget's 30 days remember it; 31 days later they do not.
        #expect(levels.budgetRemaining(.interactive) < 0)
        levels.observe(totals(total), at: 31 * 86_400)
        #expect(levels.budgetRemaining(.interactive) == 1)
    }

    @Test func manySlicesAddUpToWhatWasCounted() {
        var levels = ServiceLevels()
        var total = RequestTally()
        for second in stride(from: UInt64(5), through: 7200, by: 5) {
            total += RequestTally(requests: 10, faults: second % 60 == 0 ? 1 : 0, timed: 10)
            levels.observe(totals(total), at: second)
        }
        // 20 slices of 15 s, the last one just begun at 7,200: readings at 6,915 ... 7,200 s are 58.
        #expect(levels.tally(.interactive, .fiveMinutes).requests == 580)
        #expect(levels.tally(.interactive, .fiveMinutes).faults == 5)
        #expect(levels.tally(.interactive, .sixHours) == total)
    }

    @Test func aCountThatBeginsAnewIsNotTakenForAFlood() {
        var levels = ServiceLevels()
        levels.observe(totals(RequestTally(requests: 100, timed: 100)), at: 0)
        levels.observe(totals(RequestTally(requests: 7, timed: 7)), at: 5)
        #expect(levels.tally(.interactive, .fiveMinutes).requests == 107)
    }

    @Test func whatTheEdgeCountedIsRead() throws {
        let registry = MetricsRegistry()
        let requests = RequestMetrics(registry)
        let (search, upsert) = (requests.operation("search"), requests.operation("upsert"))
        let reporting = ServiceLevelReporting(requests)
        for _ in 0..<989 {
            search.record(tier: .interactive, level: .strong, code: .ok, nanoseconds: 50_000_000)
        }
        // Ten too slow by a nanosecond, one of them failed by the server; another by its caller.
        for i in 0..<10 {
            search.record(
                tier: .interactive, level: .strong, code: i == 0 ? .unavailable : .ok, nanoseconds: 50_000_001)
        }
        search.record(tier: .interactive, level: .none, code: .invalidArgument, nanoseconds: 1)
        // Two shed for want of room, one refused for its size.
        for reason in ["WRITES_IN_PROGRESS", "JOURNAL_QUEUE_FULL"] {
            let error = VecraftError(.resourceExhausted, "full", reason: reason, retryAfter: .seconds(1))
            upsert.record(tier: .batch, level: .none, error: error, nanoseconds: 1)
        }
        let tooLarge = VecraftError(.resourceExhausted, "large", reason: "ANSWER_TOO_LARGE")
        upsert.record(tier: .batch, level: .none, error: tooLarge, nanoseconds: 1)
        for _ in 0..<97 { upsert.record(tier: .batch, level: .none, code: .ok, nanoseconds: 1) }
        reporting.collect(at: 100)
        // 1 of 1,000 failed and 10 of 1,000 were slow: both budgets are spent exactly.
        #expect(abs(requests.burnRate.with("interactive", "5m").value - 1) < 1e-9)
        #expect(abs(requests.errorBudgetRemaining.with("interactive").value) < 1e-9)
        // 2 of 100 over 1 of 200.
        #expect(abs(requests.burnRate.with("batch", "6h").value - 4) < 1e-9)
        #expect(requests.shed.with("batch", "WRITES_IN_PROGRESS").count == 1)
        #expect(requests.burnRate.with("critical", "1h").value == 0)
        #expect(requests.errorBudgetRemaining.with("background").value == 1)
    }

    @Test func eachTargetIsTheBoundOfABucket() {
        for tier in Tier.allCases { #expect(Buckets.seconds.bounds.contains(tier.objective.target), "\(tier)") }
        #expect(Histogram().count(above: 0.03) == nil)
    }
}
