internal import Synchronization

/// Whether this node's wall clock can be relied on, judged by the others' clocks.
///
/// The middle of all clocks, ours among them, is taken for the time: a minority of bad clocks cannot move it (Lamport and
/// Melliar-Smith, "Synchronizing clocks in the presence of faults", 1985, section 3). Of two nobody can say whose is wrong.
package enum ClockJudgement {
    /// How far the middle clock is ahead of ours, nanoseconds.
    ///
    /// - Parameter offsets: How far each other node's clock is ahead of ours; of those that are heard from.
    package static func middle(_ offsets: [Int64]) -> Int64 {
        let sorted = (offsets + [0]).sorted()
        let upper = sorted[sorted.count / 2]
        let lower = sorted[(sorted.count - 1) / 2]
        // Between the two middle ones of an even number ours may be right.
        if lower <= 0, upper >= 0 { return 0 }
        return lower.magnitude < upper.magnitude ? lower : upper
    }

    /// Why a node should not lead, if so.
    ///
    /// - Parameters:
    ///   - lead: How far its hybrid clock is ahead of the time, milliseconds: what it stamped would be refused.
    ///   - limit: How far a clock may be off, milliseconds.
    package static func whyUnfit(_ offsets: [Int64], lead: UInt64 = 0, limitMilliseconds limit: UInt64) -> String? {
        let ahead = Self.middle(offsets) / 1_000_000
        if ahead.magnitude > limit {
            return
                "its clock is \(ahead.magnitude) ms \(ahead > 0 ? "behind" : "ahead of") the others', at most \(limit) is allowed"
        }
        guard lead > limit else { return nil }
        return "what it has stamped is \(lead) ms ahead of the time, at most \(limit) is allowed"
    }
}

/// How far the others' clocks are ahead of this node's at most, for those who judge ages by what others have stamped.
final class ClockSkew: Sendable {
    let milliseconds = Atomic<UInt64>(0)

    func note(_ offsets: [Int64]) {
        let ahead = offsets.max() ?? 0
        self.milliseconds.store(ahead > 0 ? UInt64(ahead) / 1_000_000 + 1 : 0, ordering: .relaxed)
    }
}
