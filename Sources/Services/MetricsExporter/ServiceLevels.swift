package import Primitives

/// What a tier promises (design section 14).
package struct ServiceObjective: Sendable, Equatable {
    /// Seconds within which ``withinTarget`` of the requests must be answered; a bound of `Buckets.seconds`.
    package let target: Double
    /// Part of the requests that the server must not fail, 0 to 1.
    package let availability: Double

    /// The 99 of "p99".
    package static let withinTarget = 0.99
}

extension Tier {
    package var objective: ServiceObjective {
        switch self {
        case .critical: ServiceObjective(target: 0.025, availability: 0.9999)
        case .interactive: ServiceObjective(target: 0.05, availability: 0.999)
        case .batch: ServiceObjective(target: 0.2, availability: 0.995)
        case .background: ServiceObjective(target: 1, availability: 0.99)
        }
    }

    /// Replay lag that its requests are served with at most, in milliseconds.
    package var maxLagMilliseconds: UInt64 {
        switch self {
        case .critical: 100
        case .interactive: 200
        case .batch: 500
        case .background: 1000
        }
    }
}

/// Requests of a tier, counted.
package struct RequestTally: Sendable, Equatable {
    /// Answered, well or ill.
    package var requests: UInt64 = 0
    /// Of them, those that the server failed: UNAVAILABLE, INTERNAL, DEADLINE_EXCEEDED, DATA_LOSS, UNKNOWN, and what it shed.
    package var faults: UInt64 = 0
    /// Answered with their time known.
    package var timed: UInt64 = 0
    /// Of them, those that took longer than the tier's target.
    package var slow: UInt64 = 0

    package init(requests: UInt64 = 0, faults: UInt64 = 0, timed: UInt64 = 0, slow: UInt64 = 0) {
        self.requests = requests
        self.faults = faults
        self.timed = timed
        self.slow = slow
    }

    package static func += (a: inout Self, b: Self) {
        a.requests &+= b.requests
        a.faults &+= b.faults
        a.timed &+= b.timed
        a.slow &+= b.slow
    }

    /// What came since `earlier`; a count that went back began anew.
    func since(_ earlier: Self) -> Self {
        func grown(_ path: KeyPath<Self, UInt64>) -> UInt64 {
            let (now, before) = (self[keyPath: path], earlier[keyPath: path])
            return now >= before ? now - before : now
        }
        return Self(requests: grown(\.requests), faults: grown(\.faults), timed: grown(\.timed), slow: grown(\.slow))
    }

    /// Speed at which these requests spend the error budget: 1 is what is allowed, 0 without requests.
    ///
    /// Two objectives, each with a budget of its own. Availability: the part that failed, over the part that may. Latency: the
    /// part that was slower than the target, over the 1 % that a p99 allows. The larger of the two speeds counts: a tier is as
    /// badly off as its worse objective.
    package func burnRate(_ objective: ServiceObjective) -> Double {
        func rate(_ bad: UInt64, of all: UInt64, allowed: Double) -> Double {
            all == 0 ? 0 : Double(bad) / Double(all) / allowed
        }
        return max(
            rate(self.faults, of: self.requests, allowed: 1 - objective.availability),
            rate(self.slow, of: self.timed, allowed: 1 - ServiceObjective.withinTarget))
    }
}

/// Error budgets and burn rates of the tiers, from cumulative counts read every few seconds. No clock of its own.
///
/// Bounded: slices of ``sliceSeconds`` for the longest window, and of an hour for the budget's period. A window ends with the
/// slice under way, so it is up to one slice shorter than its name. The budget is that of the last ``budgetHours`` hours, or of
/// the time since the process began if that is shorter: what other processes answered, or this one before a restart, is for
/// Prometheus to add up.
package struct ServiceLevels: Sendable {
    package enum Window: String, Sendable, CaseIterable {
        case fiveMinutes = "5m"
        case hour = "1h"
        case sixHours = "6h"

        package var seconds: Int {
            switch self {
            case .fiveMinutes: 300
            case .hour: 3_600
            case .sixHours: 21_600
            }
        }
    }

    package static let sliceSeconds = 15
    /// 30 days.
    package static let budgetHours = 720

    private var recent = SliceRing(count: Window.sixHours.seconds / Self.sliceSeconds)
    private var hours = SliceRing(count: Self.budgetHours)
    private var last = [RequestTally](repeating: RequestTally(), count: Tier.allCases.count)

    package init() {}

    /// Takes in what was counted since the last time.
    /// - Parameters:
    ///   - totals: Since the process began, by tier.
    ///   - seconds: Of a clock that never steps back.
    package mutating func observe(_ totals: [RequestTally], at seconds: UInt64) {
        precondition(totals.count == self.last.count, "\(totals.count) tallies for \(self.last.count) tiers")
        let grown = zip(totals, self.last).map { $0.since($1) }
        self.last = totals
        self.recent.add(grown, at: seconds / UInt64(Self.sliceSeconds))
        self.hours.add(grown, at: seconds / 3_600)
    }

    package func tally(_ tier: Tier, _ window: Window) -> RequestTally {
        self.recent.sum(tier, last: window.seconds / Self.sliceSeconds)
    }

    package func burnRate(_ tier: Tier, _ window: Window) -> Double {
        self.tally(tier, window).burnRate(tier.objective)
    }

    /// 1: nothing spent; 0: all; below: overspent. Bad requests over those that the period's requests allow, of the worse
    /// objective.
    package func budgetRemaining(_ tier: Tier) -> Double {
        1 - self.hours.sum(tier, last: Self.budgetHours).burnRate(tier.objective)
    }
}

/// Tallies by tier of the last slices of time.
struct SliceRing: Sendable {
    private static let tiers = Tier.allCases.count
    private let count: Int
    private var slices: [RequestTally]
    private var newest: UInt64?

    init(count: Int) {
        self.count = count
        self.slices = Array(repeating: RequestTally(), count: count * Self.tiers)
    }

    /// - Parameter slice: Its number; not below that of the last call.
    mutating func add(_ tallies: [RequestTally], at slice: UInt64) {
        let newest = self.newest ?? slice
        if slice > newest {
            // Slices in which nothing was heard are empty, and those of the last round forgotten.
            let passed = min(slice - newest, UInt64(self.count))
            for number in (slice - passed + 1)...slice { self.clear(number) }
        }
        self.newest = max(newest, slice)
        let at = self.place(max(newest, slice))
        for (tier, tally) in tallies.enumerated() { self.slices[at + tier] += tally }
    }

    func sum(_ tier: Tier, last slices: Int) -> RequestTally {
        guard let newest = self.newest else { return RequestTally() }
        var sum = RequestTally()
        for back in 0..<UInt64(min(slices, self.count)) where back <= newest {
            sum += self.slices[self.place(newest - back) + Int(tier.rawValue)]
        }
        return sum
    }

    private func place(_ slice: UInt64) -> Int { Int(slice % UInt64(self.count)) * Self.tiers }

    private mutating func clear(_ slice: UInt64) {
        let at = self.place(slice)
        for tier in 0..<Self.tiers { self.slices[at + tier] = RequestTally() }
    }
}
