/// A member of a JSON object.
package struct JSONMember: Sendable, Hashable {
    package var key: String
    package var value: JSONValue
    package init(_ key: String, _ value: JSONValue) {
        self.key = key
        self.value = value
    }
}

/// A whole JSON document as a tree, for small documents: request bodies, filters, settings. Objects keep their order.
///
/// Big or hot input is read in place with ``JSONReader`` instead.
package indirect enum JSONValue: Sendable, Hashable {
    case null
    case bool(Bool)
    case integer(Int64)
    case double(Double)
    case string(String)
    case array([JSONValue])
    case object([JSONMember])

    /// Parses one document with nothing behind it. Of members with the same key the last one counts.
    ///
    /// - Throws: `.invalidArgument`, reason `INVALID_JSON`, naming the byte.
    package init(parsing raw: UnsafeRawBufferPointer, maxDepth: Int = JSONReader.deepest) throws(VecraftError) {
        var reader = JSONReader(raw, maxDepth: maxDepth)
        self = try reader.readValue()
        try reader.finish()
    }

    package init(parsing bytes: [UInt8], maxDepth: Int = JSONReader.deepest) throws(VecraftError) {
        // `withUnsafeBytes` only rethrows untyped errors, so the outcome is carried through it.
        let outcome = bytes.withUnsafeBytes { raw in
            Result { () throws(VecraftError) in try JSONValue(parsing: raw, maxDepth: maxDepth) }
        }
        self = try outcome.get()
    }

    package init(parsing text: String, maxDepth: Int = JSONReader.deepest) throws(VecraftError) {
        try self.init(parsing: Array(text.utf8), maxDepth: maxDepth)
    }

    /// Compact UTF-8.
    package func encoded() -> [UInt8] {
        var writer = JSONWriter()
        writer.value(self)
        return writer.bytes
    }
}

extension JSONValue {
    /// The member's value, if this is an object that has it.
    package subscript(_ key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.last { $0.key.utf8.elementsEqual(key.utf8) }?.value
    }
    package subscript(_ index: Int) -> JSONValue? {
        guard case .array(let elements) = self, elements.indices.contains(index) else { return nil }
        return elements[index]
    }

    package var isNull: Bool { self == .null }
    package var boolValue: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var stringValue: String? { if case .string(let value) = self { value } else { nil } }
    package var arrayValue: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    package var objectValue: [JSONMember]? { if case .object(let value) = self { value } else { nil } }

    /// Also of a double that is integral and in range: proto JSON writes 5.0 where 5 is meant.
    package var integerValue: Int64? {
        switch self {
        case .integer(let value): value
        case .double(let value): Int64(exactly: value)
        default: nil
        }
    }
    package var doubleValue: Double? { self.numberValue?.doubleValue }
    package var numberValue: JSONNumber? {
        switch self {
        case .integer(let value): .integer(value)
        case .double(let value): .double(value)
        default: nil
        }
    }

    /// "object", "string", ... for messages.
    package var kindName: String {
        switch self {
        case .null: "null"
        case .bool: "boolean"
        case .integer, .double: "number"
        case .string: "string"
        case .array: "array"
        case .object: "object"
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral, ExpressibleByNilLiteral
{
    package init(stringLiteral value: String) { self = .string(value) }
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
    package init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
    package init(dictionaryLiteral elements: (String, JSONValue)...) {
        self = .object(elements.map { JSONMember($0.0, $0.1) })
    }
    package init(nilLiteral: ()) { self = .null }
    package init(_ number: JSONNumber) {
        switch number {
        case .integer(let value): self = .integer(value)
        case .double(let value): self = .double(value)
        }
    }
}
