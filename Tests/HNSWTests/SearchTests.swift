import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct SearchTests {
    struct Case: CustomStringConvertible, Sendable {
        var metric: Metric
        var codes: Quantisation
        var centres: Int
        var description: String { "\(self.metric) \(self.codes) \(self.centres) centres" }

        static let all = Metric.allCases.flatMap { metric in
            [Quantisation.none, .int8].flatMap { codes in
                [0, 20].map { Case(metric: metric, codes: codes, centres: $0) }
            }
        }
    }

    @Test(arguments: Case.all)
    func findsWhatBruteForceFinds(_ it: Case) {
        let points = Points.random(
            count: 1000, dimension: 32, metric: it.metric, centres: it.centres, seed: 1, padding: 5)
        let queries = Points.random(count: 25, dimension: 32, metric: it.metric, centres: it.centres, seed: 101)
        let graph = points.graph(codes: it.codes)
        #expect(graph.checkInvariants() == [])
        #expect(graph.linked == 1000 && graph.linkedPrefix == 1000)
        var total = 0.0
        for q in 0..<queries.count {
            let query = queries.base + q * queries.stride
            let truth = points.nearest(query, k: 10)
            var request = GraphSearch(query: query, k: 10)
            request.ef = 100
            let (found, stats) = graph.find(request)
            total += recall(found, truth)
            #expect(found.count == 10)
            #expect(found == found.sorted { $0.distance < $1.distance })
            #expect(Set(found.map(\.row)).count == 10)
            #expect(stats.strategy == .plainWalk && stats.hops > 0 && stats.distances > stats.hops)
            // Whatever the walk measured, distances are those of the floats.
            for neighbour in found { #expect(points.nearest(query, k: 1) { $0 == Int(neighbour.row) } == [neighbour]) }
        }
        #expect(total / 25 >= 0.95, "recall \(total / 25)")
    }

    @Test(arguments: Case.all)
    func exactStrategyIsExact(_ it: Case) {
        let points = Points.random(count: 700, dimension: 17, metric: it.metric, centres: it.centres, seed: 3)
        let graph = points.graph(codes: it.codes)
        for q in 0..<20 {
            let query = points.base + q * points.stride
            var request = GraphSearch(query: query, k: 25)
            request.strategy = .exact
            #expect(graph.find(request).neighbours == points.nearest(query, k: 25))
        }
    }

    /// Walks are told apart by a number of eight bits; what was met by one must not be missed by a later one.
    @Test func aScratchServesManyWalksOverManyGraphs() {
        let graphs = [60, 700, 300].map { Points.random(count: $0, dimension: 8, metric: .l2, seed: 5) }
            .map { ($0, $0.graph(codes: .int8)) }
        let scratch = SearchScratch()
        let top = TopK(k: 10)
        for i in 0..<900 {
            let (points, graph) = graphs[i % 7 % 3]
            let request = GraphSearch(query: points.base + i % points.count * points.stride, k: 10)
            top.reset(k: 10)
            graph.search(request, scratch: scratch, into: top)
            #expect(top.neighbours() == graph.find(request).neighbours, "search \(i)")
        }
    }

    @Test(arguments: 0...3)
    func tinyGraphsAnswer(_ count: Int) {
        for codes in [Quantisation.none, .int8] {
            let points = Points.random(count: count, dimension: 8, metric: .l2, seed: 4)
            let graph = points.graph(m: 2, codes: codes)
            let query: [Float] = [1, 0, 0, 0, 0, 0, 0, 0]
            query.withUnsafeBufferPointer { query in
                for strategy in [GraphSearch.Strategy.automatic, .exact, .scan, .plainWalk, .filteredWalk] {
                    var request = GraphSearch(query: query.baseAddress!, k: 2)
                    request.strategy = strategy
                    #expect(graph.find(request).neighbours == points.nearest(query.baseAddress!, k: 2))
                }
            }
            #expect(graph.checkInvariants() == [])
        }
    }

    /// k beyond what the graph has, and beyond what a default ef would keep.
    @Test func largeKReturnsEverything() {
        let points = Points.random(count: 300, dimension: 8, metric: .cosine, seed: 5)
        let graph = points.graph()
        for k in [100, 299, 300, 301, 16_384] {
            let found = graph.find(GraphSearch(query: points.base, k: k)).neighbours
            #expect(found.count == min(k, 300))
            #expect(Set(found.map(\.row)).count == found.count)
        }
    }

    @Test(arguments: Metric.allCases)
    func equalVectorsAreAllFound(_ metric: Metric) {
        for codes in [Quantisation.none, .int8] {
            for value: Float in [0, 1] {
                let points = Points((0..<500).map { _ in [Float](repeating: value, count: 12) }, metric: metric)
                let graph = points.graph(codes: codes)
                #expect(graph.checkInvariants() == [])
                let found = graph.find(GraphSearch(query: points.base, k: 400)).neighbours
                #expect(Set(found.map(\.row)).count == 400, "\(codes) \(value)")
            }
        }
    }

    /// Many copies of a few vectors: the copies must not hide the other points.
    @Test func duplicatesDoNotHideOthers() {
        var rng = SeededRNG(seed: 6)
        let originals = (0..<200).map { _ in rng.vector(16) }
        let points = Points((0..<2000).map { originals[$0 % 200] }, metric: .l2)
        let graph = points.graph()
        #expect(graph.checkInvariants() == [])
        for original in originals {
            original.withUnsafeBufferPointer { query in
                let truth = points.nearest(query.baseAddress!, k: 10)
                #expect(recall(graph.find(GraphSearch(query: query.baseAddress!, k: 10)).neighbours, truth) == 1)
            }
        }
    }

    /// Whatever a search is doing, it asks within a bounded number of distances, and stops at the first yes.
    @Test(arguments: [Quantisation.none, .int8, .int4])
    func interruptionEndsASearchWithWhatItHas(_ codes: Quantisation) throws {
        let points = Points.random(count: 2000, dimension: 1024, metric: .cosine, seed: 7)
        let growing = points.graph(m: 8, efConstruction: 30, codes: .int8)
        let sealed = try growing.sealed(codes, points).graph
        let perCheck = HNSWGraph.distancesPerCheck(dimension: 1024)
        #expect(perCheck <= 128)
        let third = RowSet(count: 2000) { $0 % 3 != 0 }
        for strategy in [GraphSearch.Strategy.plainWalk, .filteredWalk, .exact, .scan] {
            for graph in [growing, sealed] {
                third.words.withUnsafeBufferPointer { words in
                    var request = GraphSearch(query: points.base, k: 10)
                    request.ef = 1000
                    request.strategy = strategy
                    if strategy != .plainWalk { request.allowed = words.baseAddress }
                    let top = TopK(k: 10)
                    var asked = 0
                    let whole = graph.search(request, scratch: SearchScratch(), into: top) {
                        asked += 1
                        return false
                    }
                    // Of one more than was asked for, no batch is longer; what leads to level 0 is not counted on.
                    #expect(
                        !whole.interrupted && asked >= whole.distances / (2 * perCheck) - 2, "\(strategy): \(asked)")
                    #expect(asked > 3)
                    for wanted in [1, 2, asked] {
                        top.reset(k: 10)
                        var left = wanted
                        let cut = graph.search(request, scratch: SearchScratch(), into: top) {
                            left -= 1
                            return left <= 0
                        }
                        #expect(cut.interrupted && left == 0, "\(strategy) went on after it was told to stop")
                        #expect(cut.distances <= (wanted + 2) * 2 * perCheck, "\(strategy): \(cut.distances)")
                    }
                }
            }
        }
    }

    /// Of many candidates measured again on long rows, some may be left.
    @Test func rescoringCanBeInterrupted() throws {
        let points = Points.random(count: 600, dimension: 8192, metric: .cosine, seed: 12)
        let graph = try points.graph(m: 4, efConstruction: 10, codes: .int8).sealed(.int4, points).graph
        var request = GraphSearch(query: points.base, k: 500)
        request.strategy = .scan
        let top = TopK(k: 500)
        var asked = 0
        graph.search(request, scratch: SearchScratch(), into: top) {
            asked += 1
            return false
        }
        let perCheck = HNSWGraph.distancesPerCheck(dimension: 8192)
        #expect(asked >= 600 / (2 * perCheck) + 500 / (256 + perCheck), "asked \(asked) times")
    }

    @Test func segmentsShareOneTopK() {
        let first = Points.random(count: 400, dimension: 16, metric: .l2, seed: 8)
        let second = Points.random(count: 400, dimension: 16, metric: .l2, seed: 9)
        let graphs = [first.graph(), second.graph()]
        let top = TopK(k: 12)
        for (segment, graph) in graphs.enumerated() {
            var request = GraphSearch(query: first.base, k: 12)
            request.segment = UInt32(segment)
            request.strategy = .exact
            graph.search(request, scratch: SearchScratch(), into: top)
        }
        let truth =
            (first.nearest(first.base, k: 12)
            + second.nearest(first.base, k: 12).map { Neighbour(distance: $0.distance, row: $0.row, segment: 1) })
            .sorted { $0.distance < $1.distance }.prefix(12)
        #expect(top.neighbours() == Array(truth))
        #expect(top.bound == truth.last!.distance)
    }

    @Test func theDefaultEfReachesItsRecall() {
        let points = Points.random(count: 1500, dimension: 48, metric: .cosine, centres: 30, seed: 10)
        let queries = Points.random(count: 30, dimension: 48, metric: .cosine, centres: 30, seed: 10)
        for codes in [Quantisation.none, .int8] {
            let graph = points.graph(codes: codes)
            for k in [1, 10, 100] {
                let total = (0..<30).reduce(0.0) { sum, q in
                    let query = queries.base + q * queries.stride
                    return sum
                        + recall(graph.find(GraphSearch(query: query, k: k)).neighbours, points.nearest(query, k: k))
                }
                #expect(total / 30 >= 0.95, "\(codes) k \(k): \(total / 30)")
            }
        }
    }
}
