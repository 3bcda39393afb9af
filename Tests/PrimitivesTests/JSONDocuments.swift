import Primitives

/// Random JSON by seed: documents, and damaged ones.
struct JSONDocuments {
    var rng: SeededRNG

    init(seed: UInt64) { self.rng = SeededRNG(seed: seed) }

    mutating func value(depth: Int) -> JSONValue {
        switch Int.random(in: 0..<(depth > 0 ? 9 : 6), using: &self.rng) {
        case 0: return .null
        case 1: return .bool(Bool.random(using: &self.rng))
        case 2: return .integer(self.integer())
        case 3: return .double(self.double())
        case 4, 5: return .string(self.text())
        case 6:
            return .array((0..<Int.random(in: 0...4, using: &self.rng)).map { _ in self.value(depth: depth - 1) })
        default: return self.object(depth: depth)
        }
    }

    mutating func object(depth: Int) -> JSONValue {
        var members: [JSONMember] = []
        for i in 0..<Int.random(in: 0...4, using: &self.rng) {
            members.append(JSONMember("\(self.text())\(i)", self.value(depth: depth - 1)))
        }
        return .object(members)
    }

    mutating func integer() -> Int64 {
        let bits = Int.random(in: 0...63, using: &self.rng)
        return Int64(bitPattern: self.rng.next()) >> bits
    }

    mutating func double() -> Double {
        if Bool.random(using: &self.rng) { return Double.random(in: -1000...1000, using: &self.rng) }
        let value = Double(bitPattern: self.rng.next())
        return value.isFinite ? value : 0.5
    }

    mutating func text() -> String {
        let alphabet: [Character] = ["a", "b", " ", "\"", "\\", "/", "\n", "\u{1}", "\u{7f}", "é", "ß", "日", "𝄞", "👩‍🚀", "\u{0}"]
        return String((0..<Int.random(in: 0...12, using: &self.rng)).map { _ in alphabet.randomElement(using: &self.rng)! })
    }

    /// Flips, drops, doubles or inserts a few bytes.
    mutating func damaged(_ bytes: [UInt8]) -> [UInt8] {
        var bytes = bytes
        let telling = Array("{}[]\",:\\u0123456789eE+-.tfn \u{1}".utf8) + [0x80, 0xc0, 0xed, 0xa0, 0xf4, 0xff]
        for _ in 0..<Int.random(in: 1...3, using: &self.rng) where !bytes.isEmpty {
            let place = Int.random(in: 0..<bytes.count, using: &self.rng)
            switch Int.random(in: 0..<5, using: &self.rng) {
            case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &self.rng)
            case 1: bytes.remove(at: place)
            case 2: bytes.insert(bytes[place], at: place)
            case 3: bytes.insert(telling.randomElement(using: &self.rng)!, at: place)
            default: bytes.removeSubrange(place...)
            }
        }
        return bytes
    }
}

/// What the validating reader says about bytes: nil if they are accepted.
func verdict(_ bytes: [UInt8], maxDepth: Int = 64) -> VecraftError? {
    do throws(VecraftError) {
        _ = try JSONValue(parsing: bytes, maxDepth: maxDepth)
        return nil
    } catch {
        return error
    }
}
