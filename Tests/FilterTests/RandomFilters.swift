import Filter
import Primitives

/// Valid filters by seed.
struct RandomFilters {
    var rng: SeededRNG
    init(seed: UInt64) { self.rng = SeededRNG(seed: seed) }

    private mutating func some<T>(_ limit: Int, _ make: (inout Self) -> T) -> [T] {
        (0..<Int.random(in: 0...limit, using: &self.rng)).map { _ in make(&self) }
    }

    mutating func filter(depth: Int) -> Filter {
        Filter(
            must: self.some(2) { $0.condition(depth: depth) }, should: self.some(2) { $0.condition(depth: depth) },
            mustNot: self.some(2) { $0.condition(depth: depth) })
    }

    mutating func condition(depth: Int) -> Filter.Condition {
        let key = ["a", "b.c", "é", "n"].randomElement(using: &self.rng)!
        switch Int.random(in: 0..<(depth > 1 ? 7 : 6), using: &self.rng) {
        case 0: return .match(key, self.value())
        case 1: return .matchAny(key, self.some(4) { $0.value() })
        case 2: return .matchExcept(key, self.some(4) { $0.value() })
        case 3: return .range(key, NumericRange(gte: self.number(), lt: Bool.random(using: &self.rng) ? self.number() : nil))
        case 4: return .isNull(key)
        case 5: return .hasID(self.some(3) { "p\($0.rng.next() % 10)" })
        default: return .filter(self.filter(depth: depth - 1))
        }
    }

    mutating func value() -> FilterValue {
        switch Int.random(in: 0..<4, using: &self.rng) {
        case 0: .string(["", "x", "日本", "a\"b\\c\n"].randomElement(using: &self.rng)!)
        case 1: .bool(Bool.random(using: &self.rng))
        case 2: .integer(Int64(bitPattern: self.rng.next()))
        default: .float(Double.random(in: -5...5, using: &self.rng))
        }
    }

    mutating func number() -> JSONNumber {
        Bool.random(using: &self.rng)
            ? .integer(Int64(bitPattern: self.rng.next())) : .double(Double.random(in: -5...5, using: &self.rng))
    }
}
