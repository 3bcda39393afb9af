import Primitives
import Testing

@testable import Wire

@Suite struct RoundTripTests {
    @Test(arguments: WireMessages.all.indices)
    func everyMessageSurvivesTheWire(index: Int) throws {
        func check<M: WireMessage>(_ type: M.Type, seed: UInt64) throws {
            var random = RandomMessage(seed: seed)
            let bytes = random.bytes(M.schema)
            let message = try M.decode(bytes)
            #expect(message.encode() == bytes, "\(M.schema.name), seed \(seed)")
            #expect(try M.decode(message.encode()) == message, "\(M.schema.name), seed \(seed)")
            #expect(message.encodedSize == bytes.count)
            let viewed = ArenaPool.shared.withArena { arena in
                bytes.withUnsafeBytes { raw in
                    Result { () throws(VecraftError) in try M.View.decode(raw, in: arena).encode() }
                }
            }
            #expect(try viewed.get() == bytes, "\(M.schema.name), seed \(seed)")
        }
        for seed in 0..<100 { try check(WireMessages.all[index], seed: UInt64(index * 1000 + seed)) }
    }

    @Test(arguments: WireMessages.all.indices)
    func everyMessageSurvivesJSON(index: Int) throws {
        func check<M: WireMessage>(_ type: M.Type, seed: UInt64) throws {
            var random = RandomMessage(seed: seed, forJSON: true)
            let message = try M.decode(random.bytes(M.schema))
            for includingDefaults in [false, true] {
                let json = message.json(includingDefaults: includingDefaults)
                let back = try M(json: json)
                #expect(back == message, "\(M.schema.name), seed \(seed): \(String(decoding: json, as: UTF8.self))")
            }
        }
        for seed in 0..<60 { try check(WireMessages.all[index], seed: UInt64(index * 1000 + seed)) }
    }

    @Test func everySchemaIsListedOnce() {
        let names = MessageSchema.all.map(\.name)
        #expect(Set(names).count == names.count)
        let entries = MessageSchema.all.filter { schema in
            MessageSchema.all.contains { $0.fields.contains { $0.form == .map && $0.message == schema } }
        }
        #expect(WireMessages.all.count + entries.count == names.count)
    }

    @Test func emptyBytesAreAnEmptyMessage() throws {
        #expect(try VecraftV1.SearchRequest.decode([]) == VecraftV1.SearchRequest())
        #expect(VecraftV1.SearchRequest().encode() == [])
    }

    @Test func unknownEnumValuesAreKept() throws {
        let message = VecraftV1.ReadOptions(consistency: VecraftV1.ConsistencyLevel(rawValue: 77))
        let back = try VecraftV1.ReadOptions.decode(message.encode())
        #expect(back.consistency.rawValue == 77)
        #expect(!back.consistency.isKnown)
        #expect(String(decoding: back.json(), as: UTF8.self) == #"{"consistency":77}"#)
        #expect("\(VecraftV1.ConsistencyLevel.readYourWrites)" == "read_your_writes")
    }

    @Test func unknownFieldsAreKeptByViewsAndDroppedByValues() throws {
        // Field 99, varint 5, behind count = 1.
        let bytes: [UInt8] = [0x08, 0x01, 0x98, 0x06, 0x05]
        #expect(try VecraftV1.CountResponse.decode(bytes).encode() == [0x08, 0x01])
        let arena = Arena()
        let view = try decodeView(VecraftV1.CountResponse.View.self, bytes, arena)
        #expect(view.encode() == bytes)
    }

    @Test func equalMapsHaveEqualBytes() {
        var forward = VecraftV1.Point(id: "a"), backward = VecraftV1.Point(id: "a")
        for i in 0..<10 { forward.vectors["v\(i)"] = VecraftV1.Vector(values: [Float(i)]) }
        for i in (0..<10).reversed() { backward.vectors["v\(i)"] = VecraftV1.Vector(values: [Float(i)]) }
        #expect(forward.encode() == backward.encode())
    }

    @Test func aNULInTextToSendDoesNotCutItOff() throws {
        let bytes = VecraftV1.Check(name: "a\0b", ok: true).encode()
        #expect(try VecraftV1.Check.decode(bytes).name == "a\u{fffd}b")
    }
}

/// Decodes in `arena`; the bytes may go.
func decodeView<V: WireView>(_: V.Type, _ bytes: [UInt8], _ arena: Arena) throws(VecraftError) -> V {
    let outcome = bytes.withUnsafeBytes { raw in
        Result { () throws(VecraftError) in try V.decode(raw, in: arena) }
    }
    return try outcome.get()
}
