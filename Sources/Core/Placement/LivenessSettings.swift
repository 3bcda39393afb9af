package import Primitives

/// When silence means something. The targets are design 12's: reads go elsewhere in less than a second, a replica is replaced in
/// less than a minute.
package struct LivenessSettings: Sendable {
    /// How often a node makes itself heard.
    package var heartbeat: Duration = .milliseconds(250)
    /// Silent for so long, reads go elsewhere: two heartbeats lost and the third late, and a quarter of a second is left of
    /// design 12's second.
    package var suspectAfter: Duration = .milliseconds(750)
    /// Silent for so long, its replicas are made again elsewhere. Longer than a restart, which may take ten seconds to write
    /// checkpoints and some to come up; three quarters of design 12's minute are left for the copying.
    package var downAfter: Duration = .seconds(15)
    /// A node whose lease is still held is alive though the leading controller does not hear it: its replicas are good, and
    /// copying them is waste. But a process can hang and its lease be renewed, so there is an end to that.
    package var downAfterWithLease: Duration = .seconds(45)
    /// How long a node must be up before it is given anything new, once it has been away; twice as long with each time more.
    /// Five seconds: a node that is restarted once loses nothing by it.
    package var settleBase: Duration = .seconds(5)
    /// At most. A node that fails every few minutes is not to be used, but one that was mended is to be of use within the hour.
    package var settleMax: Duration = .seconds(300)
    /// Up for so long without a break, one absence is forgotten.
    package var forgiveAfter: Duration = .seconds(300)

    package init() {}

    /// - Throws: `.invalidArgument`, naming the field.
    package func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ what: String) throws(VecraftError) {
            guard holds else { throw .invalid("liveness.\(field)", what) }
        }
        try check(self.heartbeat >= .milliseconds(10), "heartbeat", "10 ms or more")
        try check(self.suspectAfter >= self.heartbeat * 2, "suspect_after", "at least two heartbeats")
        try check(self.downAfter >= self.suspectAfter * 2, "down_after", "at least twice liveness.suspect_after")
        try check(self.downAfterWithLease >= self.downAfter, "down_after_with_lease", "at least liveness.down_after")
        try check(self.settleBase >= .zero, "settle_base", "0 or more")
        try check(self.settleMax >= self.settleBase, "settle_max", "at least liveness.settle_base")
        try check(self.forgiveAfter > .zero, "forgive_after", "more than 0")
    }
}
