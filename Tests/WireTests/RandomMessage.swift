import Primitives

@testable import Wire

/// Random messages as canonical wire bytes, written by rules of its own: fields by number, defaults left out, scalars
/// packed, map entries by key. So it checks protobuf-c's encoding as well as ours around it.
struct RandomMessage {
    var rng: SeededRNG
    /// Only what JSON gives back as it was: no packed vectors, payloads that are objects.
    var forJSON = false

    init(seed: UInt64, forJSON: Bool = false) {
        self.rng = SeededRNG(seed: seed)
        self.forJSON = forJSON
    }

    mutating func bytes(_ schema: MessageSchema, depth: Int = 0) -> [UInt8] {
        var out: [UInt8] = []
        let chosen = self.chooseOneofs(schema)
        for field in schema.fields {
            switch field.form {
            case .oneof: if chosen.contains(field.number) { out += self.oneofMember(field, schema, depth) }
            case .map: out += self.map(field, depth)
            case .repeated: out += self.repeated(field, schema, depth)
            case .singular:
                if self.forJSON, schema.shape == .rawObject {
                    out += Self.tag(field, 2) + Self.delimited(self.object())
                } else if self.forJSON, schema.shape == .vector {
                    continue
                } else if field.kind == .message {
                    if depth < 6, Int.random(in: 0..<4, using: &self.rng) > 0 {
                        out += Self.tag(field, 2) + Self.delimited(self.bytes(field.message!, depth: depth + 1))
                    }
                } else if Int.random(in: 0..<4, using: &self.rng) > 0,
                    let scalar = self.scalar(field, canBeDefault: false)
                {
                    out += scalar
                }
            }
        }
        return out
    }

    /// At most one member of each; of a filter's scalar always one, as it has no JSON without.
    private mutating func chooseOneofs(_ schema: MessageSchema) -> Set<Int> {
        var chosen = Set<Int>()
        for group in Set(schema.fields.compactMap(\.oneof)).sorted() {
            let members = schema.fields.filter { $0.oneof == group }
            if schema.shape == .scalar || Int.random(in: 0..<6, using: &self.rng) > 0 {
                chosen.insert(members.randomElement(using: &self.rng)!.number)
            }
        }
        return chosen
    }

    private mutating func oneofMember(_ field: FieldSchema, _ schema: MessageSchema, _ depth: Int) -> [UInt8] {
        if field.kind == .message {
            if depth >= 10 { return [] }
            return Self.tag(field, 2) + Self.delimited(self.bytes(field.message!, depth: depth + 1))
        }
        return self.scalar(field, canBeDefault: true)!
    }

    private mutating func repeated(_ field: FieldSchema, _ schema: MessageSchema, _ depth: Int) -> [UInt8] {
        let count = depth > 5 ? 0 : Int.random(in: 0...3, using: &self.rng)
        var out: [UInt8] = []
        switch field.kind {
        case .message:
            for _ in 0..<count {
                out += Self.tag(field, 2) + Self.delimited(self.bytes(field.message!, depth: depth + 1))
            }
        case .string: for _ in 0..<count { out += Self.tag(field, 2) + Self.delimited(Array(self.text().utf8)) }
        case .bytes: for _ in 0..<count { out += Self.tag(field, 2) + Self.delimited(self.blob()) }
        default:
            var packed: [UInt8] = []
            for _ in 0..<count * 3 { packed += self.payload(field) }
            if !packed.isEmpty { out = Self.tag(field, 2) + Self.delimited(packed) }
        }
        return out
    }

    private mutating func map(_ field: FieldSchema, _ depth: Int) -> [UInt8] {
        var out: [UInt8] = []
        let value = field.message!.fields[1]
        for i in 0..<Int.random(in: 0...3, using: &self.rng) {
            var entry = Self.tag(field.message!.fields[0], 2) + Self.delimited(Array("key\(i)".utf8))
            if value.kind == .message {
                entry += Self.tag(value, 2) + Self.delimited(self.bytes(value.message!, depth: depth + 1))
            } else if let scalar = self.scalar(value, canBeDefault: false) {
                entry += scalar
            }
            out += Self.tag(field, 2) + Self.delimited(entry)
        }
        return out
    }

    private mutating func scalar(_ field: FieldSchema, canBeDefault: Bool) -> [UInt8]? {
        let payload: [UInt8]
        let wireType: Int
        switch field.kind {
        case .string: (payload, wireType) = (Self.delimited(Array(self.text().utf8)), 2)
        case .bytes: (payload, wireType) = (Self.delimited(self.blob()), 2)
        case .float: (payload, wireType) = (self.payload(field), 5)
        case .fixed32: (payload, wireType) = (self.payload(field), 5)
        case .double, .fixed64: (payload, wireType) = (self.payload(field), 1)
        default: (payload, wireType) = (self.payload(field), 0)
        }
        if !canBeDefault, payload.allSatisfy({ $0 == 0 }) { return nil }
        return Self.tag(field, wireType) + payload
    }

    private mutating func payload(_ field: FieldSchema) -> [UInt8] {
        let word = self.rng.next() >> UInt64.random(in: 0..<64, using: &self.rng)
        switch field.kind {
        case .bool: return [UInt8(word & 1)]
        case .uint32: return Self.varint(word & 0xffff_ffff)
        case .int32, .enum:  // sign-extended to 64 bits on the wire
            let known = field.kind == .enum && word & 1 == 0
            return Self.varint(
                UInt64(bitPattern: Int64(known ? Int32(word >> 1 & 3) : Int32(truncatingIfNeeded: word))))
        case .float:
            let value = Float.random(in: -1e6...1e6, using: &self.rng)
            return withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        case .double:
            let value =
                Bool.random(using: &self.rng)
                ? Double(Int.random(in: -50...50, using: &self.rng) | 1)
                : Double.random(in: -1e300...1e300, using: &self.rng)
            return withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
        case .fixed32: return withUnsafeBytes(of: UInt32(truncatingIfNeeded: word).littleEndian) { Array($0) }
        case .fixed64: return withUnsafeBytes(of: word.littleEndian) { Array($0) }
        default: return Self.varint(word)
        }
    }

    private mutating func text() -> String {
        let alphabet: [Character] = [
            "a", "Z", "0", " ", "\"", "\\", "/", "\n", "\u{1}", "\u{7f}", "é", "漢", "🦀", "\u{2028}",
        ]
        return String(
            (0..<Int.random(in: 0...20, using: &self.rng)).map { _ in alphabet.randomElement(using: &self.rng)! })
    }
    private mutating func blob() -> [UInt8] {
        (0..<Int.random(in: 0...20, using: &self.rng)).map { _ in UInt8.random(in: 0...255, using: &self.rng) }
    }
    private mutating func object() -> [UInt8] {
        Array(#"{"n": \#(UInt8.random(in: 0...255, using: &self.rng)), "t":["é\u0000",{}]}"#.utf8)
    }

    static func tag(_ field: FieldSchema, _ wireType: Int) -> [UInt8] {
        Self.varint(UInt64(field.number << 3 | wireType))
    }
    static func delimited(_ bytes: [UInt8]) -> [UInt8] { Self.varint(UInt64(bytes.count)) + bytes }
    static func varint(_ value: UInt64) -> [UInt8] {
        var value = value, out: [UInt8] = []
        while value >= 0x80 {
            out.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        return out + [UInt8(value)]
    }
}
