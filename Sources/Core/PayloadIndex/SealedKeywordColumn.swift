import Primitives

/// Rows by text, final: terms in byte order found by binary search, rows as one array of lists and one of bitmaps.
///
/// Invariants: `textStarts` and `terms` agree in number; a term with at least one row in 32 (and 1024 rows) is a bitmap.
struct SealedKeywordColumn: Sendable {
    /// Set in a head: the rest is the number of a bitmap, not a position in `postings`.
    static let denseFlag: UInt32 = 1 << 31

    var rows: Int
    /// Term i is `text[textStarts[i] ..< textStarts[i + 1]]`.
    var textStarts: [UInt32]
    var text: [UInt8]
    var heads: [UInt32]
    /// Rows of each term.
    var counts: [UInt32]
    /// Ascending rows, list after list.
    var postings: [UInt32]
    /// Bitmap after bitmap, `Bitmap.wordCount(rows)` words each.
    var denseWords: [UInt64]

    static func isDense(count: Int, rows: Int) -> Bool { count >= Int(GrowingKeywordColumn.denseFrom) && count >= rows / 32 }

    private func find(_ utf8: UnsafeRawBufferPointer) -> Int? {
        self.text.withUnsafeBytes { text in
            self.textStarts.withUnsafeBufferPointer { starts in
                var low = 0
                var high = self.heads.count
                while low < high {
                    let middle = (low + high) / 2
                    let term = UnsafeRawBufferPointer(rebasing: text[Int(starts[middle])..<Int(starts[middle + 1])])
                    let order = RawBytes.compare(term, utf8)
                    if order == 0 { return middle }
                    if order < 0 { low = middle + 1 } else { high = middle }
                }
                return nil
            }
        }
    }

    func count(_ utf8: UnsafeRawBufferPointer) -> Int { self.find(utf8).map { Int(self.counts[$0]) } ?? 0 }

    func collect(_ utf8: UnsafeRawBufferPointer, into rows: inout Bitmap) {
        guard let index = self.find(utf8) else { return }
        let head = self.heads[index]
        if head & Self.denseFlag == 0 {
            self.postings.withUnsafeBufferPointer {
                rows.set(UnsafeBufferPointer(rebasing: $0[Int(head)..<Int(head) + Int(self.counts[index])]))
            }
            return
        }
        let words = Bitmap.wordCount(self.rows)
        let start = Int(head & ~Self.denseFlag) * words
        self.denseWords.withUnsafeBufferPointer { rows.formUnion(words: UnsafeBufferPointer(rebasing: $0[start..<start + words])) }
    }

    var memoryBytes: Int {
        (self.textStarts.count + self.heads.count + self.counts.count + self.postings.count) * 4 + self.text.count
            + self.denseWords.count * 8
    }

    /// Takes terms in byte order, and the rows of each in ascending order.
    struct Builder {
        private var column: SealedKeywordColumn
        private var denseStart: Int?
        private let words: Int

        init(rows: Int, terms: Int, textBytes: Int) {
            self.column = SealedKeywordColumn(
                rows: rows, textStarts: [], text: [], heads: [], counts: [], postings: [], denseWords: [])
            self.column.textStarts.reserveCapacity(terms + 1)
            self.column.text.reserveCapacity(textBytes)
            self.column.heads.reserveCapacity(terms)
            self.column.counts.reserveCapacity(terms)
            self.words = Bitmap.wordCount(rows)
        }

        mutating func beginTerm(_ utf8: UnsafeRawBufferPointer, count: UInt32) {
            self.column.textStarts.append(UInt32(self.column.text.count))
            self.column.text.append(contentsOf: utf8)
            self.column.counts.append(count)
            if SealedKeywordColumn.isDense(count: Int(count), rows: self.column.rows) {
                self.denseStart = self.column.denseWords.count
                self.column.heads.append(UInt32(self.column.denseWords.count / self.words) | SealedKeywordColumn.denseFlag)
                self.column.denseWords.append(contentsOf: repeatElement(0, count: self.words))
            } else {
                self.denseStart = nil
                self.column.heads.append(UInt32(self.column.postings.count))
            }
        }

        mutating func add(_ row: UInt32) {
            if let start = self.denseStart {
                self.column.denseWords[start + Int(row >> 6)] |= 1 << UInt64(row & 63)
            } else {
                self.column.postings.append(row)
            }
        }

        consuming func finish() -> SealedKeywordColumn {
            self.column.textStarts.append(UInt32(self.column.text.count))
            precondition(self.column.postings.count < Int(SealedKeywordColumn.denseFlag), "2^31 keyword rows in a segment")
            return self.column
        }
    }

    // MARK: Coding

    func encode(into writer: inout ByteWriter) {
        writer.writeArray(self.textStarts)
        writer.writeArray(self.text)
        writer.writeArray(self.heads)
        writer.writeArray(self.counts)
        writer.writeArray(self.postings)
        writer.writeArray(self.denseWords)
    }

    /// - Parameter rows: Of the segment; every row stored is checked against it.
    init(decoding reader: inout ByteReader, rows: Int) throws(DecodingFault) {
        self.rows = rows
        self.textStarts = try reader.readArray()
        self.text = try reader.readArray()
        self.heads = try reader.readArray()
        self.counts = try reader.readArray()
        self.postings = try reader.readArray()
        self.denseWords = try reader.readArray()
        guard self.isSound else { throw DecodingFault(position: reader.position, what: "keyword column contradicts itself") }
    }

    private init(
        rows: Int, textStarts: [UInt32], text: [UInt8], heads: [UInt32], counts: [UInt32], postings: [UInt32],
        denseWords: [UInt64]
    ) {
        self.rows = rows
        self.textStarts = textStarts
        self.text = text
        self.heads = heads
        self.counts = counts
        self.postings = postings
        self.denseWords = denseWords
    }

    /// No index in it leads outside an array or a segment.
    private var isSound: Bool {
        let terms = self.heads.count
        let words = Bitmap.wordCount(self.rows)
        guard self.textStarts.count == terms + 1, self.counts.count == terms, self.textStarts[terms] == self.text.count,
            self.postings.allSatisfy({ $0 < self.rows }),
            words == 0 ? self.denseWords.isEmpty : self.denseWords.count % words == 0
        else { return false }
        for i in 0..<terms {
            guard self.textStarts[i] <= self.textStarts[i + 1] else { return false }
            let head = Int(self.heads[i] & ~Self.denseFlag)
            if self.heads[i] & Self.denseFlag != 0 {
                guard (head + 1) * words <= self.denseWords.count else { return false }
            } else {
                guard head + Int(self.counts[i]) <= self.postings.count else { return false }
            }
        }
        let tail = self.rows & 63
        if tail != 0 {
            for last in stride(from: words - 1, to: self.denseWords.count, by: words) {
                guard self.denseWords[last] >> UInt64(tail) == 0 else { return false }
            }
        }
        return true
    }
}
