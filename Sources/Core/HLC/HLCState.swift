package import Primitives

/// A hybrid logical clock as a pure value: physical time is handed in, nothing is read.
///
/// Invariant: every timestamp given out is above all that were given out or observed before it, whatever physical time does.
/// Kulkarni et al., "Logical Physical Clocks" (2014), figure 5; here one word holds both parts, so "the greater of, plus one"
/// is the whole rule, and a counter that overflows carries into the milliseconds by itself.
package struct HLCState: Sendable, Equatable {
    /// The latest timestamp given out or observed.
    package private(set) var last: HLCTimestamp
    /// How far ahead of physical time a remote timestamp may be, milliseconds.
    package let maxOffset: UInt64

    /// design 9, `max_clock_offset`.
    package static let defaultMaxOffset: UInt64 = 500

    package init(last: HLCTimestamp = .zero, maxOffset: UInt64 = Self.defaultMaxOffset) {
        self.last = last
        self.maxOffset = maxOffset
    }

    /// The next timestamp.
    ///
    /// - Parameter physical: Milliseconds since 1970, below 2^48. It may step back: order is kept by the counter.
    package mutating func now(physical: UInt64) -> HLCTimestamp {
        let wall = HLCTimestamp(milliseconds: physical, counter: 0)
        self.last = wall > self.last ? wall : HLCTimestamp(rawValue: self.last.rawValue + 1)
        return self.last
    }

    /// Merges a timestamp that came with a message, and gives one above it.
    ///
    /// - Throws: `.failedPrecondition`, reason `CLOCK_DRIFT`, if `remote` is more than ``maxOffset`` ahead of `physical`:
    ///   one wrong clock must not drag all others into the future. The state is unchanged then.
    package mutating func observe(_ remote: HLCTimestamp, physical: UInt64) throws(VecraftError) -> HLCTimestamp {
        let ahead = remote.milliseconds > physical ? remote.milliseconds - physical : 0
        guard ahead <= self.maxOffset else {
            throw VecraftError(
                .failedPrecondition,
                "a remote timestamp is \(ahead) ms ahead of this clock; at most \(self.maxOffset) ms are accepted",
                reason: "CLOCK_DRIFT")
        }
        self.last = max(self.last, remote)
        return self.now(physical: physical)
    }

    /// Takes over a timestamp of another replica of our journal, unless it is too far ahead.
    ///
    /// Where this clock is itself that far ahead of physical time, its log bears such times already: then it is the measure, for nobody
    /// can wait for them.
    /// - Returns: False if `remote` is more than ``maxOffset`` ahead. The state is unchanged then.
    package mutating func follow(_ remote: HLCTimestamp, physical: UInt64) -> Bool {
        guard remote > self.last else { return true }
        let isAhead = self.last.milliseconds > physical + self.maxOffset
        guard remote.milliseconds <= (isAhead ? self.last.milliseconds : physical) + self.maxOffset else {
            return false
        }
        self.last = remote
        return true
    }

    /// Puts the clock above all that an earlier process may have given out: its persisted bound.
    ///
    /// - Parameter bound: Milliseconds; no timestamp of the earlier process had this physical part or a later one.
    package mutating func restore(bound: UInt64) {
        guard bound > 0 else { return }
        // One below the bound's first timestamp, so that the next one is at least that.
        self.last = max(self.last, HLCTimestamp(rawValue: HLCTimestamp(milliseconds: bound, counter: 0).rawValue - 1))
    }

    /// Puts the clock at or above a timestamp of our own log. Never refused: it is our past, whatever the wall clock says.
    package mutating func restore(last: HLCTimestamp) {
        self.last = max(self.last, last)
    }
}
