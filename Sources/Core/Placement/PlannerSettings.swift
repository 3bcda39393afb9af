package import Primitives

/// How much at a time, and what is worth it.
package struct PlannerSettings: Sendable {
    /// Builds that a node takes in at once: each writes at the disk's speed and takes part of a core.
    package var maxBuildsPerNode = 2
    /// In the cluster. Each also reads a peer's files and takes its network: a quarter of a hundred nodes at two each.
    package var maxBuilds = 48
    /// Of these, moves: what is moved only for balance must not be in the way of what is missing.
    package var maxMoves = 4
    /// Partitions whose voters are moved for balance at once.
    package var maxJournalMoves = 1
    /// A replica so many entries behind the furthest live one is made live: design 13's warning.
    package var maxPromotionLag: JournalOffset = 1000
    /// Loads that differ by less than this part of their mean (of 1,000) are alike: a copy costs more than it gives.
    package var worthMoving: UInt64 = 100
    /// What one shard weighs beside its bytes (of the unit below), so that many small ones are spread too.
    package var bytesPerUnit: UInt64 = 1 << 30
    /// A disk is given nothing that leaves less than this part (of 1,000) free: near full, a node refuses writes.
    package var minDiskFree: UInt64 = 150
    /// A plan's decisions. More follow with the next plan, a moment later, from a newer view.
    package var maxDecisions = 256

    package init() {}

    /// - Throws: `.invalidArgument`, naming the field.
    package func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ what: String) throws(VecraftError) {
            guard holds else { throw .invalid("planner.\(field)", what) }
        }
        try check(self.maxBuildsPerNode >= 1, "max_builds_per_node", "1 or more")
        try check(self.maxBuilds >= 1, "max_builds", "1 or more")
        try check((0...self.maxBuilds).contains(self.maxMoves), "max_moves", "0 to planner.max_builds")
        try check(self.maxJournalMoves >= 0, "max_journal_moves", "0 or more")
        try check((0...1000).contains(self.worthMoving), "worth_moving", "0 to 1,000")
        try check(self.bytesPerUnit >= 1, "bytes_per_unit", "1 or more")
        try check((0...900).contains(self.minDiskFree), "min_disk_free", "0 to 900")
        try check((1...65_536).contains(self.maxDecisions), "max_decisions", "1 to 65,536")
    }
}
