import Filter
import Primitives
import Testing

@Suite struct FilterJSONTests {
    private static func filter(_ text: String) throws -> Filter { try Filter(json: try JSONValue(parsing: text)) }

    @Test func readsEveryCondition() throws {
        let filter = try Self.filter(
            """
            {"must": [{"key": "a", "match": {"value": "x"}}, {"key": "b.c", "match": {"any": [1, 2.5, true, "y"]}}],
             "should": [{"key": "n", "range": {"gt": 1, "gte": 2.5, "lt": 9007199254740993, "lte": null}}, {"has_id": ["p", "q"]}],
             "must_not": [{"is_null": {"key": "z"}}, {"key": "d", "match": {"except": [null_free]}}, {"filter": {}},
                          {"must": [{"key": "e", "match": {"value": false}}]}]}
            """.replacing("null_free", with: "3"))
        #expect(
            filter
                == Filter(
                    must: [.match("a", .string("x")), .matchAny("b.c", [.integer(1), .float(2.5), .bool(true), .string("y")])],
                    should: [.range("n", NumericRange(gt: 1, gte: 2.5, lt: 9_007_199_254_740_993)), .hasID(["p", "q"])],
                    mustNot: [
                        .isNull("z"), .matchExcept("d", [.integer(3)]), .filter(Filter()),
                        .filter(Filter(must: [.match("e", .bool(false))])),
                    ]))
        #expect(filter.keys == ["a", "b.c", "d", "e", "n", "z"])
        #expect(try Self.filter("{}").isEmpty)
        #expect(try Self.filter(#"{"mustNot":[{"isNull":{"key":"a"}},{"hasId":["x"]}],"must":null}"#).mustNot.count == 2)
    }

    @Test(arguments: [
        (#"[]"#, "filter: expected an object, not array"),
        (#"{"must":{}}"#, "filter.must: expected a list, not object"),
        (#"{"all":[]}"#, "filter: unknown member \"all\""),
        (#"{"must":[{}]}"#, "filter.must[0]: needs one of"),
        (#"{"must":[{"key":"a"}]}"#, "filter.must[0]: needs one of"),
        (#"{"must":[{"key":"a","like":"x"}]}"#, "filter.must[0]: unknown operator \"like\""),
        (#"{"must":[{"key":"a","match":{"text":"x"}}]}"#, "filter.must[0].match: unknown operator \"text\""),
        (#"{"must":[{"key":"a","match":{}}]}"#, "filter.must[0].match: needs exactly one"),
        (#"{"must":[{"key":"a","match":{"value":1,"any":[]}}]}"#, "filter.must[0].match: needs exactly one"),
        (#"{"must":[{"key":"a","match":{"value":null}}]}"#, "filter.must[0].match: needs exactly one"),
        (#"{"must":[{"key":"a","match":{"value":[1]}}]}"#, "filter.must[0].match.value: expected a string, number or boolean, not array"),
        (#"{"must":[{"key":"a","match":{"any":"x"}}]}"#, "filter.must[0].match.any: expected a list, not string"),
        (#"{"must":[{"key":"a","match":{"any":[1,null]}}]}"#, "filter.must[0].match.any[1]: expected"),
        (#"{"must":[{"match":{"value":1}}]}"#, "filter.must[0]: match needs a key"),
        (#"{"must":[{"key":7,"match":{"value":1}}]}"#, "filter.must[0].key: expected a string, not number"),
        (#"{"must":[{"key":"","match":{"value":1}}]}"#, "filter.must[0].key: a field path has 1 to 256 bytes"),
        (#"{"must":[{"key":"a..b","match":{"value":1}}]}"#, "filter.must[0].key: the path \"a..b\" has an empty part"),
        (#"{"should":[{"key":"a","range":{}}]}"#, "filter.should[0].range: a range needs at least one"),
        (#"{"should":[{"key":"a","range":{"gte":"2020-01-01"}}]}"#, "filter.should[0].range.gte: expected a number, not string"),
        (#"{"should":[{"key":"a","range":{"gte":[1]}}]}"#, "filter.should[0].range.gte: expected a number, not array"),
        (#"{"should":[{"key":"a","range":{"above":1}}]}"#, "filter.should[0].range: unknown operator \"above\""),
        (#"{"must_not":[{"is_null":"a"}]}"#, "filter.must_not[0].is_null: expected an object"),
        (#"{"must_not":[{"is_null":{}}]}"#, "filter.must_not[0].is_null: needs a key"),
        (#"{"must_not":[{"key":"a","is_null":{"key":"a"}}]}"#, "filter.must_not[0]: key goes with match or range"),
        (#"{"must":[{"has_id":"a"}]}"#, "filter.must[0].has_id: expected a list"),
        (#"{"must":[{"has_id":[1]}]}"#, "filter.must[0].has_id[0]: expected a string"),
        (#"{"must":[{"has_id":[""]}]}"#, "filter.must[0].has_id[0]: an id has 1 to 256 bytes"),
        (#"{"must":[{"has_id":[],"is_null":{"key":"a"}}]}"#, "filter.must[0]: has both has_id and is_null"),
        (#"{"must":[{"must":[{"filter":{"should":[{"x":1}]}}]}]}"#, "filter.must[0].must[0].filter.should[0]: unknown operator \"x\""),
        (#"{"must":[{"must":[],"key":"a"}]}"#, "filter.must[0]: unknown member \"key\""),
    ])
    func refusesByPath(_ text: String, _ message: String) throws {
        let error = #expect(throws: VecraftError.self) { try Self.filter(text) }
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.hasPrefix(message) == true, "\(error?.message ?? "accepted")")
        #expect(error?.field.map { message.hasPrefix($0) } == true)
    }

    @Test func limits() throws {
        func nested(_ depth: Int) -> Filter {
            depth == 1 ? Filter(must: [.isNull("a")]) : Filter(must: [.filter(nested(depth - 1))])
        }
        try nested(8).validate()
        #expect(throws: VecraftError.self) { try nested(9).validate() }
        try Filter(must: Array(repeating: .isNull("a"), count: 256)).validate()
        #expect(throws: VecraftError.self) { try Filter(must: Array(repeating: .isNull("a"), count: 257)).validate() }
        let half = Filter.Condition.filter(Filter(should: Array(repeating: .isNull("a"), count: 128)))
        #expect(throws: VecraftError.self) { try Filter(must: [half, half]).validate() }
        let many = (0...16_384).map { FilterValue.integer(Int64($0)) }
        try Filter(must: [.matchAny("a", Array(many.dropLast()))]).validate()
        #expect(throws: VecraftError.self) { try Filter(must: [.matchAny("a", many)]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.matchExcept("a", many)]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.hasID(many.map { "\($0)" })]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.match("a", .float(.nan))]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.range("a", NumericRange(gt: .double(.infinity)))]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.range("a", NumericRange())]).validate() }
        try Filter(must: [.isNull(String(repeating: "k", count: 256))]).validate()
        #expect(throws: VecraftError.self) { try Filter(must: [.isNull(String(repeating: "k", count: 257))]).validate() }
        #expect(throws: VecraftError.self) { try Filter(must: [.hasID([String(repeating: "i", count: 257)])]).validate() }
    }
}
