import Filter
import Primitives
import Testing

@Suite struct FilterCodingTests {
    @Test(arguments: 0..<40 as Range<UInt64>) func bothFormsRoundTrip(seed: UInt64) throws {
        var random = RandomFilters(seed: seed)
        for _ in 0..<50 {
            let filter = random.filter(depth: 3)
            let decoded = try filter.encoded().withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                let filter = try Filter(decoding: &reader)
                #expect(reader.remaining == 0)
                return filter
            }
            #expect(decoded == filter, "seed \(seed)")
            #expect(try Filter(json: JSONValue(parsing: filter.json.encoded())) == filter, "seed \(seed)")
        }
    }

    /// The bytes are in journals: they may never change.
    @Test func goldenBytes() {
        let filter = Filter(
            must: [.match("k", .string("v")), .range("n", NumericRange(gte: 1, lt: 2.5))], should: [.hasID(["p"])],
            mustNot: [.isNull("z"), .matchAny("b", [.bool(true)]), .matchExcept("c", []), .filter(Filter())])
        let hex = filter.encoded().map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        #expect(
            hex
                == "01" + "02000000" + "0101006b010100000076" + "0401006e06" + "020100000000000000" + "030000000000000440"
                + "01000000" + "0601000000010070" + "04000000" + "0501007a" + "02010062010000000401" + "0301006300000000"
                + "07000000000000000000000000")
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func damageIsAFaultOrAnotherFilter(seed: UInt64) {
        var random = RandomFilters(seed: seed)
        for _ in 0..<100 {
            var bytes = random.filter(depth: 3).encoded()
            if Bool.random(using: &random.rng) {
                bytes.removeLast(Int.random(in: 1...bytes.count, using: &random.rng))
            } else {
                bytes[Int.random(in: 0..<bytes.count, using: &random.rng)] ^= 1 << UInt8.random(in: 0..<8, using: &random.rng)
            }
            bytes.withUnsafeBytes { raw in
                var reader = ByteReader(raw)
                _ = try? Filter(decoding: &reader)  // must not crash or ask for absurd memory
            }
        }
    }

    @Test func refusesANewerVersion() {
        var bytes = Filter().encoded()
        bytes[0] = 2
        bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            let fault = #expect(throws: DecodingFault.self) { try Filter(decoding: &reader) }
            #expect(fault?.what == "filter of format 2; this release reads 1")
        }
    }
}
