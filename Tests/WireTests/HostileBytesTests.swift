import Primitives
import Testing

@testable import Wire

/// Whatever the bytes: an answer or an error that names the caller's mistake, never a crash. Run under the address
/// sanitizer now and then.
@Suite struct HostileBytesTests {
    /// Decodes and uses everything.
    static func swallow<M: WireMessage>(_ type: M.Type, _ bytes: [UInt8]) {
        do throws(VecraftError) {
            let message = try M.decode(bytes)
            _ = message.json()
            let again = try M.decode(message.encode())
            // Not equal when there are NaNs.
            _ = again == message
        } catch {
            #expect(error.code == .invalidArgument || error.code == .resourceExhausted)
        }
    }

    @Test(arguments: WireMessages.all.indices)
    func truncations(index: Int) {
        func check<M: WireMessage>(_ type: M.Type) {
            var random = RandomMessage(seed: UInt64(index))
            var bytes = random.bytes(M.schema)
            while bytes.count > 400 { bytes = random.bytes(M.schema) }
            for length in 0...bytes.count { Self.swallow(type, Array(bytes[..<length])) }
        }
        check(WireMessages.all[index])
    }

    @Test(arguments: WireMessages.all.indices)
    func flippedBitsAndSplices(index: Int) {
        func check<M: WireMessage>(_ type: M.Type, seed: UInt64) {
            var random = RandomMessage(seed: seed)
            var bytes = random.bytes(M.schema)
            if seed % 3 == 0 { bytes += random.bytes(M.schema) }
            guard !bytes.isEmpty else { return }
            for _ in 0..<8 {
                var hostile = bytes
                for _ in 0..<Int.random(in: 1...4, using: &random.rng) {
                    let at = Int.random(in: 0..<hostile.count, using: &random.rng)
                    switch Int.random(in: 0..<3, using: &random.rng) {
                    case 0: hostile[at] ^= 1 << UInt8.random(in: 0..<8, using: &random.rng)
                    case 1: hostile[at] = UInt8.random(in: 0...255, using: &random.rng)
                    default:
                        let from = Int.random(in: 0..<bytes.count, using: &random.rng)
                        hostile.insert(contentsOf: bytes[from..<min(from + 9, bytes.count)], at: at)
                    }
                }
                Self.swallow(type, hostile)
            }
        }
        for seed in 0..<60 { check(WireMessages.all[index], seed: UInt64(index * 1000 + seed)) }
    }

    @Test(arguments: WireMessages.all.indices)
    func flippedBitsInJSON(index: Int) throws {
        func check<M: WireMessage>(_ type: M.Type, seed: UInt64) throws {
            var random = RandomMessage(seed: seed, forJSON: true)
            let json = try M.decode(random.bytes(M.schema)).json()
            for _ in 0..<8 {
                var hostile = json
                let at = Int.random(in: 0..<hostile.count, using: &random.rng)
                if Bool.random(using: &random.rng) {
                    hostile[at] ^= 1 << UInt8.random(in: 0..<8, using: &random.rng)
                } else {
                    hostile.removeSubrange(at...)
                }
                do throws(VecraftError) { _ = try M(json: hostile).encode() } catch {
                    #expect(error.code == .invalidArgument || error.code == .resourceExhausted)
                }
            }
        }
        for seed in 0..<30 { try check(WireMessages.all[index], seed: UInt64(index * 1000 + seed)) }
    }

    static func fault<M: WireMessage>(_ type: M.Type, _ bytes: [UInt8]) -> VecraftError? {
        do throws(VecraftError) {
            _ = try M.decode(bytes)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [
        [0xff], [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0x80], [0xe2, 0x82],
        [0xf0, 0x80, 0x80, 0x80],
    ])
    func textThatIsNotUTF8(bad: [UInt8]) {
        for prefix in ["", "abc", "abcdefgh", "abcdefghi"] {
            let text = Array(prefix.utf8) + bad + Array("x".utf8)
            let point = [0x0a] + RandomMessage.delimited(text)
            let bytes = RandomMessage.delimited([]).withTag(0x12) + RandomMessage.delimited(point).withTag(0x12)
            let error = Self.fault(VecraftV1.UpsertRequest.self, bytes)
            #expect(error?.code == .invalidArgument)
            #expect(error?.field == "points[1].id")
            #expect(error?.message == "points[1].id: is not valid UTF-8")
        }
    }

    @Test func textWithNUL() {
        for prefix in ["", "abc", "abcdefgh", "é"] {
            let bytes = RandomMessage.delimited(Array(prefix.utf8) + [0, 0x61]).withTag(0x0a)
            #expect(Self.fault(VecraftV1.SearchRequest.self, bytes)?.message == "collection: holds a NUL character")
        }
        // Bytes may hold anything.
        #expect(Self.fault(VecraftV1.Payload.self, [0x0a, 0x02, 0x00, 0xff]) == nil)
        // Text of every length around the eight bytes that are looked at together.
        for count in 0...40 {
            let bytes = RandomMessage.delimited([UInt8](repeating: 0x7f, count: count)).withTag(0x0a)
            #expect(Self.fault(VecraftV1.SearchRequest.self, bytes) == nil)
            for at in 0..<count {
                var spoiled = bytes
                spoiled[bytes.count - 1 - at] = 0
                #expect(Self.fault(VecraftV1.SearchRequest.self, spoiled) != nil)
            }
        }
    }

    @Test func nestedTooDeep() {
        func bomb(_ levels: Int) -> [UInt8] {
            var bytes: [UInt8] = []
            // must[0] = Condition { filter = Filter }
            for _ in 0..<levels {
                bytes = RandomMessage.delimited(RandomMessage.delimited(bytes).withTag(0x32)).withTag(0x0a)
            }
            return bytes
        }
        #expect(Self.fault(VecraftV1.Filter.self, bomb(31)) == nil)
        let error = Self.fault(VecraftV1.Filter.self, bomb(32))
        #expect(error?.code == .invalidArgument)
        #expect(error?.message.contains("nested deeper than 64") == true)
        #expect(Self.fault(VecraftV1.Filter.self, bomb(5000))?.code == .invalidArgument)
    }

    @Test func aMessageFieldThatStandsTwice() {
        // protobuf-c would merge the two and take a range for a match.
        let key: [UInt8] = RandomMessage.delimited([0x12, 0x00]).withTag(0x0a)
        #expect(Self.fault(VecraftV1.Filter.self, key) == nil)
        let info = RandomMessage.delimited([]).withTag(0x12)
        #expect(Self.fault(VecraftV1.CountResponse.self, info + info)?.field == "info")
        let twice = RandomMessage.delimited([0x12, 0x00, 0x12, 0x00]).withTag(0x0a)
        #expect(Self.fault(VecraftV1.Filter.self, twice)?.field == "must[0].match")
        // Another member of the same choice: the last one counts, as proto3 says.
        let other = RandomMessage.delimited([0x12, 0x00, 0x1a, 0x00]).withTag(0x0a)
        #expect(Self.fault(VecraftV1.Filter.self, other) == nil)
    }

    @Test func aFieldOfAnotherKind() {
        let error = Self.fault(VecraftV1.SearchRequest.self, [0x08, 0x01])  // collection as a varint
        #expect(error?.field == "collection")
        #expect(error?.message.contains("wire type") == true)
        #expect(
            Self.fault(VecraftV1.SearchRequest.self, [0x0b])?.message
                == "vecraft.v1.SearchRequest: is truncated or not a vecraft.v1.SearchRequest")
    }

    @Test func repeatedScalarsPackedOrNot() throws {
        let one: [UInt8] = [0x0d, 0, 0, 0x80, 0x3f]
        let packed = RandomMessage.delimited([0, 0, 0, 0x40, 0, 0, 0x40, 0x40]).withTag(0x0a)
        #expect(try VecraftV1.Vector.decode(one + packed + one).values == [1, 2, 3, 1])
        #expect(Self.fault(VecraftV1.Vector.self, RandomMessage.delimited([0, 0, 0]).withTag(0x0a)) != nil)
    }

    @Test func theArenaHasALimit() {
        // A million empty points: 2 MB on the wire, many times that decoded.
        let bytes = [UInt8](repeating: 0, count: 2_000_000).enumerated().map { $0.offset % 2 == 0 ? 0x12 : 0 as UInt8 }
        let arena = Arena(limit: 16 << 20)
        do throws(VecraftError) {
            _ = try decodeView(VecraftV1.UpsertRequest.View.self, bytes, arena)
            Issue.record("decoded within \(arena.used) bytes")
        } catch {
            #expect(error.code == .resourceExhausted)
        }
        #expect(arena.held <= 24 << 20)
        arena.reset()
        #expect(arena.held <= Arena.keptBlock)
        #expect(arena.used == 0)
    }
}

extension [UInt8] {
    func withTag(_ tag: UInt8) -> [UInt8] { [tag] + self }
}
