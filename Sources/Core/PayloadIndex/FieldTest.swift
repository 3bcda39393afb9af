import Filter
import Primitives

/// The values of a match, by kind, each in a form that finds a payload's value at once.
final class ScalarSet: Sendable {
    let texts: TextSet
    /// Sorted canonical integers, and the doubles that are none.
    let integers: [Int64]
    let doubles: [Double]
    let hasTrue: Bool
    let hasFalse: Bool

    init(_ values: [FilterValue]) {
        var texts: [String] = []
        var integers = Set<Int64>()
        var doubles = Set<Double>()
        for value in values {
            if case .string(let text) = value { texts.append(text) }
            switch value.number?.canonical {
            case .integer(let number): integers.insert(number)
            case .double(let number): doubles.insert(number)
            case nil: break
            }
        }
        self.texts = TextSet(texts)
        self.integers = integers.sorted()
        self.doubles = doubles.sorted()
        self.hasTrue = values.contains(.bool(true))
        self.hasFalse = values.contains(.bool(false))
    }

    var hasNumbers: Bool { !self.integers.isEmpty || !self.doubles.isEmpty }
    var hasBools: Bool { self.hasTrue || self.hasFalse }

    func contains(_ scalar: PayloadScalar) -> Bool {
        switch scalar {
        case .string(let string): return !self.texts.isEmpty && string.withUTF8(self.texts.contains)
        case .bool(let value): return value ? self.hasTrue : self.hasFalse
        case .number(let number):
            switch number.canonical {
            case .integer(let value): return Self.contains(self.integers, value)
            case .double(let value): return Self.contains(self.doubles, value)
            }
        }
    }

    private static func contains<T: Comparable>(_ sorted: [T], _ value: T) -> Bool {
        let place = NumberSearch.first(sorted.count) { sorted[$0] >= value }
        return place < sorted.count && sorted[place] == value
    }
}

/// One condition on one payload field. A class, so that asking row after row copies nothing.
final class FieldTest: Sendable {
    enum Predicate: Sendable {
        case any(ScalarSet)
        case range(NumericRange)
        case isNull
    }
    /// Which rows beyond what the column holds must be looked at in their payloads.
    struct Others: OptionSet, Sendable {
        let rawValue: UInt8
        static let strings = Others(rawValue: 1)
        static let numbers = Others(rawValue: 2)
        static let bools = Others(rawValue: 4)
    }

    let path: FlatKeys
    let predicate: Predicate
    /// Position in the field list, if the field is indexed.
    let column: Int?
    let others: Others
    /// Number keys to look for, for a column of numbers.
    let keys: [ClosedRange<Int64>]

    init(_ key: String, _ predicate: Predicate, _ fields: [PayloadIndexField]) {
        self.path = FlatKeys(FieldPath(key).components)
        self.predicate = predicate
        let candidates = fields.indices.filter { fields[$0].path.utf8.elementsEqual(key.utf8) }
        // A field indexed as several types: the one that leaves least to the payloads.
        let best = candidates.min { a, b in
            Self.plan(predicate, fields[a].type).others.count < Self.plan(predicate, fields[b].type).others.count
        }
        self.column = best
        (self.others, self.keys) = best.map { Self.plan(predicate, fields[$0].type) } ?? ([], [])
    }

    private static func plan(_ predicate: Predicate, _ type: PayloadFieldType) -> (others: Others, keys: [ClosedRange<Int64>]) {
        switch (predicate, type) {
        case (.isNull, _): return ([], [])
        case (.range(let range), .integer): return (.numbers, NumberKey.integers(range).map { [$0] } ?? [])
        case (.range(let range), .float): return (.numbers, NumberKey.floats(range).map { [$0] } ?? [])
        case (.range, _): return (.numbers, [])
        case (.any(let set), _):
            var others: Others = []
            var keys: [ClosedRange<Int64>] = []
            if type == .keyword {
                set.texts.forEach { if $0.count > KeywordLimits.bytes { others.insert(.strings) } }
            } else if !set.texts.isEmpty {
                others.insert(.strings)
            }
            if type != .bool, set.hasBools { others.insert(.bools) }
            for number in set.integers.map(JSONNumber.integer) + set.doubles.map(JSONNumber.double) {
                let key: Int64? =
                    switch type {
                    case .integer: NumberKey.integer(number)
                    case .float: NumberKey.float(number)
                    case .keyword, .bool: nil
                    }
                // A number without a key can only equal values without one.
                if let key { keys.append(key...key) } else { others.insert(.numbers) }
            }
            return (others, keys)
        }
    }

    func matches(_ payload: UnsafeRawBufferPointer?) -> Bool {
        var found = false
        switch self.predicate {
        case .isNull:
            PayloadScalars.forEachNode(payload, at: self.path) { node in
                found = PayloadScalars.forEach(&node) { _ in false }
                return !found
            }
            return !found
        case .any(let set):
            PayloadScalars.forEachNode(payload, at: self.path) { node in
                PayloadScalars.forEach(&node) { scalar in
                    found = set.contains(scalar)
                    return !found
                }
                return !found
            }
        case .range(let range):
            PayloadScalars.forEachNode(payload, at: self.path) { node in
                PayloadScalars.forEach(&node) { scalar in
                    if case .number(let number) = scalar { found = range.contains(number) }
                    return !found
                }
                return !found
            }
        }
        return found
    }
}

extension FieldTest.Others {
    fileprivate var count: Int { self.rawValue.nonzeroBitCount }
}
