import Primitives

/// One indexed field of one segment.
final class PayloadColumn: @unchecked Sendable {
    // Unchecked, and without exclusivity checks: guarded like ``SegmentPayloadIndex``, which alone has columns.

    let type: PayloadFieldType
    let isSealed: Bool
    // Of these one is in use, by type and by whether the column is sealed.
    @exclusivity(unchecked) private(set) var growingKeyword = GrowingKeywordColumn()
    @exclusivity(unchecked) private(set) var growingNumber = GrowingNumberColumn()
    private(set) var sealedKeyword: SealedKeywordColumn?
    private(set) var sealedNumber: SealedNumberColumn?
    @exclusivity(unchecked) private(set) var isTrue = Bitmap()
    @exclusivity(unchecked) private(set) var isFalse = Bitmap()

    /// Rows where the field is neither missing nor null nor an empty array.
    @exclusivity(unchecked) private(set) var present = Bitmap()
    @exclusivity(unchecked) private(set) var presentCount = 0
    private var lastPresent: UInt32?
    /// Ascending rows with a string, a number or a boolean that the column does not hold.
    private(set) var otherStrings: [UInt32] = []
    private(set) var otherNumbers: [UInt32] = []
    private(set) var otherBools: [UInt32] = []

    init(growing type: PayloadFieldType) {
        self.type = type
        self.isSealed = false
    }

    /// - Parameter row: Not below any row added before.
    @inline(__always)
    func add(_ value: PreparedRows.Value, _ text: UnsafeRawBufferPointer, row: UInt32) {
        if self.lastPresent != row {
            self.lastPresent = row
            self.present.grow(to: Int(row) &+ 1)
            self.present.set(row)
            self.presentCount &+= 1
        }
        switch value.kind {
        case .keyword:
            self.growingKeyword.add(
                JSONScanner.slice(text, value.start, value.start &+ Int(value.count)), hash: value.bits, row: row)
        case .number:
            self.growingNumber.add(Int64(bitPattern: value.bits), row: row)
        case .bool:
            self.isTrue.grow(to: Int(row) &+ 1)
            self.isFalse.grow(to: Int(row) &+ 1)
            if value.bits == 1 { self.isTrue.set(row) } else { self.isFalse.set(row) }
        case .otherString: Self.append(row, to: &self.otherStrings)
        case .otherNumber: Self.append(row, to: &self.otherNumbers)
        case .otherBool: Self.append(row, to: &self.otherBools)
        case .present: break
        }
    }

    private static func append(_ row: UInt32, to rows: inout [UInt32]) {
        if rows.last != row { rows.append(row) }
    }

    /// A sealed copy.
    func sealed(rows: Int) -> PayloadColumn { self.isSealed ? self : PayloadColumn(sealing: self, rows: rows) }

    private init(sealing other: PayloadColumn, rows: Int) {
        self.type = other.type
        self.isSealed = true
        switch other.type {
        case .keyword: self.sealedKeyword = other.growingKeyword.sealed(rows: rows)
        case .integer, .float: self.sealedNumber = other.growingNumber.sealed(rows: rows)
        case .bool:
            self.isTrue = other.isTrue
            self.isFalse = other.isFalse
            self.isTrue.grow(to: rows)
            self.isFalse.grow(to: rows)
        }
        self.present = other.present
        self.present.grow(to: rows)
        self.presentCount = other.presentCount
        self.otherStrings = other.otherStrings
        self.otherNumbers = other.otherNumbers
        self.otherBools = other.otherBools
    }

    // MARK: Questions

    func count(text: UnsafeRawBufferPointer) -> Int {
        self.isSealed ? self.sealedKeyword?.count(text) ?? 0 : self.growingKeyword.count(text)
    }
    func collect(text: UnsafeRawBufferPointer, into rows: inout Bitmap) {
        if self.isSealed { self.sealedKeyword?.collect(text, into: &rows) } else { self.growingKeyword.collect(text, into: &rows) }
    }
    func count(keys: ClosedRange<Int64>) -> Int {
        self.isSealed ? self.sealedNumber?.count(keys) ?? 0 : self.growingNumber.count(keys)
    }
    func collect(keys: ClosedRange<Int64>, into rows: inout Bitmap) {
        if self.isSealed { self.sealedNumber?.collect(keys, into: &rows) } else { self.growingNumber.collect(keys, into: &rows) }
    }
    /// How far a count of number entries may exceed the rows.
    var surplus: Int { self.isSealed ? self.sealedNumber?.surplus ?? 0 : self.growingNumber.surplus }

    var memoryBytes: Int {
        self.growingKeyword.memoryBytes + self.growingNumber.memoryBytes + (self.sealedKeyword?.memoryBytes ?? 0)
            + (self.sealedNumber?.memoryBytes ?? 0) + self.isTrue.memoryBytes + self.isFalse.memoryBytes
            + self.present.memoryBytes
            + (self.otherStrings.capacity + self.otherNumbers.capacity + self.otherBools.capacity) * 4
    }

    // MARK: Coding

    /// - Precondition: Sealed.
    func encode(into writer: inout ByteWriter) {
        precondition(self.isSealed, "a growing column is sealed before it is stored")
        writer.writeArray(self.present.withUnsafeWords(Array.init))
        writer.writeArray(self.otherStrings)
        writer.writeArray(self.otherNumbers)
        writer.writeArray(self.otherBools)
        switch self.type {
        case .keyword: self.sealedKeyword?.encode(into: &writer)
        case .integer, .float: self.sealedNumber?.encode(into: &writer)
        case .bool:
            writer.writeArray(self.isTrue.withUnsafeWords(Array.init))
            writer.writeArray(self.isFalse.withUnsafeWords(Array.init))
        }
    }

    init(decoding reader: inout ByteReader, type: PayloadFieldType, rows: Int) throws(DecodingFault) {
        self.type = type
        self.isSealed = true
        self.present = try Self.bitmap(&reader, rows)
        self.presentCount = self.present.count()
        self.otherStrings = try Self.rowList(&reader, rows)
        self.otherNumbers = try Self.rowList(&reader, rows)
        self.otherBools = try Self.rowList(&reader, rows)
        switch type {
        case .keyword: self.sealedKeyword = try SealedKeywordColumn(decoding: &reader, rows: rows)
        case .integer, .float: self.sealedNumber = try SealedNumberColumn(decoding: &reader, rows: rows)
        case .bool:
            self.isTrue = try Self.bitmap(&reader, rows)
            self.isFalse = try Self.bitmap(&reader, rows)
        }
    }

    static func bitmap(_ reader: inout ByteReader, _ rows: Int) throws(DecodingFault) -> Bitmap {
        let words: [UInt64] = try reader.readArray()
        guard words.count == Bitmap.wordCount(rows) else {
            throw DecodingFault(position: reader.position, what: "bitmap of \(words.count) words for \(rows) rows")
        }
        return Bitmap(size: rows, words: words)
    }

    static func rowList(_ reader: inout ByteReader, _ rows: Int) throws(DecodingFault) -> [UInt32] {
        let list: [UInt32] = try reader.readArray()
        guard list.allSatisfy({ $0 < rows }) else {
            throw DecodingFault(position: reader.position, what: "row beyond the segment's \(rows)")
        }
        return list
    }
}
