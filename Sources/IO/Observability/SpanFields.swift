/// What takes attributes of a span one after another.
package protocol SpanFieldReceiver {
    mutating func append(_ field: SpanField)
}

extension [SpanField]: SpanFieldReceiver {}

/// Attributes of a span, encoded as they are added: fields `attributes` of OTLP's `Span` (opentelemetry/proto/trace/v1), one behind the
/// other, in protobuf's encoding.
///
/// One buffer that never grows for most spans, and nothing to release but that, however many there are; what exports them copies it.
package struct SpanFields: Sendable, Equatable, SpanFieldReceiver, ExpressibleByArrayLiteral {
    package private(set) var encoded: [UInt8] = []

    package init() {}
    /// - Parameter bytes: Room made beforehand.
    init(reserving bytes: Int) { self.encoded.reserveCapacity(bytes) }
    package init(_ fields: some Sequence<SpanField>) { for field in fields { self.append(field) } }
    package init(arrayLiteral fields: SpanField...) { self.init(fields) }

    package mutating func append(_ field: SpanField) {
        self.encoded.append(9 << 3 | 2)
        let key = field.key.utf8.count
        self.encoded.append(varint: UInt64(Self.delimited(key) + Self.delimited(Self.size(of: field.value))))
        Self.append(1, text: field.key, key, to: &self.encoded)
        Self.append(2, field.value, to: &self.encoded)
    }

    // MARK: Sizes

    private static func size(ofVarint value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }
    /// A field with so many bytes of content: its tag, their number, and they.
    private static func delimited(_ count: Int) -> Int { 1 + Self.size(ofVarint: UInt64(count)) + count }

    /// Of an `AnyValue`. A member of a oneof is there even if it is zero.
    private static func size(of value: SpanField.Value) -> Int {
        switch value {
        case .text(let text): Self.delimited(text.utf8.count)
        case .flag: 2
        case .integer(let number): 1 + Self.size(ofVarint: UInt64(bitPattern: number))
        case .number: 9
        case .list(let values): Self.delimited(Self.size(ofList: values))
        }
    }

    private static func size(ofList values: [SpanField.Value]) -> Int {
        values.reduce(0) { $0 + Self.delimited(Self.size(of: $1)) }
    }

    // MARK: Bytes

    private static func append(_ number: UInt8, text: String, _ count: Int, to out: inout [UInt8]) {
        out.append(number << 3 | 2)
        out.append(varint: UInt64(count))
        out.append(contentsOf: text.utf8)
    }

    /// An `AnyValue` as a field.
    private static func append(_ number: UInt8, _ value: SpanField.Value, to out: inout [UInt8]) {
        out.append(number << 3 | 2)
        out.append(varint: UInt64(Self.size(of: value)))
        switch value {
        case .text(let text): Self.append(1, text: text, text.utf8.count, to: &out)
        case .flag(let flag):
            out.append(2 << 3)
            out.append(flag ? 1 : 0)
        case .integer(let number):
            out.append(3 << 3)
            out.append(varint: UInt64(bitPattern: number))
        case .number(let number):
            out.append(4 << 3 | 1)
            withUnsafeBytes(of: number.bitPattern.littleEndian) { out.append(contentsOf: $0) }
        case .list(let values):
            out.append(5 << 3 | 2)
            out.append(varint: UInt64(Self.size(ofList: values)))
            for value in values { Self.append(1, value, to: &out) }
        }
    }
}

extension [UInt8] {
    /// A number as protobuf has it ("Encoding", section "Base 128 Varints"): 1 to 10 bytes.
    package mutating func append(varint value: UInt64) {
        var rest = value
        while rest > 0x7f {
            self.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        self.append(UInt8(rest))
    }
}
