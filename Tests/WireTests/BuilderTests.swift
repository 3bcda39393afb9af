import Primitives
import Testing

@testable import Wire

@Suite struct BuilderTests {
    @Test func aSearchReplyInPlace() throws {
        let payload = Array(#"{"a":1}"#.utf8), vector: [Float] = [1, 2]
        var expected = VecraftV1.SearchResponse(
            info: .init(achieved: .strong, serverTimeUs: 9), plan: .init(strategy: "graph"))
        for i in 0..<10 {
            expected.hits.append(
                .init(
                    id: "id-\(i)", distance: Float(i), score: 1 - Float(i), version: UInt64(i),
                    payload: .init(json: payload), vector: .init(values: vector)))
        }
        let arena = Arena()
        for _ in 0..<3 {
            payload.withUnsafeBytes { payload in
                vector.withUnsafeBufferPointer { vector in
                    let reply = VecraftV1.SearchResponse.Builder(in: arena)
                    let hits = reply.hits.make(12)
                    for i in 0..<10 {
                        hits[i].id.set("id-\(i)")
                        hits[i].distance = Float(i)
                        hits[i].score = 1 - Float(i)
                        hits[i].version = UInt64(i)
                        hits[i].payload.make().json.set(borrowing: payload)
                        hits[i].vector.make().values.set(borrowing: vector)
                    }
                    reply.hits.truncate(to: 10)
                    let info = reply.info.make()
                    info.achieved = .strong
                    info.serverTimeUs = 9
                    reply.plan.make().strategy.set("graph")

                    #expect(reply.encode() == expected.encode())
                    #expect(VecraftV1.SearchResponse(reply.view) == expected)
                    var output = [UInt8](repeating: 0, count: reply.encodedSize + 5)
                    let written = output.withUnsafeMutableBytes { reply.encode(into: $0, size: reply.encodedSize) }
                    #expect(Array(output[..<written]) == expected.encode())
                    #expect(reply.view.json() == expected.json())
                }
            }
            arena.reset()
        }
    }

    @Test func everySlot() throws {
        let arena = Arena()
        let batch = VecraftInternalV1.EntryBatch.Builder(in: arena)
        let entries: [[UInt8]] = [[], [1, 2], [3]]
        let flat: [UInt8] = [1, 2, 3]
        flat.withUnsafeBytes { raw in
            let cuts = [0..<0, 0..<2, 2..<3]
            batch.entries.set(borrowing: 3) { UnsafeRawBufferPointer(rebasing: raw[cuts[$0]]) }
            #expect(VecraftInternalV1.EntryBatch(batch.view).entries == entries)
        }
        let got = VecraftV1.GetResponse.Builder(in: arena)
        got.missing.set(["a", "", "é"])
        #expect(got.view.missing.map(\.string) == ["a", "", "é"])
        #expect(got.view.missing[2].bytes.count == 2)
        got.points.make(0)
        #expect(got.view.points.isEmpty)
        let value = VecraftV1.Value.Builder(in: arena)
        value.stringValue.set("")
        #expect(VecraftV1.Value(value.view).kind == .stringValue(""))
        #expect(try VecraftV1.Value.decode(value.encode()).kind == .stringValue(""))
        value.boolValue = false
        #expect(try VecraftV1.Value.decode(value.encode()).kind == .boolValue(false))
        let point = VecraftV1.StoredPoint.Builder(in: arena)
        let named = point.vectors.make(1)[0]
        named.key.set("t")
        named.value.make().values.set([1, 2])
        #expect(VecraftV1.StoredPoint(point.view).vectors == ["t": .init(values: [1, 2])])
    }

    @Test func viewsReadInPlace() throws {
        let request = VecraftV1.UpsertRequest(
            collection: "docs",
            points: (0..<3).map {
                .init(
                    id: "p\($0)", vector: .init(values: [Float($0), 1]), vectors: ["t": .init(packed: [0, 0, 0, 0])],
                    payload: .init(json: [0x7b, 0x7d]))
            },
            wait: .applied)
        let arena = Arena()
        let view = try decodeView(VecraftV1.UpsertRequest.View.self, request.encode(), arena)
        #expect(view.collection == "docs" && !view.collection.isEmpty && view.tenant.isEmpty)
        #expect(view.wait == .applied)
        #expect(view.points.count == 3)
        for (i, point) in view.points.enumerated() {
            #expect(point.id.string == "p\(i)")
            #expect(try Array(#require(point.vector).values) == [Float(i), 1])
            // 16 bytes and more is what vector kernels want.
            #expect(try UInt(bitPattern: #require(point.vector?.values.baseAddress)) % 16 == 0)
            #expect(point.vectors[0].key == "t" && point.vectors[0].value?.packed.count == 4)
            #expect(point.payload?.json.count == 2)
        }
        let condition = VecraftV1.Condition(key: "k", test: .hasID(.init(values: ["x"])))
        let decoded = try decodeView(VecraftV1.Condition.View.self, condition.encode(), arena)
        guard case .hasID(let ids) = decoded.test else {
            Issue.record("another member")
            return
        }
        #expect(ids.values[0] == "x")
    }

    @Test func arenasAreKeptAndBounded() {
        let pool = ArenaPool(capacity: 2)
        let arenas = (0..<3).map { _ in pool.take() }
        _ = arenas[0].allocate(2 << 20)
        for arena in arenas { pool.give(arena) }
        #expect(arenas[0].used == 0 && arenas[0].held <= Arena.keptBlock)
        let again = [pool.take(), pool.take(), pool.take()]
        #expect(again.filter { taken in arenas.contains { $0 === taken } }.count == 2)
        let arena = Arena()
        for size in [0, 1, 15, 16, 17, 100_000] { #expect(UInt(bitPattern: arena.allocate(size)) % 16 == 0) }
        // A block up to the bound is kept, so the next request of its size asks for nothing.
        arena.reset()
        _ = arena.allocate(500_000)
        let held = arena.held
        arena.reset()
        _ = arena.allocate(500_000)
        #expect(arena.held <= held)
    }
}
