/// What takes attributes of a span one after another.
package protocol SpanFieldReceiver {
    mutating func append(_ field: SpanField)
}

extension [SpanField]: SpanFieldReceiver {}

/// Attributes of a span, encoded as they are added: fields `attributes` of OTLP's `Span` (opentelemetry/proto/trace/v1), one behind the
/// other, in protobuf's encoding.
///
/// One buffer that never grows for most spans, and nothing to release but that, however many there are; what exports them copies it.
package struct SpanFields: Sendable, SpanFieldReceiver, ExpressibleByArrayLiteral {
    package private(set) var encoded: [UInt8] = []
    /// The field's number: 9 in a span, 3 in an event.
    private var number: UInt8 = 9

    /// - Parameter bytes: Room made beforehand.
    init(reserving bytes: Int) { self.encoded.reserveCapacity(bytes) }
    package init(_ fields: some Sequence<SpanField>, as number: UInt8 = 9) {
        self.number = number
        for field in fields { self.append(field) }
    }
    package init(arrayLiteral fields: SpanField...) { self.init(fields) }

    package mutating func append(_ field: SpanField) {
        let key = field.key.utf8.count
        let value = Self.size(of: field.value)
        let content = Self.delimited(key) + Self.delimited(value)
        let size = Self.delimited(content)
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: size) { room in
            var out = ProtobufWriter(room)
            out.put(self.number << 3 | 2)
            out.put(varint: UInt64(content))
            out.put(1, field.key, key)
            Self.put(2, field.value, value, &out)
            precondition(out.count == size, "attribute \(field) is \(out.count) bytes instead of \(size)")
            self.encoded.append(contentsOf: UnsafeBufferPointer(room))
        }
    }

    // MARK: Sizes

    private static func delimited(_ count: Int) -> Int { ProtobufWriter.size(delimited: count) }

    /// Of an `AnyValue`. A member of a oneof is there even if it is zero.
    private static func size(of value: SpanField.Value) -> Int {
        switch value {
        case .text(let text): Self.delimited(text.utf8.count)
        case .flag: 2
        case .integer(let number): 1 + ProtobufWriter.size(varint: UInt64(bitPattern: number))
        case .number: 9
        case .list(let values): Self.delimited(Self.size(ofList: values))
        }
    }

    private static func size(ofList values: [SpanField.Value]) -> Int {
        values.reduce(0) { $0 + Self.delimited(Self.size(of: $1)) }
    }

    /// An `AnyValue` as a field of what it lies in.
    /// - Parameter size: Of the value.
    private static func put(_ number: UInt8, _ value: SpanField.Value, _ size: Int, _ out: inout ProtobufWriter) {
        out.put(number << 3 | 2)
        out.put(varint: UInt64(size))
        switch value {
        case .text(let text): out.put(1, text, text.utf8.count)
        case .flag(let flag):
            out.put(2 << 3)
            out.put(flag ? 1 : 0)
        case .integer(let number):
            out.put(3 << 3)
            out.put(varint: UInt64(bitPattern: number))
        case .number(let number):
            out.put(4 << 3 | 1)
            out.put(fixed: number.bitPattern)
        case .list(let values):
            out.put(5 << 3 | 2)
            out.put(varint: UInt64(Self.size(ofList: values)))
            for value in values { Self.put(1, value, Self.size(of: value), &out) }
        }
    }
}
