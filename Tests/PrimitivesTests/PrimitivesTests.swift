import CChecksum
import Primitives
import Testing

@Suite struct HLCTimestampTests {
    @Test func packsMillisecondsAboveTheCounter() {
        let stamp = HLCTimestamp(milliseconds: 1_763_840_000_000, counter: 3)
        #expect(stamp.rawValue == 1_763_840_000_000 << 16 | 3)
        #expect(stamp.milliseconds == 1_763_840_000_000 && stamp.counter == 3)
        #expect(stamp.description == "1763840000000.3")
        #expect(HLCTimestamp(milliseconds: 1 << 47, counter: .max).milliseconds == 1 << 47)
        #expect(HLCTimestamp(rawValue: stamp.rawValue) == stamp)
    }

    @Test func orderIsTimeThenCounter() {
        let a = HLCTimestamp(milliseconds: 10, counter: .max)
        let b = HLCTimestamp(milliseconds: 11, counter: 0)
        #expect(.zero < a && a < b && b < HLCTimestamp(milliseconds: 11, counter: 1))
    }
}

@Suite struct TraceContextTests {
    @Test func readsAndWritesTraceparent() throws {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let context = try #require(TraceContext(traceparent: text))
        #expect(context.traceIDHex == "4bf92f3577b34da6a3ce929d0e0e4736" && context.spanIDHex == "00f067aa0ba902b7")
        #expect(context.sampled && context.traceparent == text)
        // A later version may have more behind the flags.
        #expect(TraceContext(traceparent: "cc" + text.dropFirst(2) + "-more") != nil)
    }

    @Test(arguments: [
        "", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01", "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ])
    func refusesMalformedTraceparent(_ text: String) { #expect(TraceContext(traceparent: text) == nil) }

    /// Each place has its kind: no other character may stand there, and none be missing.
    @Test func everyCharacterCounts() throws {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        let right = try #require(TraceContext(traceparent: text))
        for (i, index) in text.indices.enumerated() {
            for wrong in ["g", "A", "é", "\0", text[index] == "-" ? "0" : "-"] {
                let changed = text[..<index] + wrong + text[text.index(after: index)...]
                #expect(TraceContext(traceparent: changed) == nil, "\(changed)")
            }
            #expect(TraceContext(traceparent: text.prefix(i)) == nil)
        }
        // A part of a longer text, as of a header that was trimmed.
        #expect(TraceContext(traceparent: (" " + text + " ").dropFirst().dropLast()) == right)
        #expect(TraceContext(traceparent: "01" + text.dropFirst(2) + "x") == nil)
    }

    @Test func childrenKeepTheTrace() {
        var rng = SeededRNG(seed: 1)
        let root = TraceContext.root(using: &rng, sampled: false)
        let child = root.child(using: &rng)
        #expect(child.traceIDHex == root.traceIDHex && child.spanID != root.spanID && !child.sampled)
        #expect(child.spanID != 0)
        #expect(TraceContext(traceparent: root.traceparent) == root)
    }

    @Test func hexadecimal() {
        #expect(TraceContext.hex(0x1f) == "000000000000001f")
        #expect(TraceContext.hex("1f") == 0x1f)
        #expect(TraceContext.hex("1F") == nil)
    }
}

@Suite struct PartitionIDTests {
    @Test func namesRoundTrip() {
        for id in [PartitionID.data(0), .data(65_535), .sys, .txn] { #expect(PartitionID(id.description) == id) }
        #expect(PartitionID("data-7") == .data(7))
    }

    @Test(arguments: ["", "data", "data-", "data-x", "data-65536", "data--1", "other-0", "Data-0"])
    func refusesOtherNames(_ text: String) { #expect(PartitionID(text) == nil) }

    @Test func order() { #expect([PartitionID.sys, .txn, .data(2), .data(1)].sorted() == [.data(1), .data(2), .txn, .sys]) }
}

@Suite struct ByteCodingTests {
    @Test func readsWhatWasWritten() throws {
        var writer = ByteWriter()
        writer.write(UInt8(7))
        writer.write(UInt16(0x0102))
        writer.pad(to: 8)
        writer.write(Int64(-5))
        writer.writeShort("é")
        Array("long".utf8).withUnsafeBytes { writer.writeLong($0) }
        writer.patch(UInt16(0x0304), at: 1)
        #expect(writer.bytes.prefix(3) == [7, 4, 3])
        try writer.bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            #expect(try reader.read(UInt8.self) == 7)
            #expect(try reader.read(UInt16.self) == 0x0304)
            try reader.skipPadding(to: 8)
            #expect(try reader.read(Int64.self) == -5)
            #expect(try reader.readShort() == "é")
            #expect(String(decoding: try reader.readLong(), as: UTF8.self) == "long")
            #expect(reader.remaining == 0)
            #expect(throws: DecodingFault(position: raw.count, what: "truncated")) { try reader.read(UInt8.self) }
        }
    }

    @Test func everyTruncationIsNoticed() {
        var writer = ByteWriter()
        writer.writeShort("name")
        Array("body".utf8).withUnsafeBytes { writer.writeLong($0) }
        for end in 0..<writer.count {
            writer.bytes[..<end].withUnsafeBytes { raw in
                _ = #expect(throws: DecodingFault.self) {
                    var reader = ByteReader(raw)
                    _ = try reader.readShort()
                    _ = try reader.readLong()
                }
            }
        }
    }
}

@Suite struct StableHashTests {
    /// Golden: graph levels, digests and idempotency on disk depend on these. A change is a format change.
    @Test func isTheSameForEver() {
        #expect(StableHash.of("") == GoldenHash.empty)
        #expect(StableHash.of("a") == GoldenHash.a)
        #expect(StableHash.of("vitrage-common") == GoldenHash.name)
        #expect(StableHash.of("vitrage-common", seed: 42) == GoldenHash.seeded)
        var words = StableHash()
        words.combine(1)
        words.combine(.max)
        #expect(words.finish() == GoldenHash.words)
    }

    @Test func lengthAndTailMatter() {
        let texts = ["", "\0", "\0\0", "a", "a\0", "abcdefgh", "abcdefgh\0", "abcdefghi"]
        #expect(Set(texts.map { StableHash.of($0) }).count == texts.count)
    }
}

@Suite struct SeededRNGTests {
    @Test func isReproducible() {
        var a = SeededRNG(seed: 7)
        var b = SeededRNG(seed: 7)
        let first = (0..<4).map { _ in a.next() }
        #expect(first == (0..<4).map { _ in b.next() })
        var c = SeededRNG(seed: 8)
        #expect(c.next() != first[0])
    }
}

@Suite struct CollectionSchemaTests {
    static let schema = CollectionSchema(
        id: 77, tenant: "acme", name: "papers",
        vectors: [VectorSchema(name: "title", dimension: 8, metric: .l2, m: 8, efConstruction: 50, quantisation: .int4), VectorSchema(dimension: 384, metric: .cosine)],
        payloadIndexes: [PayloadIndexField(path: "a.b", type: .float), PayloadIndexField(path: "tag", type: .keyword)],
        shards: 3, partition: .data(9), created: HLCTimestamp(milliseconds: 5, counter: 6))

    @Test func codingRoundTrips() throws {
        var writer = ByteWriter()
        Self.schema.encode(into: &writer)
        try writer.bytes.withUnsafeBytes { raw in
            var reader = ByteReader(raw)
            let decoded = try CollectionSchema(decoding: &reader)
            #expect(decoded == Self.schema)
            #expect(reader.remaining == 0)
        }
    }

    @Test func vectorsAreSortedByName() {
        #expect(Self.schema.vectors.map(\.name) == ["", "title"])
        #expect(Self.schema.vectorIndex("title") == 1 && Self.schema.vectorIndex("x") == nil)
    }

    @Test func refusesOtherVersionsAndTruncation() {
        var writer = ByteWriter()
        Self.schema.encode(into: &writer)
        for end in 0..<writer.count {
            writer.bytes[..<end].withUnsafeBytes { raw in
                _ = #expect(throws: DecodingFault.self) {
                    var reader = ByteReader(raw)
                    _ = try CollectionSchema(decoding: &reader)
                }
            }
        }
        writer.patch(UInt16(2), at: 0)
        writer.bytes.withUnsafeBytes { raw in
            _ = #expect(throws: DecodingFault.self) {
                var reader = ByteReader(raw)
                _ = try CollectionSchema(decoding: &reader)
            }
        }
    }
}

@Suite struct VecraftErrorTests {
    @Test func codesHaveTheNumbersOfGRPC() {
        #expect(VecraftError.Code.allCases.map(\.rawValue) == Array(0...16))
        #expect(VecraftError.Code.invalidArgument.rawValue == 3 && VecraftError.Code.unauthenticated.rawValue == 16)
        #expect(VecraftError.Code.dataLoss.name == "DATA_LOSS")
        #expect(VecraftError.invalid("limit", "too many").description == "INVALID_ARGUMENT: limit: too many")
    }
}

@Suite struct ChecksumTests {
    /// RFC 3720 appendix B.4, and the check value of the CRC catalogue.
    @Test func knownValues() {
        func crc(_ bytes: [UInt8]) -> UInt32 { vc_crc32c(0, bytes, bytes.count) }
        #expect(crc(Array("123456789".utf8)) == 0xe306_9283)
        #expect(crc([UInt8](repeating: 0, count: 32)) == 0x8a91_36aa)
        #expect(crc([UInt8](repeating: 0xff, count: 32)) == 0x62a8_ab43)
        #expect(crc([]) == 0)
    }

    @Test func everyImplementationAndSplitAgrees() {
        var rng = SeededRNG(seed: 3)
        let bytes = (0..<600).map { _ in UInt8.random(in: 0...255, using: &rng) }
        bytes.withUnsafeBytes { raw in
            for start in 0..<9 {
                for count in [0, 1, 7, 8, 9, 63, 64, 255, 256, 500, 591] {
                    let base = raw.baseAddress! + start
                    let whole = vc_crc32c(0, base, count)
                    #expect(whole == vc_crc32c_portable(0, base, count))
                    let cut = count / 3
                    #expect(whole == vc_crc32c(vc_crc32c(0, base, cut), base + cut, count - cut))
                }
            }
        }
    }
}

@Suite struct SessionTokenTests {
    @Test func mergesByGreatestOffsetAndMayBeConcatenated() throws {
        var a = SessionToken()
        a.merge(.data(1), 5)
        a.merge(.sys, 2)
        var b = SessionToken()
        b.merge(.data(1), 9)
        b.merge(.data(0), 1)
        let both = try (a.bytes + b.bytes).withUnsafeBytes { try SessionToken($0) }
        var merged = b
        merged.merge(a)
        #expect(both == merged)
        #expect(both.offset(of: .data(1)) == 9 && both.offset(of: .data(0)) == 1 && both.offset(of: .sys) == 2)
        #expect(both.offset(of: .txn) == 0)
        #expect(both.bytes.count == 48)
    }

    @Test(arguments: [[1], [UInt8](repeating: 0, count: 16), [2, 1] + [UInt8](repeating: 0, count: 14)])
    func refusesWhatIsNone(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in _ = #expect(throws: VecraftError.self) { try SessionToken(raw) } }
    }
}
