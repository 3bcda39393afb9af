internal import Observability

/// Attributes as repeated `KeyValue` (opentelemetry/proto/common/v1), in protobuf's encoding.
enum AttributeEncoding {
    /// Bytes of all of them as fields of a message.
    /// - Parameter number: Of the field, at most 15.
    static func size(_ number: UInt8, _ fields: [SpanField]) -> Int {
        var size = 0
        for i in fields.indices { size += Self.delimited(Self.size(of: fields[i])) }
        return size
    }

    static func append(_ number: UInt8, _ fields: [SpanField], to out: inout [UInt8]) {
        for i in fields.indices {
            out.append(number << 3 | 2)
            Self.append(varint: UInt64(Self.size(of: fields[i])), to: &out)
            Self.append(1, text: fields[i].key, to: &out)
            Self.append(2, fields[i].value, to: &out)
        }
    }

    static func append(varint value: UInt64, to out: inout [UInt8]) {
        var rest = value
        while rest > 0x7f {
            out.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        out.append(UInt8(rest))
    }

    // MARK: Sizes

    private static func varint(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }
    /// A field with so many bytes of content: its tag, their number, and they.
    private static func delimited(_ count: Int) -> Int { 1 + Self.varint(UInt64(count)) + count }

    private static func size(of field: SpanField) -> Int {
        Self.delimited(field.key.utf8.count) + Self.delimited(Self.size(of: field.value))
    }

    /// Of an `AnyValue`. A member of a oneof is there even if it is zero.
    private static func size(of value: SpanField.Value) -> Int {
        switch value {
        case .text(let text): Self.delimited(text.utf8.count)
        case .flag: 2
        case .integer(let number): 1 + Self.varint(UInt64(bitPattern: number))
        case .number: 9
        case .list(let values): Self.delimited(Self.size(ofList: values))
        }
    }

    private static func size(ofList values: [SpanField.Value]) -> Int {
        values.reduce(0) { $0 + Self.delimited(Self.size(of: $1)) }
    }

    // MARK: Bytes

    private static func append(_ number: UInt8, text: String, to out: inout [UInt8]) {
        out.append(number << 3 | 2)
        Self.append(varint: UInt64(text.utf8.count), to: &out)
        out.append(contentsOf: text.utf8)
    }

    /// An `AnyValue` as a field.
    private static func append(_ number: UInt8, _ value: SpanField.Value, to out: inout [UInt8]) {
        out.append(number << 3 | 2)
        Self.append(varint: UInt64(Self.size(of: value)), to: &out)
        switch value {
        case .text(let text): Self.append(1, text: text, to: &out)
        case .flag(let flag):
            out.append(2 << 3)
            out.append(flag ? 1 : 0)
        case .integer(let number):
            out.append(3 << 3)
            Self.append(varint: UInt64(bitPattern: number), to: &out)
        case .number(let number):
            out.append(4 << 3 | 1)
            withUnsafeBytes(of: number.bitPattern.littleEndian) { out.append(contentsOf: $0) }
        case .list(let values):
            out.append(5 << 3 | 2)
            Self.append(varint: UInt64(Self.size(ofList: values)), to: &out)
            for value in values { Self.append(1, value, to: &out) }
        }
    }
}
