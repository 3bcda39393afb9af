import HNSW
import Primitives
import TestTraits
import Testing

/// A merged graph that begins with the links of its largest part.
@Suite(.ownThreads) struct ReuseTests {
    struct Case: CustomStringConvertible, Sendable {
        var metric: Metric
        var codes: Quantisation
        /// Of a hundred points of the old graph, those that are gone.
        var gone: Int
        /// The old graph is sealed, in nodes of its own.
        var sealed: Bool
        var description: String {
            "\(self.metric) \(self.codes), \(self.gone) % gone, \(self.sealed ? "sealed" : "growing")"
        }

        static let all = [0, 5, 25, 40].flatMap { gone in
            [
                Case(metric: .cosine, codes: .int8, gone: gone, sealed: true),
                Case(metric: .l2, codes: .none, gone: gone, sealed: false),
            ]
        }
    }

    /// Half of the points are taken over, half are inserted behind them: recall is that of a graph built afresh.
    @Test(arguments: Case.all) func recallIsThatOfAFreshGraph(_ it: Case) throws {
        let half = 2000
        let old = Points.random(count: half, dimension: 32, metric: it.metric, centres: 25, seed: 61)
        let kept = (0..<half).filter { ($0 * 37) % 100 >= it.gone }
        var newRows = [UInt32](repeating: .max, count: half)
        for (row, from) in kept.enumerated() { newRows[from] = UInt32(row) }
        let more = Points.random(count: half, dimension: 32, metric: it.metric, centres: 25, seed: 61)
        var rng = SeededRNG(seed: 62)
        func vector(_ points: Points, _ row: Int) -> [Float] {
            Array(UnsafeBufferPointer(start: points.base + row * points.stride, count: points.dimension))
        }
        let merged = Points(
            kept.map { vector(old, $0) }
                + (0..<half).map { row in zip(vector(more, row), rng.vector(32)).map { $0 + 0.2 * $1 } },
            metric: it.metric)

        let oldGraph = old.graph(codes: it.codes)
        let source = it.sealed ? try oldGraph.sealed(.int4, old).graph : oldGraph
        let graph = merged.emptyGraph(codes: it.codes)
        let scratch = SearchScratch()
        graph.adopt(source, newRows: newRows, scratch: scratch)
        #expect(graph.checkInvariants() == [])
        #expect(graph.linked == kept.count && Int(graph.linkedPrefix) == kept.count)
        for row in kept.count..<merged.count {
            graph.insert(row: UInt32(row), level: Points.level(of: row, m: 16), scratch: scratch)
        }
        #expect(graph.checkInvariants() == [])
        #expect(graph.reachable() >= merged.count - merged.count / 1000, "\(graph.reachable()) of \(merged.count)")

        let fresh = merged.graph(codes: it.codes)
        var (found, best) = (0.0, 0.0)
        let queries = Points.random(count: 200, dimension: 32, metric: it.metric, centres: 25, seed: 61)
        for q in 0..<queries.count {
            let query = queries.base + q * queries.stride
            let truth = merged.nearest(query, k: 10)
            var request = GraphSearch(query: query, k: 10)
            request.ef = 24
            found += merged.recall(graph.find(request).neighbours, truth, query)
            best += merged.recall(fresh.find(request).neighbours, truth, query)
        }
        #expect(found >= best - 0.5, "recall \(found / 200), afresh \(best / 200)")
    }

    @Test func nothingLeftIsAnEmptyGraph() {
        let points = Points.random(count: 50, dimension: 8, metric: .l2, seed: 63)
        let graph = points.emptyGraph()
        graph.adopt(points.graph(), newRows: [UInt32](repeating: .max, count: 50), scratch: SearchScratch())
        #expect(graph.linked == 0 && graph.checkInvariants() == [])
        graph.insert(row: 0, level: 0, scratch: SearchScratch())
        #expect(graph.linked == 1)
    }
}
