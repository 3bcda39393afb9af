import HNSW
import Primitives
import Testing

@Suite struct SerialiseTests {
    private func answers(_ graph: HNSWGraph, _ points: Points) -> [[Neighbour]] {
        (0..<20).map { graph.find(GraphSearch(query: points.base + $0 * 13 * points.stride, k: 8)).neighbours }
    }

    @Test(arguments: [HNSWGraph.Store.float32, .int8], Metric.allCases)
    func aMappedGraphAnswersAsBefore(store: HNSWGraph.Store, metric: Metric) throws {
        let points = Points.random(count: 900, dimension: 20, metric: metric, centres: 9, seed: 71)
        let graph = points.graph(m: 6, store: store)
        let block = graph.block()
        defer { block.deallocate() }
        let mapped = try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 900)
        #expect(mapped.checkInvariants() == [])
        #expect(mapped.linked == 900 && mapped.linkedPrefix == 900 && mapped.m == 6 && mapped.store == store)
        #expect(self.answers(mapped, points) == self.answers(graph, points))
        let again = mapped.block()
        defer { again.deallocate() }
        #expect(again.elementsEqual(block))
    }

    /// Rows without links in the middle and at the end, and a graph without any.
    @Test func gapsSurvive() throws {
        let points = Points.random(count: 200, dimension: 8, metric: .l2, seed: 72)
        for missing in [Set(stride(from: 1, to: 200, by: 3)).union(150..<200), Set(0..<200)] {
            for store in [HNSWGraph.Store.float32, .int8] {
                let graph = points.graph(m: 4, store: store, without: missing)
                let block = graph.block(rowCount: 200)
                defer { block.deallocate() }
                let mapped = try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 200)
                #expect(mapped.linked == 200 - missing.count)
                #expect(mapped.checkInvariants() == [])
                let found = mapped.find(GraphSearch(query: points.base, k: 200)).neighbours
                #expect(Set(found.map { Int($0.row) }) == Set(0..<200).subtracting(missing))
            }
        }
    }

    @Test func aGraphForOtherRowsIsRefused() {
        let points = Points.random(count: 50, dimension: 8, metric: .l2, seed: 73)
        let block = points.graph(m: 4).block()
        defer { block.deallocate() }
        let bytes = UnsafeRawBufferPointer(block)
        #expect(throws: DecodingFault.self) { try HNSWGraph(mapped: bytes, rows: points.rows, rowCount: 49) }
        let other = Points.random(count: 50, dimension: 8, metric: .cosine, seed: 73)
        #expect(throws: DecodingFault.self) { try HNSWGraph(mapped: bytes, rows: other.rows, rowCount: 50) }
        let narrow = Points.random(count: 50, dimension: 7, metric: .l2, seed: 73)
        #expect(throws: DecodingFault.self) { try HNSWGraph(mapped: bytes, rows: narrow.rows, rowCount: 50) }
        for count in [0, 10, 63, 64, 500, bytes.count - 64] {
            let cut = UnsafeRawBufferPointer(rebasing: bytes[..<count])
            #expect(throws: DecodingFault.self) { try HNSWGraph(mapped: cut, rows: points.rows, rowCount: 50) }
        }
        block[8] = 2
        #expect { try HNSWGraph(mapped: bytes, rows: points.rows, rowCount: 50) } throws: {
            "\($0)".contains("format 2")
        }
    }

    /// Bytes changed at random: refused, or a graph that can be searched. Never a crash, never a row that is not there.
    @Test(arguments: [HNSWGraph.Store.float32, .int8])
    func hostileBytesNeverCrash(_ store: HNSWGraph.Store) {
        let points = Points.random(count: 120, dimension: 8, metric: .cosine, seed: 74)
        let pristine = points.graph(m: 3, store: store).block()
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: pristine.count, alignment: 64)
        defer {
            pristine.deallocate()
            block.deallocate()
        }
        var rng = SeededRNG(seed: 75)
        var refused = 0
        for _ in 0..<4000 {
            block.copyMemory(from: UnsafeRawBufferPointer(pristine))
            for _ in 0..<Int.random(in: 1...4, using: &rng) {
                // Half of the changes in the header, where they reach furthest.
                let end = Bool.random(using: &rng) ? 64 : block.count
                let at = Int.random(in: 0..<end, using: &rng)
                block[at] = Bool.random(using: &rng) ? UInt8.random(in: 0...255, using: &rng) : block[at] ^ 1
            }
            guard let graph = try? HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 120) else {
                refused += 1
                continue
            }
            let found = graph.find(GraphSearch(query: points.base, k: 10)).neighbours
            #expect(found.allSatisfy { $0.row < 120 })
        }
        #expect(refused > 1000)
    }

    /// Every link that leads nowhere, or to a row below its level, is found.
    @Test func eachBadLinkIsRefused() throws {
        let points = Points.random(count: 60, dimension: 4, metric: .l2, seed: 76)
        let graph = points.graph(m: 2)
        let block = graph.block()
        defer { block.deallocate() }
        let links0 = 64 + 64  // header, then a level a row
        for row in 0..<60 {
            let at = links0 + row * 16
            let kept = block.load(fromByteOffset: at, as: UInt32.self)
            for bad in [UInt32(row), 60, 0x7fff_ffff, 0xffff_fffe] {
                block.storeBytes(of: bad, toByteOffset: at, as: UInt32.self)
                #expect(throws: DecodingFault.self) {
                    try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 60)
                }
            }
            block.storeBytes(of: kept, toByteOffset: at, as: UInt32.self)
        }
        _ = try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 60)
    }
}
