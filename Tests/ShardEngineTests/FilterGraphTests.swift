import Filter
import Foundation
import HNSW
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Filters that are asked again get graphs of their own.
@Suite(.ownThreads) struct FilterGraphTests {
    /// Clusters, each with a city: filters by city lie near some queries and far from others.
    private static func workload(_ seed: UInt64, metric: Metric = .cosine, points: Int = 3_000) -> (Workload, [[Float]])
    {
        var workload = Workload(seed: seed, dimension: 16, metric: metric, extra: false, idPool: 100_000)
        let centres = (0..<20).map { _ in (0..<16).map { _ in workload.float() } }
        func point(_ i: Int) -> Point {
            let cluster = i % centres.count
            let vector = centres[cluster].map { $0 + workload.float() * 0.4 }
            let payload = "{\"city\":\"c\(cluster % 5)\",\"n\":\(i % 10),\"free\":\(i % 4)}"
            return Point(id: "p\(i)", vectors: ["": vector], payload: Array(payload.utf8))
        }
        for batch in 0..<points / 100 { workload.upsert((0..<100).map { point(batch * 100 + $0) }) }
        return (workload, centres)
    }

    private static var settings: ShardSettings {
        var settings = ShardSettings()
        settings.segmentPoints = 1_000
        settings.graphFrom = 100
        settings.mergeFanIn = 64
        settings.filterGraphAfter = 0
        settings.filterGraphShare = 16
        return settings
    }

    private static let city = Filter(must: [.match("city", .string("c1"))])
    private static let number = Filter(must: [.range("n", NumericRange(lt: .integer(3)))])
    /// No index has this field: without a graph every search reads payloads.
    private static let unindexed = Filter(must: [.match("free", .integer(2))])

    /// Asks until every sealed segment has a graph for the filter.
    private func ask(_ engine: ShardEngine, _ filter: Filter, _ query: [Float]) throws {
        for _ in 0..<3 {
            _ = try engine.search(query, limit: 5, filter: filter)
            engine.settleFilterGraphs()
        }
    }

    /// - Returns: Share of what an exact search finds; that there are `limit`, all of them matches.
    private func recall(
        _ engine: ShardEngine, _ filter: Filter, _ queries: [[Float]], limit: Int = 10
    ) throws -> Double {
        var found = 0
        for query in queries {
            let exact = try engine.search(query, limit: limit, filter: filter, exact: true)
            let graph = try engine.search(query, limit: limit, filter: filter)
            #expect(graph.points.count == exact.points.count && graph.plan.matching == exact.plan.matching)
            found += Set(exact.points.ids).intersection(graph.points.ids).count
        }
        return Double(found) / Double(limit * queries.count)
    }

    @Test(arguments: [Metric.cosine, .l2, .dot]) func answersAreThoseOfAScan(metric: Metric) throws {
        var (workload, centres) = Self.workload(71, metric: metric)
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        let sealed = engine.statistics.sealedSegments
        #expect(sealed == 3 && engine.statistics.filterGraphs == 0)
        let queries = centres + (0..<20).map { _ in (0..<16).map { _ in workload.float() } }
        for (i, filter) in [Self.city, Self.number, Self.unindexed].enumerated() {
            try self.ask(engine, filter, queries[0])
            #expect(engine.statistics.filterGraphs == (i + 1) * sealed)
            #expect(try self.recall(engine, filter, queries) >= 0.95)
        }
        // Spelled otherwise, the same rows: the same graphs.
        let otherwise = Filter(mustNot: [.matchExcept("city", [.string("c1")])])
        try self.ask(engine, otherwise, queries[0])
        #expect(engine.statistics.filterGraphs == 3 * sealed && engine.statistics.filterGraphsBuilt == 9)
        #expect(try self.recall(engine, otherwise, queries) >= 0.95)
        // Deleted and replaced rows are passed over, up to all of them.
        for end in [50, 500, 2_900] {
            workload.append(.delete((0..<end).map { "p\($0)" }))
            workload.upsert(
                (2_900..<2_950).map {
                    Point(id: "p\($0)", vectors: ["": centres[0]], payload: Array("{\"city\":\"c9\",\"n\":9}".utf8))
                })
            try engine.replay(workload)
            for filter in [Self.city, Self.number, Self.unindexed] {
                #expect(try self.recall(engine, filter, queries, limit: 3) >= 0.95)
            }
        }
        #expect(engine.filterGraphs.faults() == [])
        #expect(engine.statistics.memoryBytes >= engine.statistics.filterGraphBytes)
        engine.abandon()
    }

    /// A filter that would not save as much as its graph costs gets none.
    @Test func fewSearchesMakeNoGraph() throws {
        let (workload, centres) = Self.workload(72)
        var settings = Self.settings
        settings.filterGraphAfter = 1e9
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        for _ in 0..<5 { try self.ask(engine, Self.city, centres[0]) }
        #expect(engine.statistics.filterGraphs == 0)
        engine.abandon()
        // Not at all, if they may take no memory.
        settings.filterGraphAfter = 0
        settings.filterGraphShare = 0
        let none = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try none.replay(workload)
        none.settle()
        for _ in 0..<5 { try self.ask(none, Self.city, centres[0]) }
        #expect(none.statistics.filterGraphs == 0 && none.statistics.filterGraphBytes == 0)
        none.abandon()
    }

    /// The longest unasked go when memory is short; answers stay right.
    @Test func memoryIsBounded() throws {
        let (workload, centres) = Self.workload(73)
        var settings = Self.settings
        settings.filterGraphShare = 0.25
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        let limit = engine.lock.reading { engine.filterGraphLimit }
        for round in 0..<3 {
            for n in 0..<8 {
                let filter = Filter(must: [.matchAny("n", [.integer(Int64(n)), .integer(Int64((n + 1 + round) % 10))])])
                try self.ask(engine, filter, centres[n])
                #expect(engine.statistics.filterGraphBytes <= UInt64(limit))
                #expect(try self.recall(engine, filter, Array(centres.prefix(3))) >= 0.9)
            }
        }
        let statistics = engine.statistics
        #expect(statistics.filterGraphs > 0 && statistics.filterGraphsEvicted > 0)
        #expect(statistics.filterGraphs == Int(statistics.filterGraphsBuilt - statistics.filterGraphsEvicted))
        // Nearly all rows would take more than there may be: no attempt is made.
        let built = statistics.filterGraphsBuilt
        try self.ask(engine, Filter(must: [.range("n", NumericRange(lt: .integer(9)))]), centres[0])
        #expect(engine.statistics.filterGraphsBuilt == built)
        #expect(engine.filterGraphs.faults() == [])
        engine.abandon()
    }

    /// Graphs go with their segments, and with codes that are not wanted any more; those of the new ones come when asked for.
    @Test func mergesAndNewCodesDropThem() throws {
        var (workload, centres) = Self.workload(74)
        let engine = try ShardEngine.open("/s", workload, Self.settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        try self.ask(engine, Self.city, centres[0])
        #expect(engine.statistics.filterGraphs == 3)
        let before = Set(engine.filterGraphs.places.map(\.segment))
        // A third of each segment: all are worn, and merged.
        workload.append(.delete((0..<3_000).filter { $0 % 3 == 0 }.map { "p\($0)" }))
        try engine.replay(workload)
        engine.settle()
        let end = ContinuousClock.now + .seconds(600)
        while engine.statistics.filterGraphs > 0, ContinuousClock.now < end { usleep(100) }
        #expect(
            engine.statistics.merges > 0 && engine.statistics.filterGraphs == 0
                && engine.statistics.filterGraphBytes == 0)
        #expect(try self.recall(engine, Self.city, centres) >= 0.95)
        try self.ask(engine, Self.city, centres[0])
        #expect(engine.statistics.filterGraphs == engine.statistics.sealedSegments)
        #expect(before.isDisjoint(with: engine.filterGraphs.places.map(\.segment)))
        #expect(try self.recall(engine, Self.city, centres) >= 0.95)
        engine.requantise([.none])
        while engine.statistics.recodingSegments > 0 || engine.statistics.filterGraphs > 0, ContinuousClock.now < end {
            usleep(100)
        }
        #expect(engine.statistics.filterGraphs == 0)
        try self.ask(engine, Self.city, centres[0])
        #expect(try self.recall(engine, Self.city, centres) >= 0.95)
        #expect(engine.filterGraphs.faults() == [])
        try engine.close()
    }

    /// More filters than are remembered, and one too long to be.
    @Test func whatIsRememberedIsBounded() throws {
        let graphs = FilterGraphs()
        let first = try #require(graphs.remember(Self.city, now: 0))
        for n in 0..<3_000 {
            let filter = Filter(must: [.match("n", .integer(Int64(n)))])
            #expect(graphs.remember(filter, now: UInt64(n + 1)) != nil)
        }
        #expect(graphs.remember(Self.city, now: 5_000) !== first)
        let last = Filter(must: [.match("n", .integer(2_999))])
        #expect(graphs.remember(last, now: 5_001) === graphs.remember(last, now: 5_002))
        let long = Filter(must: [.hasID((0..<300).map { "point-\($0)" })])
        #expect(graphs.remember(long, now: 5_003) == nil)
        // Text that Swift takes for equal is not one filter: they match different points.
        let composed = Filter(must: [.match("city", .string("\u{e9}"))])
        let decomposed = Filter(must: [.match("city", .string("e\u{301}"))])
        #expect(composed == decomposed)
        #expect(graphs.remember(composed, now: 5_004) !== graphs.remember(decomposed, now: 5_005))
    }

    /// What was lost counts half after the half-life, and a graph is wanted when it is worth its cost.
    @Test func interestFadesWithTime() {
        let place = FilterPlace(segment: 1, column: 0)
        func isWanted(_ filter: RememberedFilter) -> Bool {
            if case .wanted = filter.find(place) { true } else { false }
        }
        let steady = RememberedFilter([1])
        let minute: UInt64 = 60_000_000_000
        for i in 1...9 { steady.lost(1_000, at: place, now: UInt64(i) * 1_000, cost: 9_500) }
        #expect(!isWanted(steady))
        steady.lost(1_000, at: place, now: 10_000, cost: 9_500)
        #expect(isWanted(steady))
        let rare = RememberedFilter([2])
        for i in 1...100 { rare.lost(1_000, at: place, now: UInt64(i) * 10 * minute, cost: 2_100) }
        #expect(!isWanted(rare))
        for i in 1...3 { rare.lost(1_000, at: place, now: (1_000 + UInt64(i)) * minute, cost: 2_100) }
        #expect(isWanted(rare))
    }
}
