package import Observability
internal import Primitives
internal import Synchronization

/// Keeps the tiers' error budgets and burn rates from what the edge has counted; requests pay nothing for it.
package final class ServiceLevelReporting: Sendable {
    /// How often to ``collect(at:)``.
    package static let interval: Duration = .seconds(5)

    private static let faults: Set<String> = Set(
        [VecraftError.Code.unavailable, .internalError, .deadlineExceeded, .dataLoss, .unknown].map(\.name))

    private let requests: RequestMetrics
    private let levels = Mutex(ServiceLevels())

    package init(_ requests: RequestMetrics) { self.requests = requests }

    /// Reads the counts and sets the gauges.
    /// - Parameter seconds: Of a clock that never steps back.
    package func collect(at seconds: UInt64 = SystemTime.monotonicNanoseconds / 1_000_000_000) {
        self.levels.withLock { levels in
            // Under the lock, so that a later reading is never taken in before an earlier one.
            levels.observe(self.totals(), at: seconds)
            for tier in Tier.allCases {
                self.requests.errorBudgetRemaining.with(tier.label).set(levels.budgetRemaining(tier))
                for window in ServiceLevels.Window.allCases {
                    self.requests.burnRate.with(tier.label, window.rawValue).set(levels.burnRate(tier, window))
                }
            }
        }
    }

    private func totals() -> [RequestTally] {
        var totals = [RequestTally](repeating: RequestTally(), count: Tier.allCases.count)
        let tiers = Dictionary(uniqueKeysWithValues: Tier.allCases.map { ($0.label, $0) })
        self.requests.total.forEach { values, counter in
            guard let tier = tiers[values[0]] else { return }
            totals[Int(tier.rawValue)].requests += counter.count
            if Self.faults.contains(values[2]) { totals[Int(tier.rawValue)].faults += counter.count }
        }
        self.requests.shed.forEach { values, counter in
            if let tier = tiers[values[0]] { totals[Int(tier.rawValue)].faults += counter.count }
        }
        self.requests.duration.forEach { values, histogram in
            guard let tier = tiers[values[0]], let count = histogram.count(above: tier.objective.target) else { return }
            totals[Int(tier.rawValue)].timed += count.all
            totals[Int(tier.rawValue)].slow += count.above
        }
        return totals
    }
}
