import Foundation
import HNSW
import Primitives
import Synchronization
import TestTraits
import Testing

@Suite(.ownThreads) struct BuildTests {
    @Test(arguments: [Quantisation.none, .int8])
    func oneThreadBuildsTheSameGraphTwice(_ codes: Quantisation) {
        let points = Points.random(count: 800, dimension: 20, metric: .cosine, centres: 10, seed: 61)
        let blocks = (0..<2).map { _ in points.graph(codes: codes).sealed(.int4) }
        #expect(sameBytes(blocks[0], blocks[1]))
    }

    @Test(arguments: [2, 3, 5, 16, 48])
    func everyDegreeIsSound(_ m: Int) {
        let points = Points.random(count: 700, dimension: 10, metric: .l2, centres: 20, seed: 62)
        for codes in [Quantisation.none, .int8] {
            let graph = points.graph(m: m, efConstruction: 40, codes: codes)
            #expect(graph.checkInvariants() == [])
            #expect(graph.reachable() >= (m == 2 ? 630 : 695), "\(graph.reachable()) of 700 reachable")
        }
    }

    @Test func levelsFollowTheirDistribution() {
        var rng = SeededRNG(seed: 63)
        for m in [2, 5, 16, 64] {
            var above = [Int](repeating: 0, count: 17)
            for _ in 0..<100_000 {
                let level = HNSWGraph.level(hash: rng.next(), m: m)
                for l in 0...level { above[l] += 1 }
            }
            #expect(above[0] == 100_000 && above[16] == 0)
            for l in 1...2 {
                let expected = 100_000 / pow(Double(m), Double(l))
                #expect(abs(Double(above[l]) - expected) < 5 * expected.squareRoot() + 5, "m \(m) level \(l)")
            }
        }
        #expect(HNSWGraph.level(hash: 0, m: 16) == 15 && HNSWGraph.level(hash: .max, m: 16) == 0)
    }

    /// Ids that all hash to high levels fill the arena for upper lists; the graph goes on without.
    @Test func hostileLevelsDoNotBreakTheGraph() {
        let points = Points.random(count: 800, dimension: 8, metric: .l2, seed: 64)
        let graph = points.emptyGraph(m: 4, efConstruction: 30)
        let scratch = SearchScratch()
        for row in 0..<UInt32(800) { graph.insert(row: row, level: 15, scratch: scratch) }
        #expect(graph.checkInvariants() == [])
        let found = graph.find(GraphSearch(query: points.base, k: 10)).neighbours
        #expect(recall(found, points.nearest(points.base, k: 10)) >= 0.9)
    }

    /// Several threads insert and several search, without a common lock; the graph is sound at the end and answers all along.
    @Test(arguments: [Quantisation.none, .int8])
    func manyInsertWhileManySearch(_ codes: Quantisation) {
        let points = Points.random(count: 2500, dimension: 16, metric: .cosine, centres: 25, seed: 65)
        let graph = points.emptyGraph(codes: codes)
        let next = Atomic<Int>(0)
        let wrong = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 6) { worker in
            let scratch = SearchScratch()
            if worker < 4 {
                while true {
                    let row = next.add(1, ordering: .relaxed).oldValue
                    if row >= points.count { return }
                    graph.insert(row: UInt32(row), level: Points.level(of: row, m: 16), scratch: scratch)
                }
            }
            let top = TopK(k: 5)
            var turn = worker
            while graph.linked < points.count {
                let before = Int(graph.linkedPrefix)
                turn = (turn + 1) % points.count
                top.reset(k: 5)
                graph.search(GraphSearch(query: points.base + turn * points.stride, k: 5), scratch: scratch, into: top)
                let found = top.neighbours()
                let rows = Set(found.map(\.row))
                if found.count < min(5, before) || rows.count != found.count
                    || rows.contains(where: { $0 >= points.count })
                {
                    wrong.withLock { $0.append("\(found) with \(before) linked") }
                }
            }
        }
        #expect(wrong.withLock { $0 } == [])
        #expect(graph.linked == points.count && graph.linkedPrefix == points.count)
        #expect(graph.checkInvariants() == [])
        var total = 0.0
        for q in 0..<50 {
            let query = points.base + q * 31 * points.stride
            total += recall(graph.find(GraphSearch(query: query, k: 10)).neighbours, points.nearest(query, k: 10))
        }
        #expect(total / 50 >= 0.95, "recall \(total / 50)")
    }
}
