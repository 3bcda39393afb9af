/// One change, for one epoch, with its reason.
package struct Decision: Equatable, Sendable, CustomStringConvertible {
    /// Of the map that it is made for. Decisions of a plan follow each other: if one is refused, those behind it are stale.
    package let epoch: MapEpoch
    package let change: MapChange
    /// For a person, the log and `sys-0`.
    package let reason: String
    package init(epoch: MapEpoch, change: MapChange, reason: String) {
        self.epoch = epoch
        self.change = change
        self.reason = reason
    }
    package var description: String { "\(self.change): \(self.reason)" }
}

/// What is to be done, in order, and what cannot be.
package struct Plan: Equatable, Sendable {
    package var decisions: [Decision] = []
    /// Needed and not possible now, each with its reason; at most ``maxBlocked``.
    package var blocked: [String] = []
    /// Changes that the map refused its own planner: a mistake of ours, empty as long as tests can tell.
    package var mistakes: [String] = []

    package static let maxBlocked = 64

    package init() {}
}
