import Primitives
import Testing

@testable import Wire

@Suite struct JSONTests {
    static func fault<M: WireMessage>(_ type: M.Type, _ json: String) -> VecraftError? {
        do throws(VecraftError) {
            _ = try M(json: json)
            return nil
        } catch {
            return error
        }
    }

    @Test func aSearchReadsNaturally() throws {
        let json = """
            {"collection": "docs", "vector": [1, -2.5e0, 0.1], "limit": "5", "withVectors": true, "without_payload": true,
             "filter": {"must": [{"key": "lang", "match": {"value": "de"}}, {"key": "n", "match": {"any": [1, 1.0, true, "x"]}},
                                 {"key": "n", "range": {"gte": 1, "lt": 2.5}}],
                        "should": [{"must_not": [{"has_id": ["a", "b"]}]}, {"filter": {"must": [{"is_null": {"key": "k"}}]}}]},
             "read": {"consistency": "strong", "sessionToken": "-_8"}, "exact": null}
            """
        let request = try VecraftV1.SearchRequest(json: json)
        #expect(request.vector?.values == [1, -2.5, 0.1])
        #expect(request.limit == 5 && request.withVectors && request.withoutPayload && !request.exact)
        #expect(request.read?.consistency == .strong)
        #expect(request.read?.sessionToken == [0xfb, 0xff])
        let must = try #require(request.filter?.must)
        #expect(
            must[0]
                == VecraftV1.Condition(key: "lang", test: .match(.init(kind: .value(.init(kind: .stringValue("de")))))))
        let any: [VecraftV1.Value.Kind] = [.integerValue(1), .floatValue(1), .boolValue(true), .stringValue("x")]
        #expect(must[1].test == .match(.init(kind: .any(.init(values: any.map { .init(kind: $0) })))))
        #expect(must[2].test == .range(.init(gte: .init(value: 1), lt: .init(value: 2.5))))
        let nested = VecraftV1.Filter(mustNot: [.init(test: .hasID(.init(values: ["a", "b"])))])
        #expect(request.filter?.should[0] == VecraftV1.Condition(test: .filter(nested)))
        #expect(request.filter?.should[1].test == .filter(.init(must: [.init(test: .isNull(.init(key: "k")))])))
        #expect(try VecraftV1.SearchRequest(json: request.json()) == request)
    }

    @Test func aPointAndItsPayload() throws {
        let payload = #"{"a": [1, {"b": "\u0000"}], "c":1e40}"#
        let point = try VecraftV1.Point(json: #"{"id":"p","vectors":{"t":[1],"":[2]},"payload": \#(payload) }"#)
        #expect(point.payload?.json == Array(payload.utf8))
        #expect(point.vectors == ["t": .init(values: [1]), "": .init(values: [2])])
        let packed = VecraftV1.Point(id: "p", vector: .init(packed: [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0]))
        #expect(String(decoding: packed.json(), as: UTF8.self) == #"{"id":"p","vector":[1.0,-2.0]}"#)
        #expect(try VecraftV1.Vector(json: #"{"packed":"AACAPw=="}"#).packed == [0, 0, 0x80, 0x3f])
    }

    @Test func whatIsWritten() {
        let write = VecraftV1.WriteInfo(hlc: .max, sessionToken: [0xfb, 0xff])
        #expect(
            String(decoding: write.json(), as: UTF8.self) == #"{"hlc":"18446744073709551615","session_token":"+/8="}"#)
        let response = VecraftV1.CountResponse(info: .init(achieved: .bounded))
        #expect(
            String(decoding: response.json(), as: UTF8.self) == #"{"info":{"achieved":"CONSISTENCY_LEVEL_BOUNDED"}}"#)
        #expect(
            String(decoding: VecraftV1.CountResponse().json(includingDefaults: true), as: UTF8.self)
                == #"{"count":"0"}"#)
        let notNumbers = VecraftV1.Vector(values: [.nan, .infinity, -.infinity])
        #expect(String(decoding: notNumbers.json(), as: UTF8.self) == #"["NaN","Infinity","-Infinity"]"#)
        let filter = VecraftV1.Condition(test: .filter(.init()))
        #expect(String(decoding: filter.json(), as: UTF8.self) == #"{"filter":{}}"#)
    }

    @Test(arguments: [
        (#"{"nope":1}"#, "nope", "unknown field"),
        (
            #"{"filter":{"must":[{"key":"a","match":{"value":1,"like":2}}]}}"#, "filter.must[0].match.like",
            "unknown field"
        ),
        (#"{"filter":{"must":[{"like":1}]}}"#, "filter.must[0].like", "unknown field"),
        (
            #"{"filter":{"must":[{},{"match":{"any":[1,null]}}]}}"#, "filter.must[1].match.any[1]",
            "expected a string, a number or a boolean"
        ),
        (#"{"limit":-1}"#, "limit", "expected an integer in 0...4294967295"),
        (#"{"limit":4294967296}"#, "limit", "expected an integer"),
        (#"{"limit":1.5}"#, "limit", "expected an integer"),
        (#"{"limit":true}"#, "limit", "expected a number"),
        (#"{"collection":5}"#, "collection", "expected a string"),
        (#"{"collection":"a\u0000b"}"#, "collection", "holds a NUL character"),
        (#"{"collection":"a","collection":"b"}"#, "collection", "stands twice"),
        (#"{"with_vectors":true,"withVectors":true}"#, "with_vectors", "stands twice"),
        (#"{"vector":[1,"x"]}"#, "vector", "expected a number"),
        (#"{"vector":[1e39]}"#, "vector", "out of a float's range"),
        (#"{"vector":5}"#, "vector", "expected an array of numbers"),
        (#"{"read":{"consistency":"strongest"}}"#, "read.consistency", "is none of unspecified, eventual, bounded"),
        (#"{"read":{"session_token":"a"}}"#, "read.session_token", "is not base64"),
        (#"{"read":{"session_token":"ab!d"}}"#, "read.session_token", "is not base64"),
        (#"{"filter":{"must":[{"match":{"value":1},"range":{"gt":1}}]}}"#, "filter.must[0].range", "another member"),
        (#"{"filter":{"must":[{"filter":{},"must":[]}]}}"#, "filter.must[0]", "another member"),
        (#"{"collection":"a"} x"#, nil, "unexpected text"),
        (#"[]"#, nil, "expected an object"),
        ("", nil, "expected an object"),
    ])
    func mistakesAreNamed(json: String, field: String?, message: String) {
        let error = Self.fault(VecraftV1.SearchRequest.self, json)
        #expect(error?.code == .invalidArgument)
        #expect(error?.field == field)
        #expect(error?.message.contains(message) == true, "\(error?.message ?? "no error")")
    }

    @Test func numbersOf64Bits() throws {
        #expect(try VecraftV1.WriteInfo(json: #"{"hlc":18446744073709551615}"#).hlc == .max)
        #expect(try VecraftV1.WriteInfo(json: #"{"hlc":"18446744073709551615"}"#).hlc == .max)
        #expect(try VecraftV1.WriteInfo(json: #"{"hlc":9007199254740993}"#).hlc == 9_007_199_254_740_993)
        #expect(try VecraftV1.WriteInfo(json: #"{"hlc":5e3}"#).hlc == 5000)
        #expect(try VecraftV1.Value(json: "-9223372036854775808").kind == .integerValue(.min))
        #expect(try VecraftV1.Value(json: "9223372036854775808").kind == .floatValue(0x1p63))
        #expect(Self.fault(VecraftV1.WriteInfo.self, #"{"hlc":18446744073709551616}"#) != nil)
        #expect(Self.fault(VecraftV1.WriteInfo.self, #"{"hlc":"1 "}"#) != nil)
    }

    @Test func enumValuesByAnyName() throws {
        for text in [
            "CONSISTENCY_LEVEL_READ_YOUR_WRITES", "read_your_writes", "Read_Your_Writes",
            "consistency_level_read_your_writes",
        ] {
            #expect(try VecraftV1.ReadOptions(json: #"{"consistency":"\#(text)"}"#).consistency == .readYourWrites)
        }
        #expect(try VecraftV1.ReadOptions(json: #"{"consistency":3}"#).consistency == .readYourWrites)
        #expect(try GRPCHealthV1.HealthCheckResponse(json: #"{"status":"serving"}"#).status == .serving)
        // "[" and "{" differ from letters by the bit that folds case.
        #expect(Self.fault(VecraftV1.ReadOptions.self, #"{"consistency":"read\u007fyour_writes"}"#) != nil)
    }

    @Test func depth() {
        func nested(_ levels: Int) -> String {
            String(repeating: #"{"must":["#, count: levels) + "{}" + String(repeating: "]}", count: levels)
        }
        #expect(Self.fault(VecraftV1.Filter.self, nested(31)) == nil)
        #expect(Self.fault(VecraftV1.Filter.self, nested(32))?.message.contains("nested deeper") == true)
        #expect(Self.fault(VecraftV1.Filter.self, nested(100_000))?.code == .invalidArgument)
        func payload(_ levels: Int) -> String {
            #"{"payload":"# + String(repeating: #"{"a":"#, count: levels) + "1" + String(repeating: "}", count: levels)
                + "}"
        }
        #expect(Self.fault(VecraftV1.Point.self, payload(Limits.payloadDepth)) == nil)
        #expect(Self.fault(VecraftV1.Point.self, payload(Limits.payloadDepth + 1))?.field == "payload")
        #expect(Self.fault(VecraftV1.Point.self, #"{"payload":[]}"#)?.field == "payload")
    }

    @Test func base64BothWays() {
        var rng = SeededRNG(seed: 7)
        for count in 0..<70 {
            let bytes = (0..<count).map { _ in UInt8.random(in: 0...255, using: &rng) }
            let text = bytes.withUnsafeBytes(Base64.encode)
            var forms = [text, text.filter { $0 != UInt8(ascii: "=") }]
            forms.append(
                forms[1].map {
                    $0 == UInt8(ascii: "+") ? UInt8(ascii: "-") : $0 == UInt8(ascii: "/") ? UInt8(ascii: "_") : $0
                })
            for form in forms {
                var output = [UInt8](repeating: 0, count: form.count * 3 / 4 + 3)
                let written = output.withUnsafeMutableBytes { out in
                    form.withUnsafeBytes { Base64.decode($0, into: out) }
                }
                #expect(written == count && Array(output[..<count]) == bytes)
            }
        }
    }

    @Test func theArenaLimitsJSONToo() {
        let json = Array((#"{"points":["# + String(repeating: "{},", count: 100_000) + "{}]}").utf8)
        let arena = Arena(limit: 1 << 20)
        do throws(VecraftError) {
            let outcome = json.withUnsafeBytes { raw in
                Result { () throws(VecraftError) in try VecraftV1.UpsertRequest.View.decode(json: raw, in: arena) }
            }
            _ = try outcome.get()
            Issue.record("decoded within \(arena.used) bytes")
        } catch {
            #expect(error.code == .resourceExhausted)
        }
    }
}
