/// Reads JSON in place, piece by piece, checking as it goes (RFC 8259, strict). Allocates nothing of its own.
///
///     try reader.beginObject()
///     while let key = try reader.nextKey() {
///         switch key {
///         case "limit": limit = try reader.readInteger()
///         default: throw reader.fault("unknown field")   // or: _ = try reader.skipValue()
///         }
///     }
///     try reader.finish()
///
/// After `nextKey` or a true `nextElement` exactly one value must be read or skipped. Errors are `.invalidArgument`
/// with reason `INVALID_JSON` and the byte position; after one the reader is of no further use. Slices it hands out
/// live as long as the buffer. A copy of the reader is a place to come back to.
package struct JSONReader {
    package enum Kind: Sendable { case object, array, string, number, bool, null }

    /// The most that `maxDepth` may be: `skipValue` keeps one bit a level in a word.
    package static let deepest = 64

    package let raw: UnsafeRawBufferPointer
    package internal(set) var position: Int
    package let maxDepth: Int
    package internal(set) var depth = 0
    /// No member or element of the innermost container was read yet, so no comma is due.
    var isFirst = false

    package init(_ raw: UnsafeRawBufferPointer, at position: Int = 0, maxDepth: Int = JSONReader.deepest) {
        precondition((1...Self.deepest).contains(maxDepth), "a depth limit of \(maxDepth)")
        self.raw = raw
        self.position = position
        self.maxDepth = maxDepth
    }

    // MARK: Structure

    /// Kind of the value that comes next.
    package mutating func peek() throws(VecraftError) -> Kind {
        self.skipWhitespace()
        guard self.position < self.raw.count else { throw self.fault("unexpected end") }
        switch self.raw[self.position] {
        case UInt8(ascii: "{"): return .object
        case UInt8(ascii: "["): return .array
        case UInt8(ascii: "\""): return .string
        case UInt8(ascii: "-"), 0x30...0x39: return .number
        case UInt8(ascii: "t"), UInt8(ascii: "f"): return .bool
        case UInt8(ascii: "n"): return .null
        default: throw self.fault("expected a value")
        }
    }

    package mutating func beginObject() throws(VecraftError) { try self.open(UInt8(ascii: "{"), "expected an object") }
    package mutating func beginArray() throws(VecraftError) { try self.open(UInt8(ascii: "["), "expected an array") }

    /// The next member's key, standing before its value; nil at the object's end, which is then passed.
    package mutating func nextKey() throws(VecraftError) -> JSONString? {
        guard try self.nextMember(closing: UInt8(ascii: "}")) else { return nil }
        let key = try self.readString()
        try self.readColon()
        return key
    }

    /// True if another element comes; false at the array's end, which is then passed.
    package mutating func nextElement() throws(VecraftError) -> Bool {
        try self.nextMember(closing: UInt8(ascii: "]"))
    }

    /// Checks that nothing but white space is left.
    package mutating func finish() throws(VecraftError) {
        self.skipWhitespace()
        guard self.position == self.raw.count else { throw self.fault("unexpected text after the value") }
    }

    // MARK: Scalars

    package mutating func readString() throws(VecraftError) -> JSONString {
        self.skipWhitespace()
        guard self.position < self.raw.count, self.raw[self.position] == 0x22 else { throw self.fault("expected a string") }
        return try self.scanString()
    }

    package mutating func readNumber() throws(VecraftError) -> JSONNumber {
        self.skipWhitespace()
        return try self.scanNumber()
    }

    /// A number that is integral and within Int64, however it is spelt (5, 5.0, 5e0).
    package mutating func readInteger() throws(VecraftError) -> Int64 {
        self.skipWhitespace()
        let start = self.position
        guard case .integer(let value) = try self.scanNumber().canonical else {
            throw self.fault("expected a 64-bit integer", at: start)
        }
        return value
    }

    package mutating func readDouble() throws(VecraftError) -> Double { try self.readNumber().doubleValue }

    package mutating func readBool() throws(VecraftError) -> Bool {
        self.skipWhitespace()
        if self.position < self.raw.count, self.raw[self.position] == UInt8(ascii: "f") {
            try self.scanWord("false")
            return false
        }
        try self.scanWord("true")
        return true
    }

    package mutating func readNull() throws(VecraftError) {
        self.skipWhitespace()
        try self.scanWord("null")
    }

    /// Reads `null` if it comes next.
    package mutating func readNullIfPresent() throws(VecraftError) -> Bool {
        self.skipWhitespace()
        guard self.position < self.raw.count, self.raw[self.position] == UInt8(ascii: "n") else { return false }
        try self.scanWord("null")
        return true
    }

    // MARK: Whole values

    /// Checks the next value and passes it.
    ///
    /// - Returns: Its text, without white space around it.
    @discardableResult
    package mutating func skipValue() throws(VecraftError) -> UnsafeRawBufferPointer {
        self.skipWhitespace()
        let start = self.position
        try self.scanValue()
        return UnsafeRawBufferPointer(rebasing: self.raw[start..<self.position])
    }

    package mutating func readValue() throws(VecraftError) -> JSONValue {
        switch try self.peek() {
        case .null:
            try self.readNull()
            return .null
        case .bool: return .bool(try self.readBool())
        case .string: return .string(try self.readString().string)
        case .number: return JSONValue(try self.readNumber())
        case .array:
            var elements: [JSONValue] = []
            try self.beginArray()
            while try self.nextElement() { elements.append(try self.readValue()) }
            return .array(elements)
        case .object:
            var members: [JSONMember] = []
            try self.beginObject()
            while let key = try self.nextKey() { members.append(JSONMember(key.string, try self.readValue())) }
            return .object(Self.lastWins(members))
        }
    }

    /// Of members with equal keys keeps the last, at its own place.
    ///
    /// Keys are compared as bytes: Swift's String would call two spellings of é equal, JSON does not.
    private static func lastWins(_ members: [JSONMember]) -> [JSONMember] {
        func isRepeated(_ i: Int) -> Bool {
            members[(i + 1)...].contains { $0.key == members[i].key && $0.key.utf8.elementsEqual(members[i].key.utf8) }
        }
        // Comparing each with each is the fastest while there are few.
        if members.count <= 16, !members.indices.contains(where: isRepeated) { return members }
        var seen = Set<[UInt8]>(minimumCapacity: members.count)
        var kept: [JSONMember] = []
        for member in members.reversed() where seen.insert(Array(member.key.utf8)).inserted { kept.append(member) }
        kept.reverse()
        return kept
    }

    /// An error at the reader's place, or at `position`.
    package func fault(_ what: String, at position: Int? = nil) -> VecraftError {
        VecraftError(
            .invalidArgument, "invalid JSON: \(what) at byte \(position ?? self.position)", reason: "INVALID_JSON")
    }
}
