import Filter
import Primitives

/// Numbers of a column as Int64 keys in the numbers' order.
///
/// Integer column: the value. Float column: a double's bits, turned so that they sort. A number that the column's type
/// cannot hold exactly has no key; its row is looked up in the payload instead.
enum NumberKey {
    static func integer(_ number: JSONNumber) -> Int64? {
        if case .integer(let value) = number.canonical { value } else { nil }
    }

    static func float(_ number: JSONNumber) -> Int64? {
        switch number.canonical {
        case .integer(let value): Double(exactly: value).map(Self.ordered)
        case .double(let value): Self.ordered(value)
        }
    }

    /// Negative doubles have their magnitude bits flipped; `canonical` leaves no -0.0.
    private static func ordered(_ value: Double) -> Int64 {
        let bits = Int64(bitPattern: value.bitPattern)
        return bits ^ (bits >> 63 & Int64.max)
    }

    /// Keys of the integers within the range; nil if there can be none.
    static func integers(_ range: NumericRange) -> ClosedRange<Int64>? {
        Self.interval(range, lower: Self.integerAtLeast, upper: Self.integerAtMost)
    }

    /// Keys of the doubles within the range; nil if there can be none.
    static func floats(_ range: NumericRange) -> ClosedRange<Int64>? {
        Self.interval(range, lower: Self.floatAtLeast, upper: Self.floatAtMost)
    }

    private static func interval(
        _ range: NumericRange, lower: (JSONNumber, Bool) -> Int64?, upper: (JSONNumber, Bool) -> Int64?
    ) -> ClosedRange<Int64>? {
        var low = Int64.min
        var high = Int64.max
        for (bound, strict) in [(range.gt, true), (range.gte, false)] {
            guard let bound else { continue }
            guard let key = lower(bound, strict) else { return nil }
            low = max(low, key)
        }
        for (bound, strict) in [(range.lt, true), (range.lte, false)] {
            guard let bound else { continue }
            guard let key = upper(bound, strict) else { return nil }
            high = min(high, key)
        }
        return low <= high ? low...high : nil
    }

    private static func integerAtLeast(_ bound: JSONNumber, strict: Bool) -> Int64? {
        switch bound.canonical {
        case .integer(let value): return strict ? Self.after(value) : value
        case .double(let value):  // no integer equals it
            if value >= 0x1p63 { return nil }
            if !(value >= -0x1p63) { return Int64.min }
            return Int64(value.rounded(.up))
        }
    }

    private static func integerAtMost(_ bound: JSONNumber, strict: Bool) -> Int64? {
        switch bound.canonical {
        case .integer(let value): return strict ? Self.before(value) : value
        case .double(let value):
            if value < -0x1p63 { return nil }
            if !(value < 0x1p63) { return Int64.max }
            return Int64(value.rounded(.down))
        }
    }

    private static func floatAtLeast(_ bound: JSONNumber, strict: Bool) -> Int64? {
        let nearest = bound.canonical.doubleValue + 0.0
        let below = JSONNumber.double(nearest) < bound
        let equal = JSONNumber.double(nearest) == bound
        // Keys of neighbouring doubles are neighbours.
        return below || equal && strict ? Self.after(Self.ordered(nearest)) : Self.ordered(nearest)
    }

    private static func floatAtMost(_ bound: JSONNumber, strict: Bool) -> Int64? {
        let nearest = bound.canonical.doubleValue + 0.0
        let above = bound < JSONNumber.double(nearest)
        let equal = JSONNumber.double(nearest) == bound
        return above || equal && strict ? Self.before(Self.ordered(nearest)) : Self.ordered(nearest)
    }

    private static func after(_ key: Int64) -> Int64? { key == .max ? nil : key + 1 }
    private static func before(_ key: Int64) -> Int64? { key == .min ? nil : key - 1 }
}
