internal import Primitives

/// How long each journal replica has been halted: a restart of its node mends most of them, and whoever restarts a node is given the time
/// that a node which is away is given. One that stays so is to be replaced, as a dead node's is.
package struct HaltPatience: Sendable {
    private let patience: Duration
    private var since: [NodeID: [Incarnation: Duration]] = [:]

    package init(patience: Duration = LivenessSettings().downAfter) { self.patience = patience }

    /// - Returns: The report, in which replicas that have been halted for long are ``NodeObservation/JournalState/stuck``.
    package mutating func heard(_ node: NodeID, _ report: NodeObservation, now: Duration) -> NodeObservation {
        let known = self.since[node] ?? [:]
        var halted: [Incarnation: Duration] = [:]
        var report = report
        for (which, state) in report.journals where state == .halted {
            let began = known[which] ?? now
            halted[which] = began
            if now - began >= self.patience { report.journals[which] = .stuck }
        }
        self.since[node] = halted.isEmpty ? nil : halted
        return report
    }
}
