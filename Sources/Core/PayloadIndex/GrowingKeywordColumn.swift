import Primitives

/// Rows by text while a segment grows: an open-addressing dictionary, and for each term its rows in ascending order.
///
/// A term's first row lives in its record (most terms of a key-like field have no other), later ones in chunks of one
/// arena, each chunk twice as long as the one before and ending in a link. A term that fills enough of the segment
/// becomes a bitmap.
struct GrowingKeywordColumn: Sendable {
    struct Term: Sendable {
        var hash: UInt64
        var start: UInt32
        var length: UInt32
        /// Rows, each once.
        var count: UInt32
        var first: UInt32
        var last: UInt32
        /// First chunk, next free place, and the link of the chunk being filled; meaningless while `count < 2`.
        var head: UInt32
        var next: UInt32
        var link: UInt32
        /// Position in `dense`, or -1.
        var dense: Int32
    }

    private static let firstChunk = 3
    private static let longestChunk = 1023
    /// Below this a list is short enough.
    static let denseFrom: UInt32 = 1024

    private(set) var terms: [Term] = []
    private(set) var text: [UInt8] = []
    /// Term number + 1, or 0; a power of two, at most 5/8 full.
    private var slots: [UInt32] = []
    private var arena: [UInt32] = []
    private var dense: [Bitmap] = []

    private func find(_ utf8: UnsafeRawBufferPointer, hash: UInt64) -> (term: Int?, slot: Int) {
        if self.slots.isEmpty { return (nil, 0) }
        return self.slots.withUnsafeBufferPointer { slots in
            let mask = slots.count &- 1
            var slot = Int(truncatingIfNeeded: hash) & mask
            while slots[slot] != 0 {
                let index = Int(slots[slot] &- 1)
                let (same, start, length) = self.terms.withUnsafeBufferPointer { terms in
                    (terms[index].hash == hash, Int(terms[index].start), Int(terms[index].length))
                }
                if same, length == utf8.count,
                    self.text.withUnsafeBytes({
                        RawBytes.equal(UnsafeRawBufferPointer(rebasing: $0[start..<start &+ length]), utf8)
                    })
                {
                    return (index, slot)
                }
                slot = (slot &+ 1) & mask
            }
            return (nil, slot)
        }
    }

    /// - Parameter row: Not below any row added before.
    mutating func add(_ utf8: UnsafeRawBufferPointer, hash: UInt64, row: UInt32) {
        if self.slots.isEmpty { self.slots = [UInt32](repeating: 0, count: 16) }
        let (found, slot) = self.find(utf8, hash: hash)
        if let index = found {
            self.append(row, to: index)
            return
        }
        precondition(self.text.count + utf8.count <= UInt32.max, "a segment's keywords pass 4 GiB")
        self.terms.append(
            Term(
                hash: hash, start: UInt32(self.text.count), length: UInt32(utf8.count),
                count: 1, first: row, last: row, head: 0, next: 0, link: 0, dense: -1))
        self.text.append(contentsOf: utf8)
        self.slots[slot] = UInt32(self.terms.count)
        if self.terms.count * 8 > self.slots.count * 5 { self.rehash() }
    }

    private mutating func rehash() {
        let mask = self.slots.count * 2 - 1
        var slots = [UInt32](repeating: 0, count: mask + 1)
        for index in self.terms.indices {
            var slot = Int(truncatingIfNeeded: self.terms[index].hash) & mask
            while slots[slot] != 0 { slot = (slot + 1) & mask }
            slots[slot] = UInt32(index + 1)
        }
        self.slots = slots
    }

    private mutating func append(_ row: UInt32, to index: Int) {
        var term = self.terms[index]
        if term.last == row { return }  // an array may hold the same text twice
        assert(term.last < row)
        term.last = row
        term.count &+= 1
        if term.dense >= 0 {
            self.dense[Int(term.dense)].grow(to: Int(row) + 1)
            self.dense[Int(term.dense)].set(row)
        } else {
            self.appendToChunk(row, &term)
            // Looked at when the count doubles; 32 rows a bit is where a bitmap gets smaller than a list.
            if term.count >= Self.denseFrom, term.count & (term.count &- 1) == 0, term.count >= row / 32 {
                var bitmap = Bitmap(size: Int(row) + 1)
                self.forEachRun(of: term) { bitmap.set($0) }
                term.dense = Int32(self.dense.count)
                self.dense.append(bitmap)
            }
        }
        self.terms[index] = term
    }

    private mutating func appendToChunk(_ row: UInt32, _ term: inout Term) {
        if term.count == 2 {
            term.head = self.newChunk(Self.firstChunk)
            term.next = term.head
            term.link = term.head + UInt32(Self.firstChunk)
        } else if term.next == term.link {
            // Chunk lengths are 3, 7, 15, ... 1023; how long the last one was follows from the rows before.
            let chunk = self.newChunk(Self.chunkLength(after: Int(term.count) - 2))
            let length = self.arena.count - Int(chunk) - 1
            self.arena[Int(term.link)] = chunk
            term.next = chunk
            term.link = chunk + UInt32(length)
        }
        self.arena[Int(term.next)] = row
        term.next &+= 1
    }

    private mutating func newChunk(_ length: Int) -> UInt32 {
        let start = self.arena.count
        precondition(start + length < UInt32.max, "a segment's keyword rows pass 2^32")
        self.arena.append(contentsOf: repeatElement(0, count: length + 1))
        return UInt32(start)
    }

    /// Length of the chunk that follows when `filled` rows lie in full chunks.
    private static func chunkLength(after filled: Int) -> Int {
        var length = Self.firstChunk
        var rows = filled
        while rows > 0 {
            rows -= length
            length = min(length * 2 + 1, Self.longestChunk)
        }
        return length
    }

    /// Calls `body` with the rows of a term, ascending, in runs.
    private func forEachRun(of term: Term, _ body: (UnsafeBufferPointer<UInt32>) -> Void) {
        withUnsafePointer(to: term.first) { body(UnsafeBufferPointer(start: $0, count: 1)) }
        var left = Int(term.count) - 1
        if left == 0 { return }
        self.arena.withUnsafeBufferPointer { arena in
            var start = Int(term.head)
            var length = Self.firstChunk
            while true {
                let count = min(left, length)
                body(UnsafeBufferPointer(rebasing: arena[start..<start + count]))
                left -= count
                if left == 0 { return }
                start = Int(arena[start + length])
                length = min(length * 2 + 1, Self.longestChunk)
            }
        }
    }

    func withText<R>(_ index: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
        let term = self.terms[index]
        return self.text.withUnsafeBytes {
            body(UnsafeRawBufferPointer(rebasing: $0[Int(term.start)..<Int(term.start + term.length)]))
        }
    }

    // MARK: Questions

    func count(_ utf8: UnsafeRawBufferPointer) -> Int {
        self.find(utf8, hash: KeywordLimits.hash(utf8)).term.map { Int(self.terms[$0].count) } ?? 0
    }

    /// Sets the rows of the text.
    func collect(_ utf8: UnsafeRawBufferPointer, into rows: inout Bitmap) {
        guard let index = self.find(utf8, hash: KeywordLimits.hash(utf8)).term else { return }
        let term = self.terms[index]
        if term.dense >= 0 {
            rows.formUnion(self.dense[Int(term.dense)])
        } else {
            self.forEachRun(of: term) { rows.set($0) }
        }
    }

    /// The same column in sealed form.
    func sealed(rows: Int) -> SealedKeywordColumn {
        var builder = SealedKeywordColumn.Builder(rows: rows, terms: self.terms.count, textBytes: self.text.count)
        let order = self.text.withUnsafeBytes { text in
            func slice(_ index: Int) -> UnsafeRawBufferPointer {
                let term = self.terms[index]
                return UnsafeRawBufferPointer(rebasing: text[Int(term.start)..<Int(term.start + term.length)])
            }
            return self.terms.indices.sorted { RawBytes.compare(slice($0), slice($1)) < 0 }
        }
        for index in order {
            let term = self.terms[index]
            self.withText(index) { builder.beginTerm($0, count: term.count) }
            if term.dense >= 0 {
                self.dense[Int(term.dense)].forEach { builder.add(UInt32($0)) }
            } else {
                self.forEachRun(of: term) { run in for row in run { builder.add(row) } }
            }
        }
        return builder.finish()
    }

    var memoryBytes: Int {
        self.terms.capacity * MemoryLayout<Term>.stride + self.text.capacity + (self.slots.capacity + self.arena.capacity) * 4
            + self.dense.reduce(0) { $0 + $1.memoryBytes }
    }
}
