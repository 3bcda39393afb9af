/// A set of small integers (rows of a segment), one bit each.
///
/// Invariant: bits at `size` and above are zero. Memory is kept by `reset`, so a bitmap that is used again allocates nothing.
package struct Bitmap: Sendable, Hashable {
    /// How many bits there are; members are in `0..<size`.
    package private(set) var size: Int
    @usableFromInline var words: [UInt64]

    package init(size: Int = 0, filled: Bool = false) {
        self.size = size
        self.words = [UInt64](repeating: 0, count: Self.wordCount(size))
        if filled { self.fill() }
    }

    /// Adopts words written elsewhere (a file); bits beyond `size` are dropped.
    package init(size: Int, words: [UInt64]) {
        precondition(words.count == Self.wordCount(size), "\(words.count) words for \(size) bits")
        self.size = size
        self.words = words
        self.trim()
    }

    @inlinable package static func wordCount(_ size: Int) -> Int { (size &+ 63) >> 6 }

    // MARK: Members

    @inlinable package subscript(_ index: Int) -> Bool {
        self.words[index >> 6] >> UInt64(truncatingIfNeeded: index & 63) & 1 == 1
    }
    @inlinable package func test(_ row: UInt32) -> Bool { self[Int(row)] }

    /// - Precondition: `index < size`.
    @inlinable package mutating func set(_ index: Int) {
        assert(index < self.size)
        self.words[index >> 6] |= 1 &<< UInt64(truncatingIfNeeded: index & 63)
    }
    @inlinable package mutating func set(_ row: UInt32) { self.set(Int(row)) }

    @inlinable package mutating func clear(_ index: Int) {
        assert(index < self.size)
        self.words[index >> 6] &= ~(1 &<< UInt64(truncatingIfNeeded: index & 63))
    }
    @inlinable package mutating func clear(_ row: UInt32) { self.clear(Int(row)) }

    /// Sets every row of a list.
    package mutating func set(_ rows: UnsafeBufferPointer<UInt32>) {
        self.words.withUnsafeMutableBufferPointer { words in
            for row in rows { words[Int(row >> 6)] |= 1 &<< UInt64(row & 63) }
        }
    }

    // MARK: Whole

    /// Empty, with another size; keeps the memory.
    package mutating func reset(size: Int) {
        let count = Self.wordCount(size)
        self.size = size
        if count <= self.words.count {
            self.words.removeLast(self.words.count - count)
            self.words.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
        } else {
            self.words.removeAll(keepingCapacity: true)
            self.words.append(contentsOf: repeatElement(0, count: count))
        }
    }

    /// Makes room for members up to `size`; never shrinks.
    package mutating func grow(to size: Int) {
        guard size > self.size else { return }
        self.size = size
        let missing = Self.wordCount(size) - self.words.count
        if missing > 0 { self.words.append(contentsOf: repeatElement(0, count: missing)) }
    }

    package mutating func fill() {
        self.words.withUnsafeMutableBufferPointer { $0.update(repeating: .max) }
        self.trim()
    }

    /// `other` may be shorter or longer; what it does not have counts as absent, what lies beyond `size` is ignored.
    package mutating func formUnion(_ other: Bitmap) { self.combine(other, missing: 0) { $0 | $1 } }
    package mutating func formIntersection(_ other: Bitmap) { self.combine(other, missing: 0) { $0 & $1 } }
    package mutating func subtract(_ other: Bitmap) { self.combine(other, missing: 0) { $0 & ~$1 } }

    /// Union with words that lie elsewhere, at most as many as this bitmap has.
    package mutating func formUnion(words other: UnsafeBufferPointer<UInt64>) {
        precondition(other.count <= self.words.count, "\(other.count) words into \(self.words.count)")
        self.words.withUnsafeMutableBufferPointer { mine in
            for i in 0..<other.count { mine[i] |= other[i] }
        }
        self.trim()
    }

    package mutating func formComplement() {
        self.words.withUnsafeMutableBufferPointer { words in
            for i in words.indices { words[i] = ~words[i] }
        }
        self.trim()
    }

    /// Becomes a copy of `other`, in the memory it has.
    package mutating func assign(_ other: Bitmap) {
        self.size = other.size
        self.words.removeAll(keepingCapacity: true)
        self.words.append(contentsOf: other.words)
    }

    /// Number of members; O(size).
    package func count() -> Int {
        self.words.withUnsafeBufferPointer { words in
            var total = 0
            for word in words { total &+= word.nonzeroBitCount }
            return total
        }
    }

    package var isEmpty: Bool { self.words.allSatisfy { $0 == 0 } }

    /// Members in ascending order.
    @inlinable package func forEach<E: Error>(_ body: (Int) throws(E) -> Void) throws(E) {
        for i in 0..<self.words.count {
            var word = self.words[i]
            while word != 0 {
                try body(i << 6 | word.trailingZeroBitCount)
                word &= word &- 1
            }
        }
    }

    /// Removes the members that `keep` refuses.
    @inlinable package mutating func filter<E: Error>(_ keep: (Int) throws(E) -> Bool) throws(E) {
        for i in 0..<self.words.count {
            var word = self.words[i]
            var kept = word
            while word != 0 {
                let bit = word & (0 &- word)
                if !(try keep(i << 6 | word.trailingZeroBitCount)) { kept &= ~bit }
                word &= word &- 1
            }
            self.words[i] = kept
        }
    }

    /// The least member at or above `index`.
    package func next(from index: Int) -> Int? {
        guard index < self.size else { return nil }
        var i = index >> 6
        var word = self.words[i] & UInt64.max &<< UInt64(index & 63)
        while word == 0 {
            i += 1
            if i == self.words.count { return nil }
            word = self.words[i]
        }
        return i << 6 | word.trailingZeroBitCount
    }

    /// The words, least row in the lowest bit of the first.
    @inlinable package func withUnsafeWords<R, E: Error>(
        _ body: (UnsafeBufferPointer<UInt64>) throws(E) -> R
    ) throws(E) -> R {
        try self.words.withUnsafeBufferPointer(body)
    }

    /// For code that fills a bitmap by words of its own; it must leave bits beyond `size` zero.
    @inlinable package mutating func withUnsafeMutableWords<R, E: Error>(
        _ body: (inout UnsafeMutableBufferPointer<UInt64>) throws(E) -> R
    ) throws(E) -> R {
        try self.words.withUnsafeMutableBufferPointer(body)
    }

    package var memoryBytes: Int { self.words.capacity * 8 }

    // MARK: Parts

    private mutating func trim() {
        let used = self.size & 63
        if used != 0 { self.words[self.words.count - 1] &= 1 << UInt64(used) - 1 }
    }

    @inline(__always)
    private mutating func combine(_ other: Bitmap, missing: UInt64, _ operation: (UInt64, UInt64) -> UInt64) {
        let common = min(self.words.count, other.words.count)
        self.words.withUnsafeMutableBufferPointer { mine in
            other.words.withUnsafeBufferPointer { theirs in
                for i in 0..<common { mine[i] = operation(mine[i], theirs[i]) }
                for i in common..<mine.count { mine[i] = operation(mine[i], missing) }
            }
        }
        if other.size > self.size { self.trim() }
    }
}
