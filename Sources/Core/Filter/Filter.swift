package import Primitives

/// Which points match: every condition of `must`, none of `mustNot`, and, when `should` is not empty, at least one of it.
/// An empty filter matches all.
///
/// A condition looks at a payload field: a path with dots. Where the path meets an array, the array stands for its
/// elements, however deep; a condition holds if it holds for any of them. Text is compared byte by byte, numbers by their
/// exact value (1 equals 1.0). The shape is that of `vecraft.v1.Filter` in Proto/vecraft/v1/types.proto.
package struct Filter: Sendable, Hashable {
    package var must: [Condition]
    package var should: [Condition]
    package var mustNot: [Condition]

    package init(must: [Condition] = [], should: [Condition] = [], mustNot: [Condition] = []) {
        self.must = must
        self.should = should
        self.mustNot = mustNot
    }

    package var isEmpty: Bool { self.must.isEmpty && self.should.isEmpty && self.mustNot.isEmpty }

    /// One test.
    package indirect enum Condition: Sendable, Hashable {
        /// The field has this value.
        case match(String, FilterValue)
        /// The field has one of these values; never true of an empty list.
        case matchAny(String, [FilterValue])
        /// The field has none of these values; true of a point that lacks the field, and always of an empty list.
        case matchExcept(String, [FilterValue])
        /// The field has a number in the interval.
        case range(String, NumericRange)
        /// The field is missing, null, or an empty array. `[null]` is neither.
        case isNull(String)
        /// The point's id is one of these.
        case hasID([String])
        case filter(Filter)

        /// The payload field it looks at.
        package var key: String? {
            switch self {
            case .match(let key, _), .matchAny(let key, _), .matchExcept(let key, _), .range(let key, _), .isNull(let key): key
            case .hasID, .filter: nil
            }
        }
    }

    /// Payload fields that are looked at, sorted, each once: for the plan's list of fields without an index.
    package var keys: [String] {
        var found = Set<String>()
        func collect(_ filter: Filter) {
            for condition in filter.must + filter.should + filter.mustNot {
                if let key = condition.key { found.insert(key) }
                if case .filter(let inner) = condition { collect(inner) }
            }
        }
        collect(self)
        return found.sorted()
    }
}

/// A scalar to compare with. `integer(1)` and `float(1.0)` match the same points.
package enum FilterValue: Sendable, Hashable {
    case string(String)
    case integer(Int64)
    case float(Double)
    case bool(Bool)

    /// The number, if it is one.
    package var number: JSONNumber? {
        switch self {
        case .integer(let value): .integer(value)
        case .float(let value): .double(value)
        case .string, .bool: nil
        }
    }
}

/// A numeric interval; bounds that are absent are open. At least one is there (``Filter/validate(at:)``).
package struct NumericRange: Sendable, Hashable {
    package var gt: JSONNumber?
    package var gte: JSONNumber?
    package var lt: JSONNumber?
    package var lte: JSONNumber?

    package init(gt: JSONNumber? = nil, gte: JSONNumber? = nil, lt: JSONNumber? = nil, lte: JSONNumber? = nil) {
        self.gt = gt
        self.gte = gte
        self.lt = lt
        self.lte = lte
    }

    package func contains(_ value: JSONNumber) -> Bool {
        if let gt, !(gt < value) { return false }
        if let gte, value < gte { return false }
        if let lt, !(value < lt) { return false }
        if let lte, lte < value { return false }
        return true
    }
}

/// A payload field: the keys to follow, as UTF-8. A key that itself holds a dot cannot be named.
package struct FieldPath: Sendable, Hashable {
    package let components: [[UInt8]]

    /// - Parameter text: "author.name". 1 to 256 bytes, no empty part (``validate(_:at:)``).
    package init(_ text: String) {
        self.components = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).map(Array.init)
    }

    package static func validate(_ text: String, at field: @autoclosure () -> String) throws(VecraftError) {
        let count = text.utf8.count
        guard (1...Limits.fieldPathBytes).contains(count) else {
            throw .invalid(field(), "a field path has 1 to \(Limits.fieldPathBytes) bytes, not \(count)")
        }
        guard FieldPath(text).components.allSatisfy({ !$0.isEmpty }) else {
            throw .invalid(field(), "the path \"\(text)\" has an empty part")
        }
    }
}
