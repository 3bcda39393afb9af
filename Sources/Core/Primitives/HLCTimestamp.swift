/// A hybrid logical clock timestamp: 48 bits of milliseconds since 1970, 16 bits of counter.
///
/// Kulkarni et al., "Logical Physical Clocks" (2014), section 3; packed so that integer order is time order.
package struct HLCTimestamp: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var rawValue: UInt64

    @inlinable package init(rawValue: UInt64) { self.rawValue = rawValue }
    @inlinable package init(milliseconds: UInt64, counter: UInt16) {
        self.rawValue = milliseconds << 16 | UInt64(counter)
    }

    package static let zero = HLCTimestamp(rawValue: 0)
    @inlinable package var milliseconds: UInt64 { self.rawValue >> 16 }
    @inlinable package var counter: UInt16 { UInt16(truncatingIfNeeded: self.rawValue) }
    @inlinable package static func < (a: HLCTimestamp, b: HLCTimestamp) -> Bool { a.rawValue < b.rawValue }

    /// "1763840000000.3"
    package var description: String { "\(self.milliseconds).\(self.counter)" }
}
