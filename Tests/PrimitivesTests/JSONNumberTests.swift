import Primitives
import Testing

@Suite struct JSONNumberTests {
    @Test func comparesExactly() {
        let big = 9_007_199_254_740_992 as Int64  // 2^53
        #expect(JSONNumber.integer(1) == .double(1.0))
        #expect(JSONNumber.integer(0) == .double(-0.0))
        #expect(JSONNumber.integer(big + 1) != .double(Double(big)))
        #expect(JSONNumber.double(Double(big)) < .integer(big + 1))
        #expect(!(JSONNumber.integer(big + 1) < .double(Double(big))))
        #expect(JSONNumber.integer(.max) < .double(0x1p63))
        #expect(!(JSONNumber.double(0x1p63) < .integer(.max)))
        #expect(JSONNumber.double(-0x1.1p63) < .integer(.min))
        #expect(JSONNumber.integer(.min) == .double(-0x1p63))
        #expect(JSONNumber.integer(2) < .double(2.5))
        #expect(JSONNumber.double(2.5) < .integer(3))
        #expect(JSONNumber.integer(-3) < .double(-2.5))
        #expect(!(JSONNumber.integer(0) < .double(.nan)) && !(JSONNumber.double(.nan) < .integer(0)))
        #expect(Set<JSONNumber>([1, 1.0, .double(0x1p53), .integer(big)]).count == 2)
    }

    /// A sample of ordinary and awkward numbers, each side compared with a wider type.
    @Test func orderAgreesWithWideArithmetic() {
        var rng = SeededRNG(seed: 11)
        for _ in 0..<20_000 {
            let integer = Int64(bitPattern: rng.next()) >> Int64.random(in: 0...63, using: &rng)
            let double = Double(integer &+ Int64.random(in: -3...3, using: &rng)) + Double.random(in: -1...1, using: &rng)
            guard abs(double) < 0x1p62 else { continue }
            // Both as 1/2048ths in 128 bits; what is finer is decided by the remainder.
            let whole = Int64(double.rounded(.down))
            let fraction = double - double.rounded(.down)
            let less = integer < whole || integer == whole && fraction > 0
            #expect((JSONNumber.integer(integer) < .double(double)) == less, "\(integer) \(double)")
            let greater = integer > whole
            #expect((JSONNumber.double(double) < .integer(integer)) == greater, "\(integer) \(double)")
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func doublesAreRoundedCorrectly(seed: UInt64) throws {
        var rng = SeededRNG(seed: seed)
        for _ in 0..<500 {
            let text = Self.decimal(using: &rng)
            let expected = try #require(Double(text))
            guard expected.isFinite else { continue }
            let read = try #require(try JSONValue(parsing: text).numberValue)
            #expect(read.doubleValue.bitPattern == expected.bitPattern || read == .double(expected), "\(text), seed \(seed)")
        }
    }

    @Test(arguments: 0..<20 as Range<UInt64>) func floatsAreRoundedOnce(seed: UInt64) throws {
        var rng = SeededRNG(seed: seed)
        var texts = (0..<500).map { _ in Self.decimal(using: &rng) }
        // Midpoints of two floats, just below and just above: where rounding by way of a double goes wrong.
        for _ in 0..<200 {
            let float = Float.random(in: 0.001...1000, using: &rng)
            let middle = (Double(float) + Double(float.nextUp)) / 2
            texts += [middle.description, middle.nextUp.description, middle.nextDown.description, middle.description + "000001"]
        }
        for text in texts {
            let expected = try #require(Float(text))
            guard expected.isFinite else { continue }
            let read = try Self.floats("[\(text)]")
            #expect(read.count == 1 && read[0].bitPattern == expected.bitPattern, "\(text): \(read), seed \(seed)")
        }
        // All in one array: what stands behind a number decides which way it is read.
        let finite = texts.filter { Float($0)?.isFinite == true }
        var array = "["
        for (index, text) in finite.enumerated() {
            array += (index == 0 ? "" : [",", ", ", " ,", ",\n", " , "].randomElement(using: &rng)!) + text
        }
        let read = try Self.floats(array + "]")
        #expect(read.count == finite.count, "seed \(seed)")
        for (text, value) in zip(finite, read) {
            #expect(value.bitPattern == Float(text)?.bitPattern, "\(text): \(value), seed \(seed)")
        }
    }

    @Test func readsVectors() throws {
        #expect(try Self.floats(" [ ] ") == [])
        #expect(try Self.floats("[1, -2.5,3e-2\n,0,-0.0 ]") == [1, -2.5, 0.03, 0, 0])
        let many = (0..<384).map { Float($0) * 0.001_371 - 0.2 }
        #expect(try Self.floats("[" + many.map(\.description).joined(separator: ", ") + "]") == many)
        let padding = String(repeating: ", 0.25", count: 20)
        for bad in ["1,", "1.", "1.5.5", "01", "-", "--1", "1-2", "0.1/", ".5", "+1", "1e", "0.12345678x", "1 2", "1,,2", "NaN"] {
            #expect(throws: VecraftError.self, "\(bad)") { try Self.floats("[\(bad)\(padding)]") }
            #expect(throws: VecraftError.self, "\(bad)") { try Self.floats("[0.5,\(bad)\(padding)]") }
        }
        for exactly in [127, 128, 129, 256, 384] {
            let text = "[" + Array(repeating: "0.5", count: exactly).joined(separator: ",") + "]"
            #expect(try Self.floats(text, limit: exactly).count == exactly)
            #expect(throws: VecraftError.self) { try Self.floats(text, limit: exactly - 1) }
        }
        for bad in ["[1,]", "[1 2]", "[null]", "[\"1\"]", "[1e39]", "[-4e38]", "[1", "[.5]", "{}"] {
            #expect(throws: VecraftError.self, "\(bad)") { try Self.floats(bad) }
        }
        #expect(throws: VecraftError.self) { try Self.floats("[1,2,3]", limit: 2) }
    }

    private static func floats(_ text: String, limit: Int = 16_384) throws -> [Float] {
        try Array(text.utf8).withUnsafeBytes { raw in
            var reader = JSONReader(raw)
            var output: [Float] = []
            try reader.readFloats(into: &output, limit: limit)
            try reader.finish()
            return output
        }
    }

    /// Decimal text of every awkward kind: many digits, long runs of zeros, exponents near the limits.
    private static func decimal(using rng: inout SeededRNG) -> String {
        func digits(_ count: Int) -> String {
            String((0..<count).map { _ in Character("\(Int.random(in: 0...9, using: &rng))") })
        }
        var text = Bool.random(using: &rng) ? "-" : ""
        switch Int.random(in: 0..<4, using: &rng) {
        case 0: text += "0"
        case 1: text += "\(Int.random(in: 1...9, using: &rng))"
        default: text += "\(Int.random(in: 1...9, using: &rng))" + digits(Int.random(in: 0...25, using: &rng))
        }
        if Bool.random(using: &rng) {
            text += "." + String(repeating: "0", count: Int.random(in: 0...12, using: &rng)) + digits(Int.random(in: 1...22, using: &rng))
        }
        switch Int.random(in: 0..<4, using: &rng) {
        case 0: text += "e\(Int.random(in: -30...30, using: &rng))"
        case 1: text += "E+\(Int.random(in: 0...290, using: &rng))"
        case 2: text += "e-\(Int.random(in: 0...340, using: &rng))"
        default: break
        }
        return text
    }
}
