import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct ChurnTests {
    /// Ten rounds in which a fifth of the points are replaced, in place and through sealing: recall stays that of a graph
    /// built afresh from the points that are left.
    @Test(arguments: [Quantisation.none, .int8])
    func replacingPointsKeepsRecall(_ codes: Quantisation) throws {
        let count = 1500
        let rounds = 10
        let replaced = count / 5
        // Later points come from elsewhere: the second half of the centres is drawn from more and more.
        let all = Points.random(
            count: count + rounds * replaced, dimension: 24, metric: .cosine, centres: 40, seed: 95)
        let graph = all.emptyGraph(codes: codes)
        let scratch = SearchScratch()
        var rng = SeededRNG(seed: 96)
        var live = Array(0..<count)
        for row in 0..<count { graph.insert(row: UInt32(row), level: Points.level(of: row, m: 16), scratch: scratch) }
        for round in 0..<rounds {
            live.shuffle(using: &rng)
            live.removeLast(replaced)
            for row in count + round * replaced..<count + (round + 1) * replaced {
                graph.insert(row: UInt32(row), level: Points.level(of: row, m: 16), scratch: scratch)
                live.append(row)
            }
        }
        #expect(graph.checkInvariants() == [])
        let gone = Set(0..<all.count).subtracting(live)
        let deleted = RowSet(count: all.count) { gone.contains($0) }
        let fresh = all.graph(codes: codes, without: gone)
        let churned = try [graph, graph.sealed(.int8, all).graph, graph.sealed(.int4, all).graph]
        let best = self.recall(fresh, all, deleted)
        for graph in churned {
            let recall = self.recall(graph, all, deleted)
            #expect(recall >= best - 0.01, "\(recall) after churn, \(best) afresh, codes \(graph.kind)")
        }
    }

    private func recall(_ graph: HNSWGraph, _ points: Points, _ deleted: RowSet) -> Double {
        let queries = Points.random(count: 100, dimension: 24, metric: .cosine, centres: 40, seed: 95)
        let total = (0..<queries.count).reduce(0.0) { sum, q in
            let query = queries.base + q * queries.stride
            let truth = points.nearest(query, k: 10) { !deleted.rows.contains($0) }
            let found = deleted.words.withUnsafeBufferPointer { words in
                var request = GraphSearch(query: query, k: 10)
                request.ef = 32
                request.deleted = words.baseAddress
                return graph.find(request).neighbours
            }
            return sum + points.recall(found, truth, query)
        }
        return total / Double(queries.count)
    }
}
