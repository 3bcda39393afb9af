/// A reproducible generator for tests, simulation and anything derived from content: xoshiro256** (Blackman and Vigna,
/// 2018), seeded by splitmix64.
package struct SeededRNG: RandomNumberGenerator, Sendable {
    private var s: (UInt64, UInt64, UInt64, UInt64)

    package init(seed: UInt64) {
        var x = seed
        func split() -> UInt64 {
            x &+= 0x9E37_79B9_7F4A_7C15
            var z = x
            z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
            z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
            return z ^ z >> 31
        }
        self.s = (split(), split(), split(), split())
    }

    package mutating func next() -> UInt64 {
        let product = self.s.1 &* 5
        let result = (product << 7 | product >> 57) &* 9
        let t = self.s.1 << 17
        self.s.2 ^= self.s.0
        self.s.3 ^= self.s.1
        self.s.1 ^= self.s.2
        self.s.0 ^= self.s.3
        self.s.2 ^= t
        self.s.3 = self.s.3 << 45 | self.s.3 >> 19
        return result
    }
}
