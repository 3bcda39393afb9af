import HNSW
import Primitives
import TestTraits
import Testing

@Suite(.ownThreads) struct FilterTests {
    struct Case: CustomStringConvertible, Sendable {
        var share: Double
        var strategy: GraphSearch.Strategy
        var form: Form
        /// Rows of some clusters rather than rows drawn one by one: nearness says something about the filter.
        var correlated: Bool
        var description: String {
            "\(self.share) \(self.strategy) \(self.form) \(self.correlated ? "clusters" : "random")"
        }

        static let all = [0.5, 0.1, 0.01, 0.001].flatMap { share in
            [GraphSearch.Strategy.automatic, .plainWalk, .filteredWalk, .scan].flatMap { strategy in
                Form.allCases.flatMap { form in
                    [false, true].map { Case(share: share, strategy: strategy, form: form, correlated: $0) }
                }
            }
        }
    }

    static let points = Points.random(count: 3000, dimension: 16, metric: .cosine, centres: 30, seed: 51)
    static let queries = Points.random(count: 20, dimension: 16, metric: .cosine, centres: 30, seed: 51)
    enum Form: CaseIterable, Sendable { case growing, growingInt8, sealed, sealedInt8, sealedInt4 }
    static let growing = points.graph(codes: .int8)
    static let sealed = [Quantisation.none, .int8, .int4].map { try? growing.sealed($0, points) }
    static let graphs: [Form: HNSWGraph?] = [
        .growing: points.graph(), .growingInt8: growing, .sealed: sealed[0]?.graph, .sealedInt8: sealed[1]?.graph,
        .sealedInt4: sealed[2]?.graph,
    ]

    static func allowed(_ it: Case) -> RowSet {
        var rng = SeededRNG(seed: 52)
        if !it.correlated {
            return RowSet(count: points.count) { _ in Double.random(in: 0..<1, using: &rng) < it.share }
        }
        // The rows nearest to one vector.
        let near = points.nearest(points.base, k: max(1, Int(Double(points.count) * it.share))).map { Int($0.row) }
        let set = Set(near)
        return RowSet(count: points.count) { set.contains($0) }
    }

    @Test(arguments: Case.all)
    func filteredSearchesFindKAndTheRightOnes(_ it: Case) throws {
        let graph = try #require(Self.graphs[it.form] ?? nil)
        let allowed = Self.allowed(it)
        var total = 0.0
        for q in 0..<Self.queries.count {
            let query = Self.queries.base + q * Self.queries.stride
            let truth = Self.points.nearest(query, k: 10) { allowed.rows.contains($0) }
            let found = allowed.words.withUnsafeBufferPointer { words in
                var request = GraphSearch(query: query, k: 10)
                request.allowed = words.baseAddress
                request.strategy = it.strategy
                return graph.find(request).neighbours
            }
            #expect(found.count == min(10, allowed.rows.count))
            #expect(found.allSatisfy { allowed.rows.contains(Int($0.row)) })
            #expect(Set(found.map(\.row)).count == found.count)
            total += Self.points.recall(found, truth, query)
        }
        // A walk asked for by name far from its purpose finds k; that it finds the nearest is asked of the plan.
        let recall = total / Double(Self.queries.count)
        if it.strategy == .automatic || it.strategy == .scan { #expect(recall >= 0.95, "recall \(recall)") }
    }

    @Test(arguments: Form.allCases)
    func nothingAllowedFindsNothing(_ form: Form) throws {
        let graph = try #require(Self.graphs[form] ?? nil)
        let none = RowSet(count: Self.points.count)
        none.words.withUnsafeBufferPointer { words in
            var request = GraphSearch(query: Self.points.base, k: 10)
            request.allowed = words.baseAddress
            #expect(graph.find(request).neighbours == [])
        }
    }

    /// Deleted rows are walked through and never returned, though they be the nearest.
    @Test(arguments: [0.05, 0.3, 0.9, 0.995], Form.allCases)
    func deletedRowsAreNotReturned(share: Double, form: Form) throws {
        let graph = try #require(Self.graphs[form] ?? nil)
        var rng = SeededRNG(seed: 53)
        let deleted = RowSet(count: Self.points.count) { _ in Double.random(in: 0..<1, using: &rng) < share }
        var total = 0.0
        for q in 0..<30 {
            let query = Self.points.base + q * Self.points.stride
            let truth = Self.points.nearest(query, k: 10) { !deleted.rows.contains($0) }
            let found = deleted.words.withUnsafeBufferPointer { words in
                var request = GraphSearch(query: query, k: 10)
                request.deleted = words.baseAddress
                return graph.find(request).neighbours
            }
            #expect(found.count == truth.count)
            #expect(!found.contains { deleted.rows.contains(Int($0.row)) })
            total += Self.points.recall(found, truth, query)
        }
        #expect(total / 30 >= 0.95, "recall \(total / 30)")
    }

    /// Filter, deletes and row limit together.
    @Test func restrictionsAddUp() throws {
        let graph = try #require(Self.graphs[.growing] ?? nil)
        let even = RowSet(count: Self.points.count) { $0 % 2 == 0 }
        let third = RowSet(count: Self.points.count) { $0 % 3 == 0 }
        even.words.withUnsafeBufferPointer { allowed in
            third.words.withUnsafeBufferPointer { deleted in
                for limit in [1, 63, 64, 65, 1000, 2999, 3000, 5000] {
                    var request = GraphSearch(query: Self.points.base, k: 20)
                    request.allowed = allowed.baseAddress
                    request.deleted = deleted.baseAddress
                    request.rowLimit = UInt32(limit)
                    let truth = Self.points.nearest(Self.points.base, k: 20) {
                        $0 % 2 == 0 && $0 % 3 != 0 && $0 < limit
                    }
                    let found = graph.find(request).neighbours
                    #expect(found.count == truth.count)
                    #expect(recall(found, truth) >= 0.9)
                    #expect(found.allSatisfy { $0.row % 2 == 0 && $0.row % 3 != 0 && $0.row < limit })
                }
            }
        }
    }

    /// A bitmap says what exists; rows that are not linked yet are the caller's to scan.
    @Test func rowsThatAreNotLinkedAreNotReturned() {
        let points = Points.random(count: 300, dimension: 8, metric: .l2, seed: 54)
        let missing = Set(stride(from: 0, to: 300, by: 7))
        let graph = points.graph(without: missing)
        #expect(graph.linked == 300 - missing.count && graph.linkedPrefix == 0)
        for row in missing { graph.skip(row: UInt32(row)) }
        #expect(graph.linkedPrefix == 300)
        for strategy in [GraphSearch.Strategy.automatic, .exact, .scan, .plainWalk] {
            var request = GraphSearch(query: points.base, k: 300)
            request.strategy = strategy
            #expect(graph.find(request).neighbours.count == 300 - missing.count)
        }
        let all = RowSet(count: 300) { _ in true }
        all.words.withUnsafeBufferPointer { words in
            var request = GraphSearch(query: points.base, k: 10)
            request.allowed = words.baseAddress
            #expect(graph.find(request).neighbours == points.nearest(points.base, k: 10) { !missing.contains($0) })
        }
    }
}
