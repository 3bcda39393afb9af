import CWire

/// What Proto/ says of one message. For walking messages whose type is known at run time only.
package struct MessageSchema: @unchecked Sendable, Hashable {
    // `@unchecked Sendable`: the address of a constant table.
    let raw: UnsafePointer<wire_message>

    package init(index: Int) { self.raw = wire_message_at(index) }
    init(raw: UnsafePointer<wire_message>) { self.raw = raw }

    /// Every message, map entries included.
    package static var all: [MessageSchema] { (0..<wire_message_count).map { MessageSchema(index: $0) } }

    /// "vecraft.v1.SearchRequest"
    package var name: String { String(cString: self.raw.pointee.name) }
    /// By number.
    package var fields: [FieldSchema] {
        (0..<Int(self.raw.pointee.field_count)).map { FieldSchema(raw: self.raw.pointee.fields + $0) }
    }
    /// How its JSON is written.
    package var shape: Shape { Shape(rawValue: self.raw.pointee.shape)! }

    /// JSON of a message; all but `object` are ours (header comment of vecraft/v1/types.proto).
    package enum Shape: UInt8, Sendable {
        case object = 0
        /// Array of numbers.
        case vector
        /// The object that its one field holds as text.
        case rawObject
        /// String, number or boolean.
        case scalar
        case number
        /// Array of its one field.
        case list
        /// Object, or a filter in its place.
        case condition
    }
}

package struct FieldSchema: @unchecked Sendable, Hashable {
    // `@unchecked Sendable`: the address of a constant table.
    let raw: UnsafePointer<wire_field>

    package enum Kind: UInt8, Sendable {
        case int32 = 1, int64, uint32, uint64, float, double, bool, `enum`, string, bytes, message,
            fixed32, fixed64
    }
    package enum Form: UInt8, Sendable { case singular = 0, repeated, oneof, map }

    package var name: String { String(cString: self.raw.pointee.name) }
    package var number: Int { Int(self.raw.pointee.number) }
    package var kind: Kind { Kind(rawValue: self.raw.pointee.type)! }
    package var form: Form { Form(rawValue: self.raw.pointee.form)! }
    /// Of a message field; of a map its entry.
    package var message: MessageSchema? { self.raw.pointee.message.map(MessageSchema.init(raw:)) }
    package var enumeration: EnumSchema? { self.raw.pointee.enumeration.map(EnumSchema.init(raw:)) }
    /// Members of one oneof have the same; nil outside of one.
    package var oneof: Int? { self.form == .oneof ? Int(self.raw.pointee.quantifier) : nil }
}

package struct EnumSchema: @unchecked Sendable, Hashable {
    // `@unchecked Sendable`: the address of a constant table.
    let raw: UnsafePointer<wire_enum>

    package init(index: Int) { self.raw = wire_enum_at(index) }
    init(raw: UnsafePointer<wire_enum>) { self.raw = raw }

    package var name: String { String(cString: self.raw.pointee.name) }
    /// Name and number of each value, in order of declaration.
    package var values: [(name: String, number: Int32)] {
        (0..<Int(self.raw.pointee.value_count)).map { i in
            let value = self.raw.pointee.values[i]
            return (String(cString: value.name), value.number)
        }
    }

    /// "CONSISTENCY_LEVEL_STRONG"; nil for a number that is none of its values.
    package func name(of number: Int32) -> String? { self.value(of: number).map { String(cString: $0.name) } }
    /// "strong"
    package func shortName(of number: Int32) -> String? {
        self.value(of: number).map { String(cString: $0.name + Int(self.raw.pointee.prefix)).lowercased() }
    }

    func value(of number: Int32) -> wire_enum_value? {
        for i in 0..<Int(self.raw.pointee.value_count) where self.raw.pointee.values[i].number == number {
            return self.raw.pointee.values[i]
        }
        return nil
    }

    /// By full name or short form, in any case of letters.
    func number(of text: UnsafeRawBufferPointer) -> Int32? {
        let prefix = Int(self.raw.pointee.prefix)
        for i in 0..<Int(self.raw.pointee.value_count) {
            let value = self.raw.pointee.values[i]
            let name = UnsafeRawBufferPointer(start: value.name, count: Int(value.name_length))
            if Self.equal(text, name) || Self.equal(text, UnsafeRawBufferPointer(rebasing: name[prefix...])) {
                return value.number
            }
        }
        return nil
    }

    private static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        guard a.count == b.count else { return false }
        for i in 0..<a.count {
            let x = a[i], y = b[i]
            if x != y, (x | 0x20) != (y | 0x20) || (x | 0x20) &- 0x61 > 25 { return false }
        }
        return true
    }
}

/// An enum of the contract. Numbers that this release does not know are kept.
package protocol WireEnum: RawRepresentable, Hashable, Sendable, CustomStringConvertible where RawValue == Int32 {
    init(rawValue: Int32)
    static var schema: EnumSchema { get }
}

extension WireEnum {
    /// The short form ("strong"), or the number when it is not known.
    package var description: String { Self.schema.shortName(of: self.rawValue) ?? "\(self.rawValue)" }
    package var isKnown: Bool { Self.schema.value(of: self.rawValue) != nil }
}
