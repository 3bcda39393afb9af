import Primitives
import Synchronization

/// Makes trace and span identifiers; lock-free, and unique in the process for 2^64 draws.
///
/// splitmix64 (Steele, Lea and Flood, 2014) over a shared counter that starts at random: no two draws are alike, and
/// two processes differ by their start. Identifiers are not secrets.
package struct TraceIDs: RandomNumberGenerator, Sendable {
    private final class Shared: Sendable {
        let counter: Atomic<UInt64>
        init(_ start: UInt64) { self.counter = Atomic(start) }
    }
    private let shared: Shared

    package init() {
        var system = SystemRandomNumberGenerator()
        self.init(seed: system.next())
    }

    /// A reproducible sequence, for tests.
    package init(seed: UInt64) { self.shared = Shared(seed) }

    /// The next identifier. Copies draw from one sequence.
    package mutating func next() -> UInt64 {
        var z = self.shared.counter.wrappingAdd(0x9E37_79B9_7F4A_7C15, ordering: .relaxed).newValue
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
