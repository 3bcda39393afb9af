import Filter
import Primitives
import Testing

/// What conditions mean, one case a line: the reference that the payload index is held against.
@Suite struct FilterMatchingTests {
    private static func matches(_ condition: Filter.Condition, _ payload: String?, id: String = "p") -> Bool {
        let filter = Filter(must: [condition])
        guard let payload else { return filter.matches(id: id, payload: nil) }
        return Array(payload.utf8).withUnsafeBytes { filter.matches(id: id, payload: $0) }
    }

    @Test(arguments: [
        (#"{"a":"x"}"#, true), (#"{"a":"X"}"#, false), (#"{"a":["y","x"]}"#, true), (#"{"a":[["x"]]}"#, true), (#"{"a":[]}"#, false),
        (#"{"a":null}"#, false), (#"{}"#, false), (#"{"b":"x"}"#, false), (#"{"a":{"x":"x"}}"#, false), (#"{"a":"\u0078"}"#, true),
        (#"{"\u0061":"x"}"#, true), (#"{"a":"x","a":"y"}"#, false), (#"{"a":"y","a":"x"}"#, true),
    ])
    func matchText(_ payload: String, _ expected: Bool) {
        #expect(Self.matches(.match("a", .string("x")), payload) == expected)
        #expect(Self.matches(.matchAny("a", [.string("q"), .string("x")]), payload) == expected)
        #expect(Self.matches(.matchExcept("a", [.string("q"), .string("x")]), payload) == !expected)
    }

    @Test(arguments: [
        (#"{"a":1}"#, true), (#"{"a":1.0}"#, true), (#"{"a":10e-1}"#, true), (#"{"a":"1"}"#, false), (#"{"a":true}"#, false),
        (#"{"a":[0,1]}"#, true), (#"{"a":1.5}"#, false),
    ])
    func matchNumber(_ payload: String, _ expected: Bool) {
        #expect(Self.matches(.match("a", .integer(1)), payload) == expected)
        #expect(Self.matches(.match("a", .float(1)), payload) == expected)
    }

    @Test func numbersAreExact() {
        #expect(!Self.matches(.match("a", .integer(9_007_199_254_740_993)), #"{"a":9007199254740992}"#))
        #expect(!Self.matches(.match("a", .float(9_007_199_254_740_992)), #"{"a":9007199254740993}"#))
        #expect(Self.matches(.range("a", NumericRange(gt: 9_007_199_254_740_992)), #"{"a":9007199254740993}"#))
        #expect(Self.matches(.match("a", .integer(0)), #"{"a":-0.0}"#))
    }

    @Test func textIsComparedByBytes() {
        #expect(!Self.matches(.match("a", .string("\u{e9}")), "{\"a\":\"e\u{301}\"}"))
        #expect(!Self.matches(.match("\u{e9}", .string("x")), "{\"e\u{301}\":\"x\"}"))
    }

    @Test func exceptHoldsWhereTheFieldIsMissing() {
        for payload in [nil, "{}", #"{"a":null}"#, #"{"a":[]}"#, #"{"a":"y"}"#] {
            #expect(Self.matches(.matchExcept("a", [.string("x")]), payload))
        }
        #expect(!Self.matches(.matchExcept("a", [.string("x")]), #"{"a":["y","x"]}"#))
        #expect(Self.matches(.matchExcept("a", []), #"{"a":1}"#))
        #expect(!Self.matches(.matchAny("a", []), #"{"a":1}"#))
    }

    @Test(arguments: [
        (#"{}"#, true), (#"{"a":null}"#, true), (#"{"a":[]}"#, true), (#"{"a":[null]}"#, false), (#"{"a":[[]]}"#, false),
        (#"{"a":{}}"#, false), (#"{"a":0}"#, false), (#"{"a":""}"#, false), (#"{"a":false}"#, false),
    ])
    func isNull(_ payload: String, _ expected: Bool) { #expect(Self.matches(.isNull("a"), payload) == expected) }

    @Test(arguments: [
        (#"{"n":5}"#, true), (#"{"n":4.999}"#, false), (#"{"n":10}"#, false), (#"{"n":"7"}"#, false), (#"{"n":null}"#, false),
        (#"{}"#, false), (#"{"n":[1,7]}"#, true), (#"{"n":[1,20]}"#, false), (#"{"n":true}"#, false),
    ])
    func range(_ payload: String, _ expected: Bool) {
        #expect(Self.matches(.range("n", NumericRange(gte: 5, lt: 10)), payload) == expected)
        #expect(Self.matches(.range("n", NumericRange(gt: 4.9995, lte: 9.5)), payload) == expected)
    }

    @Test(arguments: [
        (#"{"a":{"b":"x"}}"#, true), (#"{"a":[{"b":"y"},{"b":"x"}]}"#, true), (#"{"a":[{"b":["y","x"]}]}"#, true), (#"{"a.b":"x"}"#, false),
        (#"{"a":"x"}"#, false), (#"{"a":{"b":"x"},"a":{"c":1}}"#, false), (#"{"a":[[{"b":"x"}]]}"#, true), (#"{"b":"x"}"#, false),
    ])
    func nestedPaths(_ payload: String, _ expected: Bool) {
        #expect(Self.matches(.match("a.b", .string("x")), payload) == expected)
    }

    @Test func groups() {
        let x = Filter.Condition.match("a", .string("x"))
        let y = Filter.Condition.match("b", .string("y"))
        func matches(_ filter: Filter, _ payload: String) -> Bool {
            Array(payload.utf8).withUnsafeBytes { filter.matches(id: "p", payload: $0) }
        }
        let both = #"{"a":"x","b":"y"}"#
        let one = #"{"a":"x"}"#
        #expect(matches(Filter(), "{}"))
        #expect(matches(Filter(must: [x, y]), both) && !matches(Filter(must: [x, y]), one))
        #expect(matches(Filter(should: [x, y]), one) && !matches(Filter(should: [x, y]), "{}"))
        #expect(matches(Filter(must: [x], mustNot: [y]), one) && !matches(Filter(must: [x], mustNot: [y]), both))
        #expect(matches(Filter(must: [.filter(Filter(mustNot: [y]))]), one))
        #expect(Self.matches(.hasID(["q", "p"]), nil) && !Self.matches(.hasID([]), nil))
    }

    @Test func whatIsNoObjectCountsAsEmpty() {
        for payload in ["", "[", "[1]", "\"a\"", "{\"a\":"] { #expect(Self.matches(.isNull("a"), payload)) }
    }
}
