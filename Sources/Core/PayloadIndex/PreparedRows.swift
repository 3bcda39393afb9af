import Primitives

/// What the payload index needs of some payloads, taken out of them beforehand so that committing is short.
///
/// Owns its bytes; the payloads may go. Reuse one by `removeAll`: it then allocates nothing.
package struct PreparedRows: Sendable {
    enum Kind: UInt8, Sendable {
        /// `bits` is the hash, the text lies in `text`.
        case keyword
        /// `bits` is the number's key (``NumberKey``).
        case number
        /// `bits` is 0 or 1.
        case bool
        /// A value that this column does not hold.
        case otherString, otherNumber, otherBool
        /// The field is there but holds no scalar.
        case present
    }
    struct Value: Sendable {
        var bits: UInt64
        var start: Int
        var count: UInt32
        var column: UInt16
        var kind: Kind
    }

    var values: [Value] = []
    var text: [UInt8] = []
    /// Of row i: the end of its values.
    var ends: [Int] = []

    package init() {}

    /// Rows prepared so far.
    package var count: Int { self.ends.count }

    package mutating func removeAll() {
        self.values.removeAll(keepingCapacity: true)
        self.text.removeAll(keepingCapacity: true)
        self.ends.removeAll(keepingCapacity: true)
    }

    mutating func append(_ scalar: PayloadScalar, column: UInt16, type: PayloadFieldType) {
        switch (type, scalar) {
        case (.keyword, .string(let string)) where string.raw.count <= KeywordLimits.bytes * 6:
            // An escape has at most six bytes for one, so anything longer is too long in any spelling.
            self.append(keyword: string, column: column)
        case (.integer, .number(let number)):
            self.append(NumberKey.integer(number), .number, else: .otherNumber, column)
        case (.float, .number(let number)):
            self.append(NumberKey.float(number), .number, else: .otherNumber, column)
        case (.bool, .bool(let value)):
            self.append(value ? 1 : 0, .bool, else: .otherBool, column)
        case (_, .string): self.append(nil, .otherString, else: .otherString, column)
        case (_, .number): self.append(nil, .otherNumber, else: .otherNumber, column)
        case (_, .bool): self.append(nil, .otherBool, else: .otherBool, column)
        }
    }

    mutating func append(present column: UInt16) { self.append(nil, .present, else: .present, column) }

    private mutating func append(_ key: Int64?, _ kind: Kind, else other: Kind, _ column: UInt16) {
        self.values.append(
            Value(bits: UInt64(bitPattern: key ?? 0), start: 0, count: 0, column: column, kind: key == nil ? other : kind))
    }

    private mutating func append(keyword string: JSONString, column: UInt16) {
        let start = self.text.count
        if string.isEscaped {
            string.withUTF8 { self.text.append(contentsOf: $0) }
        } else {
            self.text.append(contentsOf: string.raw)
        }
        let count = self.text.count - start
        guard count <= KeywordLimits.bytes else {
            self.text.removeLast(count)
            return self.append(nil, .otherString, else: .otherString, column)
        }
        let hash = self.text.withUnsafeBytes { KeywordLimits.hash(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        self.values.append(
            Value(bits: hash, start: start, count: UInt32(count), column: column, kind: .keyword))
    }
}

enum KeywordLimits {
    /// Longer text is not indexed: it matches by reading the payload.
    static let bytes = 1 << 10

    /// Keyed afresh in every process (SipHash), since clients choose the text. Never stored.
    static func hash(_ utf8: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(bytes: utf8)
        return UInt64(truncatingIfNeeded: hasher.finalize())
    }
}
