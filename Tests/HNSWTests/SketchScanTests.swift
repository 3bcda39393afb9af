import HNSW
import Primitives
import TestTraits
import Testing

/// Scans that look at rows' signs first.
@Suite(.ownThreads) struct SketchScanTests {
    struct Case: CustomStringConvertible, Sendable {
        var metric: Metric
        var codes: Quantisation
        var pattern: Pattern
        var description: String { "\(self.metric), \(self.codes), \(self.pattern)" }
        static let all = [Metric.cosine, .l2, .dot].flatMap { metric in
            [Quantisation.int8, .int4].flatMap { codes in
                Pattern.allCases.map { Case(metric: metric, codes: codes, pattern: $0) }
            }
        }
    }
    /// Which rows may be returned: drawn one by one, the last ones, those around the query, those far from it.
    enum Pattern: CaseIterable, Sendable { case random, last, near, far }

    static let points = [Metric.cosine, .l2, .dot].map {
        Points.random(count: 5_000, dimension: 200, metric: $0, centres: 60, seed: 101)
    }
    static let queries = [Metric.cosine, .l2, .dot].map {
        Points.random(count: 24, dimension: 200, metric: $0, centres: 60, seed: 101)
    }
    static let graphs = points.map { $0.graph(efConstruction: 60, codes: .int8) }
    private static func place(_ metric: Metric) -> Int { [Metric.cosine, .l2, .dot].firstIndex(of: metric)! }

    private static func find(
        _ graph: HNSWGraph, _ query: UnsafePointer<Float>, k: Int, allowed: RowSet, deleted: RowSet? = nil
    ) -> (neighbours: [Neighbour], stats: SearchStats) {
        allowed.words.withUnsafeBufferPointer { allowed in
            (deleted?.words ?? []).withUnsafeBufferPointer { words in
                var request = GraphSearch(query: query, k: k)
                request.allowed = allowed.baseAddress
                if deleted != nil { request.deleted = words.baseAddress }
                request.strategy = .scan
                return graph.find(request)
            }
        }
    }

    /// As many as there are, and the right ones, whatever the rows; on fewer distances than rows where signs tell.
    @Test(arguments: Case.all) func findsWhatAScanOfAllFinds(_ it: Case) throws {
        let place = Self.place(it.metric)
        let points = Self.points[place]
        let queries = Self.queries[place]
        let sealed = try Self.graphs[place].sealed(it.codes, points).graph
        var rng = SeededRNG(seed: 102)
        let drawn = (0..<points.count).map { _ in Double.random(in: 0..<1, using: &rng) }
        var total = 0.0
        var measured = 0
        for q in 0..<queries.count {
            let query = UnsafePointer(queries.base + q * queries.stride)
            let order =
                it.pattern == .near || it.pattern == .far
                ? points.nearest(query, k: points.count).map { Int($0.row) } : []
            let rows: Set<Int> =
                switch it.pattern {
                case .random: Set((0..<points.count).filter { drawn[$0] < 0.3 })
                case .last: Set(points.count - 1500..<points.count)
                case .near: Set(order[..<1500])
                case .far: Set(order[2500...].filter { drawn[$0] < 0.6 })
                }
            let allowed = RowSet(count: points.count) { rows.contains($0) }
            let deleted = RowSet(count: points.count) { drawn[($0 + q) % points.count] < 0.1 }
            let truth = points.nearest(query, k: 10) { rows.contains($0) && !deleted.rows.contains($0) }
            let (found, stats) = Self.find(sealed, query, k: 10, allowed: allowed, deleted: deleted)
            #expect(stats.strategy == .scan && found.count == 10)
            #expect(found.allSatisfy { rows.contains(Int($0.row)) && !deleted.rows.contains(Int($0.row)) })
            #expect(Set(found.map(\.row)).count == 10)
            total += points.recall(found, truth, query)
            measured += stats.distances
        }
        #expect(total >= 0.98 * Double(queries.count), "recall \(total / Double(queries.count))")
        if it.pattern == .random || it.pattern == .last {
            #expect(measured < 1000 * queries.count, "\(measured / queries.count) distances for 1,350 rows")
        }
    }

    /// More than the opening holds, more than half of the rows, all of them.
    @Test(arguments: [1, 100, 700, 1400, 5_000]) func anyNumberIsFound(k: Int) throws {
        let points = Self.points[0]
        let sealed = try Self.graphs[0].sealed(.int4, points).graph
        let allowed = RowSet(count: points.count) { $0 % 3 != 0 }
        let query = UnsafePointer(Self.queries[0].base)
        let (found, _) = Self.find(sealed, query, k: k, allowed: allowed)
        #expect(found.count == min(k, allowed.rows.count))
        #expect(Set(found.map { Int($0.row) }).isSubset(of: allowed.rows))
        let truth = points.nearest(query, k: k) { allowed.rows.contains($0) }
        #expect(points.recall(found, truth, query) >= 0.98)
    }

    /// Rows that were never linked have no sketch, and are not found though a filter names them.
    @Test func rowsWithoutAVectorAreLeftOut() throws {
        let points = Points.random(count: 2_000, dimension: 200, metric: .l2, centres: 20, seed: 103)
        let without = Set((0..<points.count).filter { $0 % 2 == 1 })
        let sealed = try points.graph(efConstruction: 40, codes: .int8, without: without).sealed(.int4, points).graph
        let all = RowSet(count: points.count) { _ in true }
        for q in 0..<10 {
            let query = UnsafePointer(points.base + (2 * q + 1) * points.stride)
            let (found, _) = Self.find(sealed, query, k: 10, allowed: all)
            #expect(found.count == 10 && found.allSatisfy { !without.contains(Int($0.row)) })
            let truth = points.nearest(query, k: 10) { !without.contains($0) }
            #expect(points.recall(found, truth, query) >= 0.9)
        }
    }

    /// Copies of a few points: distances are many times the same.
    @Test func copiesAreAllAsNear() throws {
        var rng = SeededRNG(seed: 104)
        let few = (0..<40).map { _ in rng.vector(160) }
        let points = Points((0..<4_000).map { few[$0 % few.count] }, metric: .cosine)
        let sealed = try points.graph(efConstruction: 40, codes: .int8).sealed(.int4, points).graph
        let allowed = RowSet(count: points.count) { $0 % 80 < 40 }
        for q in 0..<few.count {
            let query = UnsafePointer(points.base + q * points.stride)
            let (found, _) = Self.find(sealed, query, k: 20, allowed: allowed)
            #expect(found.count == 20 && found.allSatisfy { Int($0.row) % few.count == q })
        }
    }

    /// A graph of the format before has no sketches, and is searched without.
    @Test func theFormatBeforeIsRead() throws {
        let points = Self.points[1]
        let block = Self.graphs[1].sealed(.int4, rowCount: points.count)
        let stride = CodeKind.int4.sketchStride(dimension: 200)
        #expect(stride == 64)
        let old = block.bytes.count - points.count * stride
        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: old, alignment: 64)
        defer { memory.deallocate() }
        memory.copyMemory(from: UnsafeRawBufferPointer(rebasing: block.bytes[..<old]))
        memory.storeBytes(of: 2, toByteOffset: 8, as: UInt32.self)
        memory.storeBytes(of: UInt64(old), toByteOffset: 48, as: UInt64.self)
        let graph = try HNSWGraph(mapped: UnsafeRawBufferPointer(memory), rows: points.rows, rowCount: points.count)
        let allowed = RowSet(count: points.count) { $0 % 3 == 0 }
        let query = UnsafePointer(Self.queries[1].base)
        let (found, stats) = Self.find(graph, query, k: 10, allowed: allowed)
        #expect(stats.distances >= allowed.rows.count)
        #expect(points.recall(found, points.nearest(query, k: 10) { $0 % 3 == 0 }, query) == 1)
    }

    /// A caller that gives up is heard between sketches too.
    @Test func aScanStopsWhenItIsInterrupted() throws {
        let points = Self.points[0]
        let sealed = try Self.graphs[0].sealed(.int4, points).graph
        let allowed = RowSet(count: points.count) { _ in true }
        allowed.words.withUnsafeBufferPointer { words in
            var request = GraphSearch(query: Self.queries[0].base, k: 10)
            request.allowed = words.baseAddress
            request.strategy = .scan
            var asked = 0
            let stats = sealed.search(
                request, scratch: SearchScratch(), into: TopK(k: 10),
                interrupted: {
                    asked += 1
                    return true
                })
            #expect(stats.interrupted && asked == 1)
            #expect(stats.distances < points.count / 2)
        }
    }

    /// By product the nearest are the longest, and a sketch is wrong in proportion to the length.
    @Test(arguments: [Quantisation.int8, .int4]) func lengthsMayDiffer(_ codes: Quantisation) throws {
        var rng = SeededRNG(seed: 105)
        let vectors = (0..<6_000).map { _ in
            let length = (2 * rng.vector(1)[0]).magnitude * 3 + 0.2
            return rng.vector(256).map { $0 * length }
        }
        let points = Points(vectors, metric: .dot)
        let sealed = try points.graph(efConstruction: 30, codes: .int8).sealed(codes, points).graph
        let allowed = RowSet(count: points.count) { $0 % 2 == 0 }
        var total = 0.0
        for q in 0..<40 {
            let query = UnsafePointer(points.base + (2 * q + 1) * points.stride)
            let (found, _) = Self.find(sealed, query, k: 10, allowed: allowed)
            total += points.recall(found, points.nearest(query, k: 10) { $0 % 2 == 0 }, query)
        }
        #expect(total >= 0.97 * 40, "recall \(total / 40)")
    }

    /// A graph over a part has no sketches of its own: what is scanned there goes by codes, what is scanned in the whole by its
    /// sketches, and either way deleted rows are not found.
    @Test(arguments: [Quantisation.int8, .int4], [300, 1_000, 2_500]) func partsAreScannedToo(
        codes: Quantisation, count: Int
    ) throws {
        let points = Self.points[0]
        let sealed = try Self.graphs[0].sealed(codes, points).graph
        let rows = (0..<UInt32(count)).map { $0 * 2 }
        let members = Set(rows.map { Int($0) })
        let build = SubsetBuild(rows, of: sealed)
        _ = build.link(build.count, scratch: SearchScratch())
        let graph = build.finish()
        let allowed = RowSet(count: points.count) { members.contains($0) }
        let apart = Points.random(count: 20, dimension: 200, metric: .cosine, seed: 106)
        var total = 0.0
        var inTheWhole = 0
        for q in 0..<40 {
            // Every other one from no cloud at all: it lies apart, and after some of those the graph scans first.
            let from = q % 2 == 0 ? Self.queries[0] : apart
            let query = UnsafePointer(from.base + q / 2 * from.stride)
            let deleted = RowSet(count: points.count) { ($0 + q) % 7 == 0 }
            let live = members.subtracting(deleted.rows)
            let top = TopK(k: 10)
            let stats = allowed.words.withUnsafeBufferPointer { allowed in
                deleted.words.withUnsafeBufferPointer { words in
                    var request = GraphSearch(query: query, k: 10)
                    request.allowed = allowed.baseAddress
                    request.allowedCount = allowed.reduce(0) { $0 + $1.nonzeroBitCount }
                    request.deleted = words.baseAddress
                    return graph.search(request, live: live.count, scratch: SearchScratch(), into: top)
                }
            }
            if stats.strategy == .scan, stats.distances != live.count { inTheWhole += 1 }
            #expect(top.neighbours().count == 10)
            #expect(top.neighbours().allSatisfy { live.contains(Int($0.row)) })
            total += points.recall(top.neighbours(), points.nearest(query, k: 10) { live.contains($0) }, query)
        }
        #expect(total >= 0.95 * 40, "recall \(total / 40)")
        if count == 2_500 { #expect(inTheWhole > 2, "\(inTheWhole) scans of the whole graph") }
    }

    static let many = Points.random(count: 20_000, dimension: 160, metric: .l2, centres: 50, seed: 107)
    static let ofMany = many.graph(m: 8, efConstruction: 16, codes: .int8)

    /// Few rows of many, rows that lie together, results by the hundred: signs are looked at all the same, and save distances.
    @Test(arguments: [(0.02, 1.0, 10), (0.05, 1.0, 10), (1, 0.12, 10), (1, 0.3, 10), (0.5, 1.0, 100)])
    func signsSaveDistances(share: Double, part: Double, k: Int) throws {
        let sealed = try Self.ofMany.sealed(.int4, Self.many).graph
        var rng = SeededRNG(seed: 108)
        let allowed = RowSet(count: Self.many.count) {
            Double($0) < part * Double(Self.many.count) && Double.random(in: 0..<1, using: &rng) < share
        }
        var measured = 0
        var total = 0.0
        for q in 0..<10 {
            let query = UnsafePointer(Self.many.base + (q * 1_777 + 5) * Self.many.stride)
            let (found, stats) = Self.find(sealed, query, k: k, allowed: allowed)
            total += Self.many.recall(found, Self.many.nearest(query, k: k) { allowed.rows.contains($0) }, query)
            measured += stats.distances
        }
        #expect(total >= 0.97 * 10, "recall \(total / 10)")
        let most = 0.75 * Double(allowed.rows.count) * 10
        #expect(Double(measured) < most, "\(measured / 10) distances for \(allowed.rows.count) rows")
    }
}
