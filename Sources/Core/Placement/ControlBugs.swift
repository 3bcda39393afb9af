/// Rules left out on purpose, so that tests can show that the simulation would find a mistake. Never set outside tests.
package struct ControlBugs: OptionSet, Sendable {
    package let rawValue: UInt16
    package init(rawValue: UInt16) { self.rawValue = rawValue }

    /// A copy is retired when its successor is placed, not when that is live.
    package static let trimBeforeLive = ControlBugs(rawValue: 1)
    /// A controller writes without comparing the epoch.
    package static let ignoreEpoch = ControlBugs(rawValue: 2)
    /// A replica is made live although it has not caught up.
    package static let promoteUnready = ControlBugs(rawValue: 4)
    /// A copy on a dead node is counted when another is retired.
    package static let countDeadCopies = ControlBugs(rawValue: 8)
    /// A shard is moved however small the gain.
    package static let rebalanceForEver = ControlBugs(rawValue: 16)
    /// A partition's replicas are changed before the change before is through.
    package static let changeUnsettled = ControlBugs(rawValue: 32)
    /// Voters are replaced without a look at who of them is alive.
    package static let ignoreMajority = ControlBugs(rawValue: 64)
    /// What is silent for a moment is taken for dead.
    package static let noGrace = ControlBugs(rawValue: 128)
    /// A journal replica that has halted counts as alive.
    package static let countHalted = ControlBugs(rawValue: 256)
}
