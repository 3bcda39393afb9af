import HNSW
import Primitives
import TestTraits
import Testing

/// Rows that wait for their links are found by scanning.
@Suite(.ownThreads) struct WaitingTests {
    /// Half of the rows linked, the others only given codes: together they answer as one scan of all on floats.
    @Test(arguments: SearchTests.Case.all) func waitingRowsAreFoundAsByFloats(_ it: SearchTests.Case) {
        let points = Points.random(
            count: 1200, dimension: 40, metric: it.metric, centres: it.centres, seed: 21, padding: 8)
        let queries = Points.random(count: 20, dimension: 40, metric: it.metric, centres: it.centres, seed: 121)
        let graph = points.graph(codes: it.codes, without: Set(600..<1200))
        #expect(graph.codedRows == (graph.kind == .none ? .max : 0))
        graph.encode(below: 900)
        graph.encode(below: 700)
        #expect(graph.codedRows == (graph.kind == .none ? .max : 900))
        graph.encode(below: 1200)
        let scratch = SearchScratch()
        let top = TopK()
        var deleted = [UInt64](repeating: 0, count: 19)
        for row in stride(from: 3, to: 1200, by: 7) { deleted[row / 64] |= 1 << UInt64(row % 64) }
        for q in 0..<queries.count {
            let query = queries.base + q * queries.stride
            for k in [1, 10, 200, 700] {
                var request = GraphSearch(query: query, k: k)
                request.segment = 3
                top.reset(k: k)
                let stats = deleted.withUnsafeBufferPointer { deleted in
                    request.deleted = deleted.baseAddress
                    return graph.scanWaiting(request, range: 600..<1200, scratch: scratch, into: top)
                }
                let truth = points.nearest(query, k: k) { $0 >= 600 && ($0 - 3) % 7 != 0 }
                let found = top.neighbours()
                #expect(found.count == truth.count && !stats.interrupted)
                #expect(found.map(\.distance) == truth.map(\.distance), "\(k) nearest of query \(q)")
                #expect(found.allSatisfy { $0.segment == 3 })
            }
        }
    }

    /// Codes given ahead are those that linking gives.
    @Test func rowsLinkedAfterTheyWereCodedAreTheSameGraph() {
        let points = Points.random(count: 500, dimension: 24, metric: .cosine, centres: 5, seed: 22)
        let plain = points.graph(codes: .int8)
        let ahead = points.emptyGraph(codes: .int8)
        ahead.encode(below: 500)
        let scratch = SearchScratch()
        for row in 0..<500 { ahead.insert(row: UInt32(row), level: Points.level(of: row, m: 16), scratch: scratch) }
        #expect(ahead.checkInvariants() == [])
        for q in 0..<10 {
            let query = points.base + q * points.stride
            #expect(
                ahead.find(GraphSearch(query: query, k: 10)).neighbours
                    == plain.find(GraphSearch(query: query, k: 10)).neighbours)
        }
    }

    @Test func aScanOfWaitingRowsStopsWhenToldTo() {
        let points = Points.random(count: 40_000, dimension: 64, metric: .l2, seed: 23)
        let graph = points.emptyGraph(codes: .int8)
        graph.encode(below: 40_000)
        let top = TopK()
        top.reset(k: 10)
        var asked = 0
        let stats = graph.scanWaiting(
            GraphSearch(query: points.base, k: 10), range: 0..<40_000, scratch: SearchScratch(), into: top
        ) {
            asked += 1
            return asked == 3
        }
        #expect(stats.interrupted && asked == 3)
        #expect(stats.distances <= 4 * HNSWGraph.distancesPerCheck(dimension: 64))
    }
}
