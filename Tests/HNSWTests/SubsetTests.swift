import Dispatch
import HNSW
import Primitives
import Synchronization
import TestTraits
import Testing

/// Graphs over the rows that a filter matches.
@Suite(.ownThreads) struct SubsetTests {
    static let points = Points.random(count: 6_000, dimension: 24, metric: .cosine, centres: 40, seed: 61)
    static let queries = Points.random(count: 30, dimension: 24, metric: .cosine, centres: 40, seed: 61)
    static let growing = points.graph(codes: .int8)

    struct Case: CustomStringConvertible, Sendable {
        var codes: Quantisation
        var share: Double
        var deleted: Double
        var description: String { "\(self.codes), \(self.share) of the rows, \(self.deleted) of those deleted" }
        static let all = [Quantisation.none, .int8, .int4].flatMap { codes in
            [0.5, 0.1, 0.004].flatMap { share in [0, 0.1, 0.97].map { Case(codes: codes, share: share, deleted: $0) } }
        }
    }

    private static func subset(_ rows: [UInt32], of graph: HNSWGraph) -> SubsetGraph {
        let build = SubsetBuild(rows, of: graph)
        let scratch = SearchScratch()
        var linked = 0
        var ends = 0
        while linked < build.count {
            let (some, isLast) = build.link(100, scratch: scratch)
            linked += some
            ends += isLast ? 1 : 0
        }
        #expect(linked == rows.count && ends == 1)
        #expect(build.link(100, scratch: scratch) == (0, false))
        return build.finish()
    }

    private static func find(
        _ graph: SubsetGraph, over rows: [UInt32], _ request: GraphSearch, live: Int
    ) -> [Neighbour] {
        let top = TopK(k: request.k)
        let members = Set(rows)
        RowSet(count: points.count) { members.contains(UInt32($0)) }.words.withUnsafeBufferPointer { words in
            var request = request
            request.allowed = words.baseAddress
            graph.search(request, live: live, scratch: SearchScratch(), into: top)
        }
        return top.neighbours()
    }

    /// Matches drawn one by one, those around the query and those far from it: as many as there are, and the right ones.
    @Test(arguments: Case.all) func findsTheNearestMatches(_ it: Case) throws {
        let points = Self.points
        let sealed = try Self.growing.sealed(it.codes, points).graph
        var rng = SeededRNG(seed: 62)
        for pattern in ["random", "near", "far"] {
            var total = 0.0
            for q in 0..<(pattern == "random" ? Self.queries.count : 6) {
                let query = Self.queries.base + q * Self.queries.stride
                let order = points.nearest(query, k: points.count).map(\.row)
                let most = Int(Double(points.count) * it.share)
                let rows: [UInt32] =
                    switch pattern {
                    case "near": Array(order[..<most])
                    case "far": order[(points.count / 2)...].shuffled(using: &rng).prefix(most).map { $0 }
                    default: order.shuffled(using: &rng).prefix(most).map { $0 }
                    }
                let graph = Self.subset(rows.sorted(), of: sealed)
                #expect(graph.count == rows.count && graph.checkInvariants() == [])
                let members = Set(rows)
                let deleted = RowSet(count: points.count) { _ in Double.random(in: 0..<1, using: &rng) < it.deleted }
                let live = rows.filter { !deleted.rows.contains(Int($0)) }.count
                let truth = points.nearest(query, k: 10) { members.contains(UInt32($0)) && !deleted.rows.contains($0) }
                let found = deleted.words.withUnsafeBufferPointer { words in
                    var request = GraphSearch(query: query, k: 10)
                    request.deleted = words.baseAddress
                    request.segment = 3
                    return Self.find(graph, over: rows, request, live: live)
                }
                #expect(found.count == min(10, live))
                #expect(Set(found.map(\.row)).count == found.count)
                for hit in found {
                    #expect(members.contains(hit.row) && !deleted.rows.contains(Int(hit.row)) && hit.segment == 3)
                    #expect(abs(hit.distance - points.distance(query, Int(hit.row))) < 1e-5)
                }
                total += points.recall(found, truth, query) / (pattern == "random" ? Double(Self.queries.count) : 6)
            }
            // Half a byte a component is too little for these few dimensions, as `auto` would find.
            #expect(total >= (it.codes == .int4 ? 0.88 : 0.95), "recall \(total), \(pattern)")
        }
    }

    /// By a walk alone, with few candidates: no worse than the graph of everything with as many.
    @Test func aWalkFindsWhatTheWholeGraphWould() throws {
        let points = Self.points
        let sealed = try Self.growing.sealed(.int8, points).graph
        let rows = (0..<UInt32(points.count)).filter { $0 % 3 == 0 }
        let graph = Self.subset(rows, of: sealed)
        var whole = 0.0
        var part = 0.0
        for q in 0..<Self.queries.count {
            var request = GraphSearch(query: Self.queries.base + q * Self.queries.stride, k: 10)
            request.ef = 20
            request.strategy = .plainWalk
            let truth = points.nearest(request.query, k: 10)
            whole += points.recall(sealed.find(request).neighbours, truth, request.query)
            let among = points.nearest(request.query, k: 10) { $0 % 3 == 0 }
            part += points.recall(Self.find(graph, over: rows, request, live: graph.count), among, request.query)
        }
        #expect(part >= whole - 0.02 * Double(Self.queries.count), "\(part) and \(whole) of \(Self.queries.count)")
    }

    /// More results than candidates, more than there are rows, and one row alone.
    @Test func allAreFoundWhenAllAreWanted() throws {
        let sealed = try Self.growing.sealed(.int4, Self.points).graph
        for rows in [[UInt32(17)], (0..<64).map { UInt32($0 * 7) }, (0..<900).map { UInt32($0) }] {
            let graph = Self.subset(rows, of: sealed)
            for k in [1, 10, rows.count, rows.count + 50] {
                let found = Self.find(
                    graph, over: rows, GraphSearch(query: Self.points.base, k: k), live: rows.count)
                #expect(found.count == min(k, rows.count))
                #expect(Set(found.map(\.row)).isSubset(of: Set(rows)))
            }
            #expect(Self.find(graph, over: rows, GraphSearch(query: Self.points.base, k: 3), live: 0) == [])
        }
    }

    @Test(arguments: [Quantisation.none, .int8, .int4]) func theFootprintHolds(codes: Quantisation) throws {
        let sealed = try Self.growing.sealed(codes, Self.points).graph
        let graph = Self.subset((0..<4_000).map { UInt32($0) }, of: sealed)
        let expected = SubsetGraph.expectedBytes(count: 4_000, of: sealed)
        #expect(abs(graph.bytes - expected) <= expected / 10, "\(graph.bytes) bytes, not \(expected)")
    }

    /// Threads that link at once share the rows, and one of them is told that the last was linked.
    @Test func threadsLinkTogether() throws {
        let sealed = try Self.growing.sealed(.int8, Self.points).graph
        let build = SubsetBuild((0..<3_000).map { UInt32($0 * 2) }, of: sealed)
        let ends = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 3) { _ in
            let scratch = SearchScratch()
            while true {
                let (linked, isLast) = build.link(32, scratch: scratch)
                if isLast { ends.add(1, ordering: .relaxed) }
                if linked == 0 { return }
            }
        }
        #expect(ends.load(ordering: .relaxed) == 1)
        let graph = build.finish()
        #expect(graph.count == 3_000 && graph.checkInvariants() == [])
    }
}

/// Queries that lie apart from all rows: the codes of a scan do not tell the nearest, and floats of few more rows do.
@Suite(.ownThreads) struct ApartTests {
    @Test(arguments: [Quantisation.int8, .int4], [Metric.cosine, .l2]) func scansAreRightAllTheSame(
        codes: Quantisation, metric: Metric
    ) throws {
        let points = Points.random(count: 4_000, dimension: 64, metric: metric, centres: 20, seed: 63)
        let graph = try points.graph(codes: .int8).sealed(codes, points).graph
        let queries = Points.random(count: 20, dimension: 64, metric: metric, seed: 64)
        var total = 0.0
        var fewest = Int.max
        for q in 0..<queries.count {
            let query = queries.base + q * queries.stride
            let far = Set(points.nearest(query, k: points.count)[2_000...].map(\.row))
            let allowed = RowSet(count: points.count) { far.contains(UInt32($0)) }
            let (found, stats) = allowed.words.withUnsafeBufferPointer { words in
                var request = GraphSearch(query: query, k: 10)
                request.allowed = words.baseAddress
                request.strategy = .scan
                return graph.find(request)
            }
            total += points.recall(found, points.nearest(query, k: 10) { far.contains(UInt32($0)) }, query)
            fewest = min(fewest, stats.distances)
        }
        #expect(total >= 0.99 * 20, "recall \(total / 20)")
        // Not all of them on floats as well.
        #expect(fewest < 3_900)
    }
}
