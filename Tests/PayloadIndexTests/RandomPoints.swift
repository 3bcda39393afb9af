import Filter
import Primitives

/// Payloads and filters by seed, drawn from few keys and values so that they meet often, with every kind of awkwardness:
/// arrays, nested paths, nulls, mixed types, integers beyond 2^53 beside doubles, long text, escapes, equal keys twice.
struct RandomPoints {
    var rng: SeededRNG
    init(seed: UInt64) { self.rng = SeededRNG(seed: seed) }

    static let fields: [PayloadIndexField] = [
        PayloadIndexField(path: "word", type: .keyword), PayloadIndexField(path: "int", type: .integer),
        PayloadIndexField(path: "real", type: .float), PayloadIndexField(path: "flag", type: .bool),
        PayloadIndexField(path: "deep.er", type: .keyword), PayloadIndexField(path: "deep.n", type: .integer),
        PayloadIndexField(path: "deep", type: .keyword), PayloadIndexField(path: "twice", type: .keyword),
        PayloadIndexField(path: "twice", type: .integer),
    ]
    /// Indexed, nested, and not indexed ("free", "deep.free").
    static let paths = ["word", "int", "real", "flag", "deep.er", "deep.n", "deep", "twice", "free", "deep.free"]
    static let words = ["a", "b", "c", "", "quo\"te", "line\nbreak", "日本", "é", "e\u{301}", "x\u{0}y"]
    static let long = String(repeating: "long ", count: 300)
    static let longer = String(repeating: "\n", count: 1025)
    static let exactly = String(repeating: "\n", count: 1024)

    mutating func chance(_ n: Int) -> Bool { Int.random(in: 0..<n, using: &self.rng) == 0 }
    mutating func pick<T>(_ list: [T]) -> T { list.randomElement(using: &self.rng)! }

    mutating func text() -> String {
        self.chance(40) ? self.pick([Self.long, Self.longer, Self.exactly]) : self.pick(Self.words)
    }

    mutating func number() -> JSONNumber {
        switch Int.random(in: 0..<6, using: &self.rng) {
        case 0, 1: .integer(Int64.random(in: -3...5, using: &self.rng))
        case 2: .double(Double(Int.random(in: -6...10, using: &self.rng)) / 2)
        case 3: .integer((1 << 53) + Int64.random(in: -2...3, using: &self.rng))
        case 4: .double(self.pick([0x1p53, 0x1p53 + 2, -0.0, 0x1p63, 1e300, -1e300, Double.leastNonzeroMagnitude, 0.1]))
        default: .integer(self.pick([.max, .min, .max - 1, 1 << 62]))
        }
    }

    mutating func scalar(_ field: String) -> JSONValue {
        // Mostly of the field's own type.
        let kind = self.chance(6) ? "" : field
        switch kind {
        case "word", "deep.er": return .string(self.text())
        case "int", "real", "deep.n": return JSONValue(self.number())
        case "flag": return .bool(Bool.random(using: &self.rng))
        default:
            switch Int.random(in: 0..<5, using: &self.rng) {
            case 0: return .null
            case 1: return .bool(Bool.random(using: &self.rng))
            case 2: return JSONValue(self.number())
            case 3: return .object([JSONMember("free", .string("a")), JSONMember("er", JSONValue(self.number()))])
            default: return .string(self.text())
            }
        }
    }

    mutating func fieldValue(_ field: String, depth: Int = 2) -> JSONValue {
        if depth > 0, self.chance(4) {
            return .array((0..<Int.random(in: 0...3, using: &self.rng)).map { _ in self.fieldValue(field, depth: depth - 1) })
        }
        return self.scalar(field)
    }

    private mutating func deep() -> JSONValue {
        if self.chance(5) { return .array((0..<Int.random(in: 0...3, using: &self.rng)).map { _ in self.deep() }) }
        if self.chance(8) { return self.scalar("") }
        var members: [JSONMember] = []
        for key in ["er", "n", "free"] where !self.chance(3) {
            members.append(JSONMember(key, self.fieldValue("deep.\(key)")))
            if self.chance(10) { members.append(JSONMember(key, self.fieldValue("deep.\(key)"))) }
        }
        return .object(members)
    }

    /// JSON text, or none.
    mutating func payload() -> [UInt8]? {
        if self.chance(15) { return nil }
        var members: [JSONMember] = []
        for key in ["word", "int", "real", "flag", "twice", "free", "other"] where !self.chance(4) {
            members.append(JSONMember(key, self.fieldValue(key)))
            if self.chance(15) { members.append(JSONMember(key, self.fieldValue(key))) }  // the last one counts
        }
        if !self.chance(4) { members.append(JSONMember("deep", self.deep())) }
        if self.chance(15) { members.append(JSONMember("deep", self.deep())) }
        members.shuffle(using: &self.rng)
        let bytes = JSONValue.object(members).encoded()
        // Now and then a key is spelt with an escape.
        return self.chance(10) ? Array(String(decoding: bytes, as: UTF8.self).replacing("\"word\"", with: "\"w\\u006frd\"").utf8) : bytes
    }

    mutating func filterValue(_ path: String) -> FilterValue {
        switch self.scalar(path) {
        case .string(let text): .string(text)
        case .bool(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .double(let value): .float(value)
        default: .string("a")
        }
    }

    mutating func condition(depth: Int, rows: Int) -> Filter.Condition {
        let path = self.pick(Self.paths)
        switch Int.random(in: 0..<(depth > 0 ? 8 : 6), using: &self.rng) {
        case 0: return .match(path, self.filterValue(path))
        case 1: return .matchAny(path, (0..<Int.random(in: 0...4, using: &self.rng)).map { _ in self.filterValue(path) })
        case 2: return .matchExcept(path, (0..<Int.random(in: 0...4, using: &self.rng)).map { _ in self.filterValue(path) })
        case 3:
            var range = NumericRange()
            while range == NumericRange() {
                if self.chance(3) { range.gt = self.number() }
                if self.chance(3) { range.gte = self.number() }
                if self.chance(3) { range.lt = self.number() }
                if self.chance(3) { range.lte = self.number() }
            }
            return .range(path, range)
        case 4: return .isNull(path)
        case 5: return .hasID((0..<3).map { _ in "p\(Int.random(in: 0..<rows * 2, using: &self.rng))" })
        default: return .filter(self.filter(depth: depth - 1, rows: rows))
        }
    }

    mutating func filter(depth: Int, rows: Int) -> Filter {
        func some(_ self: inout Self) -> [Filter.Condition] {
            (0..<Int.random(in: 0...2, using: &self.rng)).map { _ in self.condition(depth: depth, rows: rows) }
        }
        return Filter(must: some(&self), should: some(&self), mustNot: some(&self))
    }
}
