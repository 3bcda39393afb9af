/// Rules left out on purpose, so that tests can show that the checkers would find a mistake. Never set outside tests.
package struct PlantedBugs: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The vote is forgotten at a restart.
    package static let voteTwice = PlantedBugs(rawValue: 1)
    /// Entries of older terms are committed by counting (Raft paper, figure 8).
    package static let commitOldTerm = PlantedBugs(rawValue: 2)
    /// What was received is acknowledged as if it were durable.
    package static let acknowledgeBeforeSync = PlantedBugs(rawValue: 4)
    /// A leader reads as if its lease never ended.
    package static let staleLease = PlantedBugs(rawValue: 8)
    /// An append that was overtaken cuts off what came after it.
    package static let truncateCommitted = PlantedBugs(rawValue: 16)
    /// Configurations in the log are forgotten at a restart.
    package static let forgetMembership = PlantedBugs(rawValue: 32)
}
