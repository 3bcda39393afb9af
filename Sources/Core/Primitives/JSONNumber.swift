// For floor and ceiling, which some processors have as a function of the C library only.
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// A number of JSON, compared by its exact value: `integer(1) == double(1.0)`, and 2^53 + 1 is not 2^53.
///
/// `double` is always finite when it comes from ``JSONReader``.
package enum JSONNumber: Sendable {
    case integer(Int64)
    case double(Double)

    /// The same value in one spelling: `integer` whenever an `Int64` can hold it exactly (so also for -0.0).
    package var canonical: JSONNumber {
        switch self {
        case .integer: return self
        case .double(let value):
            guard let exact = Int64(exactly: value) else { return self }
            return .integer(exact)
        }
    }

    /// Nearest double.
    package var doubleValue: Double {
        switch self {
        case .integer(let value): Double(value)
        case .double(let value): value
        }
    }

    package var isFinite: Bool {
        switch self {
        case .integer: true
        case .double(let value): value.isFinite
        }
    }
}

extension JSONNumber: Hashable {
    package static func == (a: JSONNumber, b: JSONNumber) -> Bool {
        switch (a.canonical, b.canonical) {
        case (.integer(let x), .integer(let y)): x == y
        case (.double(let x), .double(let y)): x == y
        default: false
        }
    }

    package func hash(into hasher: inout Hasher) {
        switch self.canonical {
        case .integer(let value): hasher.combine(value)
        case .double(let value): hasher.combine(value)
        }
    }
}

extension JSONNumber: Comparable {
    /// Order of the exact values; false whenever a side is NaN.
    package static func < (a: JSONNumber, b: JSONNumber) -> Bool {
        switch (a, b) {
        case (.integer(let x), .integer(let y)): x < y
        case (.double(let x), .double(let y)): x < y
        case (.integer(let x), .double(let y)): Self.isLess(x, y)
        case (.double(let x), .integer(let y)): Self.isLess(x, y)
        }
    }

    // 2^63 and above, and below -2^63, lie outside Int64; between them a double's floor and ceiling are exact.
    private static func isLess(_ x: Int64, _ y: Double) -> Bool {
        if y >= 0x1p63 { return true }
        if !(y >= -0x1p63) { return false }
        return x < Int64(y.rounded(.up))
    }
    private static func isLess(_ x: Double, _ y: Int64) -> Bool {
        if x >= 0x1p63 { return false }
        if !(x >= -0x1p63) { return x < 0 }
        return Int64(x.rounded(.down)) < y
    }
}

extension JSONNumber: ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral, CustomStringConvertible {
    package init(integerLiteral value: Int64) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .double(value) }
    package var description: String {
        switch self {
        case .integer(let value): "\(value)"
        case .double(let value): "\(value)"
        }
    }
}
