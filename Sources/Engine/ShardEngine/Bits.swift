/// Bits of raw memory, 64 to a word: which rows are deleted, present, matching.
///
/// A value of two words that owns nothing: whoever allocated the memory frees it.
struct Bits {
    let words: UnsafeMutablePointer<UInt64>

    @inline(__always) init(_ words: UnsafeMutablePointer<UInt64>) { self.words = words }

    @inline(__always) static func wordCount(_ bits: Int) -> Int { (bits &+ 63) >> 6 }

    /// Zeroed; free with ``deallocate()``.
    static func allocate(bits: Int) -> Bits {
        let count = max(1, Self.wordCount(bits))
        let words = UnsafeMutablePointer<UInt64>.allocate(capacity: count)
        words.initialize(repeating: 0, count: count)
        return Bits(words)
    }
    func deallocate() { self.words.deallocate() }

    @inline(__always) subscript(_ i: Int) -> Bool { self.words[i >> 6] >> UInt64(i & 63) & 1 == 1 }
    @inline(__always) func set(_ i: Int) { self.words[i >> 6] |= 1 << UInt64(i & 63) }
    @inline(__always) func clear(_ i: Int) { self.words[i >> 6] &= ~(1 << UInt64(i & 63)) }

    /// Set bits among the first `bits`.
    func count(_ bits: Int) -> Int {
        var total = 0
        for w in 0..<bits >> 6 { total &+= self.words[w].nonzeroBitCount }
        if bits & 63 != 0 { total &+= (self.words[bits >> 6] & Self.lowMask(bits & 63)).nonzeroBitCount }
        return total
    }

    /// `n` low bits set, `n` in 0..<64.
    @inline(__always) static func lowMask(_ n: Int) -> UInt64 { (1 << UInt64(n)) &- 1 }
}
