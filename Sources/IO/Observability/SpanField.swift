internal import Primitives
internal import Tracing

/// One attribute of a span.
package struct SpanField: Sendable, Equatable {
    package enum Value: Sendable, Equatable {
        case text(String)
        case flag(Bool)
        case integer(Int64)
        case number(Double)
        case list([Value])
    }

    package let key: String
    package let value: Value

    package init(_ key: String, _ value: Value) {
        self.key = key
        self.value = value
    }
    package init(_ key: String, _ value: String) { self.init(key, .text(value)) }
    package init(_ key: String, _ value: UInt64) { self.init(key, .integer(Int64(clamping: value))) }
    package init(_ key: String, _ value: Int) { self.init(key, .integer(Int64(value))) }
}

extension SpanField.Value: CustomStringConvertible {
    package var description: String {
        switch self {
        case .text(let value): value
        case .flag(let value): "\(value)"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .list(let values): "\(values)"
        }
    }
}

extension SpanField.Value {
    /// Nil for what OpenTelemetry has no form for.
    init?(_ attribute: SpanAttribute) {
        switch attribute {
        case .int32(let value): self = .integer(Int64(value))
        case .int64(let value): self = .integer(value)
        case .double(let value): self = .number(value)
        case .bool(let value): self = .flag(value)
        case .string(let value): self = .text(value)
        case .stringConvertible(let value): self = .text("\(value)")
        case .int32Array(let values): self = .list(values.map { .integer(Int64($0)) })
        case .int64Array(let values): self = .list(values.map { .integer($0) })
        case .doubleArray(let values): self = .list(values.map { .number($0) })
        case .boolArray(let values): self = .list(values.map { .flag($0) })
        case .stringArray(let values): self = .list(values.map { .text($0) })
        case .stringConvertibleArray(let values): self = .list(values.map { .text("\($0)") })
        default: return nil
        }
    }
}

extension SpanAttributes {
    /// As fields, in order of their keys.
    package var fields: [SpanField] {
        var fields: [SpanField] = []
        self.forEach { key, attribute in
            if let value = SpanField.Value(attribute) { fields.append(SpanField(key, value)) }
        }
        return fields.sorted { $0.key < $1.key }
    }
}
