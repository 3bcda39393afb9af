import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct SealTests {
    private func answers(_ graph: HNSWGraph, _ points: Points) -> [[Neighbour]] {
        (0..<20).map { q in
            var request = GraphSearch(query: points.base + q * 13 * points.stride, k: 8)
            request.ef = 60
            return graph.find(request).neighbours
        }
    }

    /// Sealed, a graph finds what it found while it grew, whatever its codes were and are; read back it is the same graph.
    @Test(arguments: [Quantisation.none, .int8], Metric.allCases)
    func aSealedGraphAnswersAsBefore(codes: Quantisation, metric: Metric) throws {
        let points = Points.random(count: 900, dimension: 20, metric: metric, centres: 9, seed: 71)
        let graph = points.graph(m: 6, codes: codes)
        let before = self.answers(graph, points)
        for wanted in Quantisation.allCases {
            let sealed = try graph.sealed(wanted, points)
            #expect(sealed.graph.checkInvariants() == [])
            #expect(sealed.graph.linked == 900 && sealed.graph.linkedPrefix == 900 && sealed.graph.m == 6)
            #expect(sealed.graph.reachable() == graph.reachable())
            for (found, expected) in zip(self.answers(sealed.graph, points), before) {
                #expect(Set(found.map(\.row)).intersection(expected.map(\.row)).count >= 7, "\(wanted)")
                for case let (a, b?) in found.map({ a in (a, expected.first { $0.row == a.row }) }) { #expect(a == b) }
            }
            // Again, from the sealed form: the same bytes.
            let again = sealed.graph.sealed(wanted, rowCount: 900)
            #expect(sameBytes(again, sealed.block), "\(wanted)")
        }
    }

    /// Interrupted anywhere, nothing is written; and it is asked often.
    @Test(arguments: Quantisation.allCases) func sealingCanBeInterrupted(wanted: Quantisation) {
        let count = 3_000
        // Long enough for sketches.
        let points = Points.random(count: count, dimension: 160, metric: .l2, centres: 9, seed: 78)
        let graph = points.graph(m: 4, efConstruction: 20, codes: .int8)
        var asked = 0
        var written = 0
        func serialise(endingAt end: Int) -> SealReport? {
            asked = 0
            written = 0
            return graph.serialise(
                wanted, rowCount: count,
                interrupted: {
                    asked += 1
                    return asked >= end
                }, to: { written += $0.count })
        }
        let report = serialise(endingAt: .max)
        #expect(report != nil && report!.bytes == written)
        let often = asked
        #expect(often >= (wanted == .none ? 1 : wanted == .auto ? 1_000 : 6), "asked \(often) times")
        for end in Array(1...min(often, 8)) + [often / 2, often] where end > 0 {
            #expect(serialise(endingAt: end) == nil && written == 0, "ended at \(end) of \(often)")
        }
    }

    /// Links are those of the rows, however they are numbered.
    @Test func linksSurviveTheNewNumbering() throws {
        let points = Points.random(count: 500, dimension: 12, metric: .l2, centres: 9, seed: 77)
        let graph = points.graph(m: 5, codes: .int8)
        let sealed = try graph.sealed(.int4, points).graph
        for row in 0..<UInt32(500) { #expect(sealed.linkRows(of: row, level: 0) == graph.linkRows(of: row, level: 0)) }
    }

    /// The codes of a sealed graph can be changed any number of times.
    @Test func codesCanBeChanged() throws {
        let points = Points.random(count: 600, dimension: 32, metric: .cosine, centres: 9, seed: 78)
        var sealed = try points.graph(codes: .int8).sealed(.int4, points)
        let first = sealed
        for wanted in [Quantisation.none, .int8, .int4] {
            sealed = try sealed.graph.sealed(wanted, points)
            #expect("\(sealed.graph.kind)" == wanted.rawValue && sealed.graph.checkInvariants() == [])
        }
        #expect(sameBytes(sealed.block, first.block))
    }

    /// Rows without links in the middle and at the end, and a graph without any.
    @Test func gapsSurvive() throws {
        let points = Points.random(count: 200, dimension: 8, metric: .l2, seed: 72)
        for missing in [Set(stride(from: 1, to: 200, by: 3)).union(150..<200), Set(0..<200)] {
            for codes in [Quantisation.none, .int8] {
                let graph = points.graph(m: 4, codes: codes, without: missing)
                for wanted in Quantisation.allCases {
                    let sealed = try graph.sealed(wanted, points, rowCount: 200).graph
                    #expect(sealed.linked == 200 - missing.count)
                    #expect(sealed.checkInvariants() == [])
                    for strategy in [GraphSearch.Strategy.automatic, .scan, .exact] {
                        var request = GraphSearch(query: points.base, k: 200)
                        request.strategy = strategy
                        let found = sealed.find(request).neighbours
                        #expect(
                            Set(found.map { Int($0.row) }) == Set(0..<200).subtracting(missing), "\(wanted) \(strategy)"
                        )
                    }
                }
            }
        }
    }

    /// What is measured is what is chosen: embeddings hold 4 bits, points that differ in little of what they have hold none.
    @Test func autoTakesTheCheapestThatHolds() throws {
        let soft = Points.random(count: 1500, dimension: 128, metric: .cosine, centres: 30, seed: 79)
        let report = try soft.graph(codes: .int8).sealed(.auto, soft).block.report
        #expect(report.kind == .int4 && !report.halves, "\(report.trials)")
        #expect(report.trials.count == 1 && report.trials[0].holds)

        // A long first component that all share but for its sign, and neighbours told apart by the rest.
        var rng = SeededRNG(seed: 80)
        let hard = Points(
            (0..<1500).map { row in
                rng.vector(16).enumerated().map { $0.offset == 0 ? Float(row % 2 * 40_000 - 20_000) : $0.element }
            },
            metric: .l2)
        let growing = hard.graph(codes: .auto)
        #expect(growing.kind == .none)
        let sealed = try growing.sealed(.auto, hard)
        #expect(sealed.graph.kind == .none && sealed.block.report.trials.count == 2, "\(sealed.block.report.trials)")
        #expect(sealed.block.report.trials.allSatisfy { !$0.holds })
    }

    /// float16 rows find the same and say nearly the same; rows that cannot be kept so are measured on floats.
    @Test(arguments: Metric.allCases)
    func halvesServeForRescoring(_ metric: Metric) throws {
        let points = Points.random(count: 800, dimension: 40, metric: metric, centres: 9, seed: 82)
        let graph = points.graph(codes: .int8)
        let before = self.answers(graph, points)
        for wanted in [Quantisation.int4, .int8] {
            let block = graph.sealed(wanted, rowCount: 800, rescoring: .float16)
            #expect(block.report.halves && block.report.bytes - block.report.residentBytes == 800 * 64 * 2)
            let sealed = try HNSWGraph(mapped: block.bytes, rows: points.rows, rowCount: 800, owner: block)
            for (found, expected) in zip(self.answers(sealed, points), before) {
                #expect(Set(found.map(\.row)).intersection(expected.map(\.row)).count >= 7)
                for case let (a, b?) in found.map({ a in (a, expected.first { $0.row == a.row }) }) {
                    #expect(abs(a.distance - b.distance) <= 1e-3 * (1 + abs(b.distance)))
                }
            }
        }
        let zeros = Points((0..<50).map { _ in [Float](repeating: 0, count: 8) }, metric: metric)
        #expect(!zeros.graph(codes: .int8).sealed(.int8, rescoring: .float16).report.halves)
    }

    /// An offset that all points share costs neither codes nor float16 rows anything.
    @Test(arguments: [Metric.l2, .dot])
    func anOffsetIsTakenAway(_ metric: Metric) throws {
        var rng = SeededRNG(seed: 81)
        let points = Points((0..<1500).map { _ in rng.vector(64).map { $0 + 100 } }, metric: metric)
        let growing = points.graph(codes: .auto)
        #expect(growing.kind == .int8)
        let sealed = try growing.sealed(.auto, points)
        #expect(sealed.graph.kind != .none, "\(sealed.block.report.trials)")
        var total = 0.0
        for q in 0..<30 {
            let query = points.base + q * points.stride
            var request = GraphSearch(query: query, k: 10)
            request.ef = 200
            let found = sealed.graph.find(request).neighbours.map { points.distance(query, Int($0.row)) }
            let limit = points.nearest(query, k: 10).last!.distance
            total += Double(found.filter { $0 <= limit }.count) / 10
        }
        #expect(total / 30 >= 0.95, "recall \(total / 30)")
    }

    @Test func aGraphForOtherRowsIsRefused() {
        let points = Points.random(count: 50, dimension: 8, metric: .l2, seed: 73)
        let block = points.graph(m: 4).copy(.int8)
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
        block[8] = 1
        #expect { try HNSWGraph(mapped: bytes, rows: points.rows, rowCount: 50) } throws: {
            "\($0)".contains("format 1")
        }
    }

    /// Bytes changed at random: refused, or a graph that can be searched. Never a crash, never a row that is not there.
    @Test(arguments: [Quantisation.none, .int8, .int4])
    func hostileBytesNeverCrash(_ codes: Quantisation) {
        let points = Points.random(count: 120, dimension: 8, metric: .cosine, seed: 74)
        let pristine = points.graph(m: 3).copy(codes)
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
            guard let graph = try? HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 120)
            else {
                refused += 1
                continue
            }
            let found = graph.find(GraphSearch(query: points.base, k: 10)).neighbours
            #expect(found.allSatisfy { $0.row < 120 })
        }
        #expect(refused > 1000)
    }

    /// Every link that leads nowhere, or to a node below its level, is found; so is a numbering that does not fit.
    @Test func eachBadLinkIsRefused() throws {
        let points = Points.random(count: 60, dimension: 4, metric: .l2, seed: 76)
        let block = points.graph(m: 2).copy(.none)
        defer { block.deallocate() }
        func expectRefusal(_ at: Int, _ bad: UInt32) {
            let kept = block.load(fromByteOffset: at, as: UInt32.self)
            block.storeBytes(of: bad, toByteOffset: at, as: UInt32.self)
            #expect(throws: DecodingFault.self) {
                try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 60)
            }
            block.storeBytes(of: kept, toByteOffset: at, as: UInt32.self)
        }
        // Header, a level a node, a row a node, a node a row.
        let rowOf = 64 + 64
        let nodeOf = rowOf + 256
        let links0 = nodeOf + 256
        for node in 0..<60 {
            for bad in [UInt32(node), 60, 0x7fff_ffff, 0xffff_fffe] { expectRefusal(links0 + node * 16, bad) }
            let row = block.load(fromByteOffset: rowOf + node * 4, as: UInt32.self)
            for bad in [(row + 1) % 60, 60, UInt32.max] { expectRefusal(rowOf + node * 4, bad) }
            for bad in [UInt32(60), .max] { expectRefusal(nodeOf + node * 4, bad) }
        }
        _ = try HNSWGraph(mapped: UnsafeRawBufferPointer(block), rows: points.rows, rowCount: 60)
    }
}

extension HNSWGraph {
    /// A sealed block that can be written to.
    func copy(_ codes: Quantisation) -> UnsafeMutableRawBufferPointer {
        let sealed = self.sealed(codes)
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: sealed.report.bytes, alignment: 64)
        sealed.withBytes { copy.copyMemory(from: $0) }
        return copy
    }
}

func sameBytes(_ a: SealedBlock, _ b: SealedBlock) -> Bool {
    a.withBytes { a in b.withBytes { b in a.elementsEqual(b) } }
}
