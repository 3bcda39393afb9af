import Foundation
import Primitives
import Testing

@Suite struct JSONReaderTests {
    @Test(arguments: [
        ("null", JSONValue.null), (" true ", true), ("false", false), ("0", 0), ("-0", 0), ("-7", -7), ("1.0", 1.0),
        ("1e2", 100.0), ("-1.5E-1", -0.15), ("9223372036854775807", .integer(.max)),
        ("-9223372036854775808", .integer(.min)), ("9223372036854775808", .double(0x1p63)),
        ("18446744073709551616", .double(0x1p64)), ("\"\"", ""), ("\"a\\u0041\\n\\/\"", "aA\n/"), ("\"\\ud834\\udd1e\"", "𝄞"),
        ("\"\\u0000\"", "\u{0}"), ("[]", []), ("[1,[2,{}],\"x\"]", [1, [2, [:]], "x"]),
        ("{\"a\":1,\"b\":{\"c\":null}}", ["a": 1, "b": ["c": nil]]), ("\t{ \"a\" :\r\n[ ] } ", ["a": []]),
    ] as [(String, JSONValue)])
    func reads(_ text: String, _ expected: JSONValue) throws {
        #expect(try JSONValue(parsing: text) == expected)
    }

    @Test func tellsIntegersFromDoublesBySpelling() throws {
        #expect(try JSONValue(parsing: "1").numberValue.map { if case .integer = $0 { true } else { false } } == true)
        #expect(try JSONValue(parsing: "1.0").numberValue.map { if case .double = $0 { true } else { false } } == true)
        #expect(try JSONValue(parsing: "9007199254740993") == .integer(9_007_199_254_740_993))
    }

    @Test(arguments: [
        ("", 0), (" ", 1), ("nul", 0), ("truE", 0), ("01", 0), ("-", 1), ("-01", 1), ("1.", 2), (".5", 0), ("1e", 2), ("1e+", 3),
        ("+1", 0), ("0x1", 1), ("NaN", 0), ("Infinity", 0), ("1e999", 0), ("-1e400", 0), ("\"", 0), ("\"\n\"", 1),
        ("\"\\x\"", 1), ("\"\\u12\"", 1), ("\"\\ud800\"", 1), ("\"\\ud800\\u0041\"", 1), ("\"\\udc00\"", 1), ("[1,]", 3),
        ("[,1]", 1), ("[1 2]", 3), ("[", 1), ("{", 1), ("{\"a\"}", 4), ("{\"a\":}", 5), ("{\"a\":1,}", 7), ("{a:1}", 1),
        ("{\"a\":1 \"b\":2}", 7), ("[]]", 2), ("1 1", 2), ("{}{}", 2), ("'a'", 0), ("[1}", 2), ("{\"a\":1]", 6),
        ("// c\n1", 0), ("\u{feff}1", 0),
    ] as [(String, Int)])
    func refusesAndNamesTheByte(_ text: String, _ position: Int) {
        let bytes = Array(text.utf8)
        let error = verdict(bytes)
        #expect(error?.code == .invalidArgument)
        #expect(error?.reason == "INVALID_JSON")
        #expect(error?.message.hasSuffix("at byte \(position)") == true, "\(text): \(error?.message ?? "accepted")")
        // The validator, which builds nothing, agrees to the byte.
        let skipped: VecraftError? = bytes.withUnsafeBytes { raw in
            do throws(VecraftError) {
                try JSONScanner.validate(raw, maxDepth: 64)
                return nil
            } catch { return error }
        }
        #expect(skipped?.message.hasSuffix("at byte \(position)") == true, "\(text): \(skipped?.message ?? "accepted")")
    }

    @Test(arguments: [
        [0x80], [0xc0, 0x80], [0xc1, 0xbf], [0xc3], [0xe0, 0x9f, 0xbf], [0xed, 0xa0, 0x80], [0xef, 0xbf], [0xf0, 0x8f, 0xbf, 0xbf],
        [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xff], [0xe2, 0x28, 0xa1], [0xf0, 0x9f, 0x98],
    ] as [[UInt8]])
    func refusesInvalidUTF8(_ text: [UInt8]) {
        for prefix in 0..<9 {
            let bytes = [0x22] + [UInt8](repeating: 0x61, count: prefix) + text + [0x22]
            #expect(verdict(bytes)?.message.hasSuffix("invalid UTF-8 at byte \(prefix + 1)") == true, "\(bytes)")
        }
    }

    @Test func limitsDepth() {
        func nested(_ depth: Int) -> [UInt8] {
            Array((String(repeating: "[", count: depth) + String(repeating: "]", count: depth)).utf8)
        }
        #expect(verdict(nested(32), maxDepth: 32) == nil)
        #expect(verdict(nested(33), maxDepth: 32)?.message.contains("deeper than 32 at byte 32") == true)
        func validates(_ text: String, _ depth: Int) -> Bool {
            Array(text.utf8).withUnsafeBytes { raw in (try? JSONScanner.validateObject(raw, maxDepth: depth)) != nil }
        }
        #expect(validates("{\"a\":{\"b\":[]}}", 3))
        #expect(!validates("{\"a\":{\"b\":[]}}", 2))
        #expect(validates("{\"a\":{},\"b\":{},\"c\":[[]]}", 3))
        #expect(!validates("[]", 3))
        #expect(verdict([UInt8](repeating: UInt8(ascii: "["), count: 1_000_000)) != nil)
        // Depth counts from the document, also for a value that is skipped inside one.
        let inner = Array("{\"a\":[[[]]]}".utf8)
        inner.withUnsafeBytes { raw in
            var reader = JSONReader(raw, maxDepth: 3)
            #expect(throws: VecraftError.self) {
                try reader.beginObject()
                _ = try reader.nextKey()
                try reader.skipValue()
            }
        }
    }

    @Test func theLastOfEqualKeysCounts() throws {
        let value = try JSONValue(parsing: "{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}")
        #expect(value == .object([JSONMember("b", 2), JSONMember("a", 4)]))
        // Two spellings of é are two keys: JSON compares code units.
        let accents = try JSONValue(parsing: "{\"\u{e9}\":1,\"e\u{301}\":2}")
        #expect(accents.objectValue?.count == 2)
        #expect(accents["\u{e9}"] == 1)
        #expect(accents["e\u{301}"] == 2)
    }

    @Test func pullsPieceByPiece() throws {
        let text = Array(#" {"id":"a\tb","n":[1,2.5],"skip":{"x":[{}]},"t":true,"z":null,"five":5.0} "#.utf8)
        try text.withUnsafeBytes { raw in
            var reader = JSONReader(raw)
            var seen: [String] = []
            try reader.beginObject()
            while let key = try reader.nextKey() {
                seen.append(key.string)
                switch key {
                case "id":
                    let id = try reader.readString()
                    #expect(id.isEscaped && id.string == "a\tb" && id.equals("a\tb" as String) && !id.equals("ab" as String))
                case "n":
                    try reader.beginArray()
                    #expect(try reader.nextElement())
                    #expect(try reader.readInteger() == 1)
                    #expect(try reader.nextElement())
                    #expect(try reader.readDouble() == 2.5)
                    #expect(try !reader.nextElement())
                case "t": #expect(try reader.readBool())
                case "z":
                    #expect(try reader.readNullIfPresent())
                case "five":
                    #expect(try !reader.readNullIfPresent())
                    #expect(try reader.readInteger() == 5)
                default:
                    let slice = try reader.skipValue()
                    #expect(String(decoding: slice, as: UTF8.self) == #"{"x":[{}]}"#)
                }
            }
            try reader.finish()
            #expect(seen == ["id", "n", "skip", "t", "z", "five"])
        }
    }

    @Test(arguments: 0..<40 as Range<UInt64>) func roundTripsAndAgreesWithFoundation(seed: UInt64) throws {
        var documents = JSONDocuments(seed: seed)
        for _ in 0..<50 {
            let value = documents.value(depth: 5)
            let bytes = value.encoded()
            #expect(try JSONValue(parsing: bytes) == value, "seed \(seed)")
            let theirs = try JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
            #expect(Self.same(value, theirs), "seed \(seed): \(String(decoding: bytes, as: UTF8.self))")
        }
    }

    /// Whatever bytes come, the reader answers; the tree, the validator and the skimmer never crash; what we accept, the
    /// other parser accepts too (it is laxer in places: it lets control characters or unpaired surrogates pass).
    @Test(arguments: 0..<60 as Range<UInt64>) func neverCrashesOnDamage(seed: UInt64) throws {
        var documents = JSONDocuments(seed: seed &* 7919 &+ 1)
        for _ in 0..<60 {
            let bytes = documents.damaged(documents.value(depth: 4).encoded())
            let error = verdict(bytes)
            let valid: Bool = bytes.withUnsafeBytes { (try? JSONScanner.validate($0, maxDepth: 64)) != nil }
            #expect(valid == (error == nil), "seed \(seed): \(bytes)")
            if error == nil {
                let theirs = try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)
                #expect(theirs != nil, "seed \(seed): \(String(decoding: bytes, as: UTF8.self))")
            }
            bytes.withUnsafeBytes { raw in
                var skimmer = JSONSkimmer(raw)
                Self.skim(&skimmer, depth: 0)
            }
        }
    }

    private static func skim(_ skimmer: inout JSONSkimmer, depth: Int) {
        if depth == 50 { return }
        switch skimmer.peek() {
        case UInt8(ascii: "{"):
            _ = skimmer.enter(UInt8(ascii: "{"))
            while let key = skimmer.nextKey() {
                _ = key.string
                var inner = skimmer
                Self.skim(&inner, depth: depth + 1)
                skimmer.skipValue()
            }
        case UInt8(ascii: "["):
            _ = skimmer.enter(UInt8(ascii: "["))
            while skimmer.nextElement() {
                var inner = skimmer
                Self.skim(&inner, depth: depth + 1)
                skimmer.skipValue()
            }
        case 0x22: _ = skimmer.readString().string
        case UInt8(ascii: "-"), 0x30...0x39: _ = skimmer.readNumber()
        default: skimmer.skipValue()
        }
    }

    private static func same(_ ours: JSONValue, _ theirs: Any) -> Bool {
        switch (ours, theirs) {
        case (.null, is NSNull): return true
        case (.string(let a), let b as String): return a.utf8.elementsEqual(b.utf8)
        case (.array(let a), let b as [Any]): return a.count == b.count && zip(a, b).allSatisfy { Self.same($0, $1) }
        case (.object(let a), let b as [String: Any]):
            return a.count == b.count && a.allSatisfy { member in b[member.key].map { Self.same(member.value, $0) } ?? false }
        case (.bool(let a), let b as NSNumber): return a == b.boolValue
        case (.integer(let a), let b as NSNumber): return a == b.int64Value
        // They keep decimals, whose `doubleValue` is not rounded correctly; their text is exact.
        case (.double(let a), let b as NSNumber): return a == b.doubleValue || a == Double(b.description)
        default: return false
        }
    }
}
