import Filter
import HNSW
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

@Suite(.ownThreads) struct SearchTests {
    /// Clustered vectors over several segments with graphs: recall of the graph against the exact answer.
    @Test(arguments: [Metric.cosine, .l2, .dot]) func graphsFindWhatExactSearchFinds(metric: Metric) throws {
        var workload = Workload(seed: 21, dimension: 24, metric: metric, extra: false, idPool: 100_000)
        let centres = (0..<30).map { _ in (0..<24).map { _ in workload.float() } }
        func draw() -> [Float] {
            let centre = workload.pick(centres)
            return centre.map { $0 + workload.float() * 0.4 }
        }
        for batch in 0..<40 {
            workload.upsert(
                (0..<100).map { i in
                    Point(
                        id: "p\(batch * 100 + i)", vectors: ["": draw()],
                        payload: Array("{\"n\":\((batch * 100 + i) % 100)}".utf8))
                })
        }
        var settings = ShardSettings()
        settings.segmentPoints = 1_500
        settings.graphFrom = 200
        settings.mergeFanIn = 64
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        #expect(engine.statistics.sealedSegments == 2)
        #expect(engine.statistics.indexedVectors == 4_000)
        let filters: [(Filter?, String)] = [
            (nil, "all"), (Filter(must: [.range("n", NumericRange(lt: .integer(40)))]), "40 %"),
            (Filter(must: [.range("n", NumericRange(lt: .integer(6)))]), "6 %"),
            (Filter(must: [.match("n", .integer(3))]), "1 %"),
        ]
        for (filter, what) in filters {
            var found = 0
            for _ in 0..<40 {
                let query = draw()
                let exact = Set(try engine.search(query, limit: 10, filter: filter, exact: true).points.ids)
                let graph = try engine.search(query, limit: 10, filter: filter)
                #expect(graph.points.count == 10)
                found += exact.intersection(graph.points.ids).count
                if filter == nil { #expect(graph.plan.strategies.contains(.graph) && graph.plan.visited < 4_000) }
            }
            #expect(Double(found) / 400 >= 0.95, "\(what), \(metric)")
        }
        // The same, opened again from files.
        try engine.close()
        let again = try ShardEngine.open("/s", workload, settings, files: engine.files)
        #expect(again.statistics.indexedVectors == 4_000)
        #expect(again.statistics.sealedSegments == 3)
        var found = 0
        for _ in 0..<20 {
            let query = draw()
            let exact = Set(try again.search(query, limit: 10, exact: true).points.ids)
            found += exact.intersection(try again.search(query, limit: 10).points.ids).count
        }
        #expect(Double(found) / 200 >= 0.95, "opened again, \(metric)")
        again.abandon()
    }

    /// What a collection asks for is what its sealed graphs walk on, and their answers are as good.
    @Test(arguments: Quantisation.allCases) func sealedGraphsWalkOnTheCodesAskedFor(asked: Quantisation) throws {
        var workload = Workload(seed: 23, dimension: 32, extra: false, idPool: 100_000, quantisation: asked)
        for batch in 0..<8 {
            workload.upsert(
                (0..<100).map { i in
                    Point(
                        id: "p\(batch * 100 + i)", vectors: ["": (0..<32).map { _ in workload.float() }], payload: nil)
                })
        }
        var settings = ShardSettings()
        settings.segmentPoints = 400
        settings.graphFrom = 100
        settings.mergeFanIn = 64
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        engine.settle()
        try engine.checkpoint()
        let kinds = engine.lock.reading {
            engine.segments.filter { $0.state == .sealed }.compactMap { $0.graphs[0]?.kind }
        }
        #expect(!kinds.isEmpty)
        switch asked {
        case .auto: break
        case .none: #expect(kinds.allSatisfy { $0 == CodeKind.none })
        case .int8: #expect(kinds.allSatisfy { $0 == .int8 })
        case .int4: #expect(kinds.allSatisfy { $0 == .int4 })
        }
        var found = 0
        for _ in 0..<20 {
            let query = (0..<32).map { _ in workload.float() }
            let exact = try engine.search(query, limit: 10, exact: true)
            let graph = try engine.search(query, limit: 10, ef: 200)
            found += Set(exact.points.ids).intersection(graph.points.ids).count
        }
        #expect(found >= 190, "\(asked): \(found) of 200")
        engine.abandon()
    }

    @Test func badQuestionsNameTheField() throws {
        var workload = Workload(seed: 22, dimension: 4)
        workload.write()
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try engine.replay(workload)
        func field(_ body: () throws -> ShardSearchResult) -> String? {
            do { _ = try body() } catch let error as VecraftError {
                return error.code == .invalidArgument ? error.field : "\(error)"
            } catch {}
            return nil
        }
        #expect(field { try engine.search([1, 2, 3], limit: 1) } == "vector")
        #expect(field { try engine.search([1, 2, 3, .nan], limit: 1) } == "vector")
        #expect(field { try engine.search([0, 0, 0, 0], limit: 1) } == "vector")
        #expect(field { try engine.search([1, 2, 3, 4], using: "nope", limit: 1) } == "using")
        #expect(field { try engine.search([1, 2, 3, 4], limit: 0) } == "limit")
        #expect(field { try engine.search([1, 2, 3, 4], limit: Limits.searchLimit + 1) } == "limit")
        #expect(field { try engine.search([1, 2, 3, 4], limit: 1, ef: -1) } == "ef")
        engine.abandon()
    }

    @Test func aPassedDeadlineIsAnError() throws {
        var workload = Workload(seed: 23, dimension: 4)
        for _ in 0..<20 { workload.write() }
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try engine.replay(workload)
        let query: [Float] = [1, 2, 3, 4]
        do {
            try query.withUnsafeBufferPointer { _ = try engine.search(ShardSearch(query: $0, limit: 1, deadline: 1)) }
            Issue.record("answered after its deadline")
        } catch let error as VecraftError {
            #expect(error.code == .deadlineExceeded)
        }
        #expect(throws: VecraftError.self) { try engine.count(workload.filter(), deadline: 1) }
        #expect(throws: VecraftError.self) { try engine.scroll(after: nil, limit: 1, deadline: 1) }
        engine.abandon()
    }

    @Test func equalDistancesComeInIDOrder() throws {
        // Many points at one place, over several segments.
        var workload = Workload(seed: 24, dimension: 4, metric: .l2, extra: false)
        let ids = (0..<200).map { "p\($0 &* 7919 % 200)" }
        for id in ids { workload.upsert([Point(id: id, vectors: ["": [1, 1, 1, 1]], payload: nil)]) }
        var settings = ShardSettings.plain
        settings.segmentPoints = 30
        settings.mergeFanIn = 64
        let engine = try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
        try engine.replay(workload)
        let sorted = ids.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        for limit in [1, 7, 50, 200] {
            #expect(
                try engine.search([1, 1, 1, 1], limit: limit, exact: true).points.ids == Array(sorted.prefix(limit)))
        }
        engine.abandon()
    }

    @Test func answersSayWhatTheyLookedAt() throws {
        var workload = Workload(seed: 25, dimension: 4)
        for _ in 0..<30 { workload.write() }
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try engine.replay(workload)
        let filter = Filter(must: [.match("free", .integer(1)), .match("city", .string("Ulm"))])
        let result = try engine.search([1, 2, 3, 4], limit: 5, filter: filter)
        #expect(result.plan.unindexed == ["free"])
        #expect(result.plan.strategy == "exact")
        #expect(result.applied == 30)
        let none = try engine.search([1, 2, 3, 4], limit: 5)
        #expect(none.plan.matching == nil && none.plan.unindexed == [])
        #expect(none.plan.visited > 0)
        engine.abandon()
    }

    @Test func answersEndWhereTheirRoomEnds() throws {
        var workload = Workload(seed: 27, dimension: 4, metric: .l2, extra: false)
        let payload = Array("{\"t\":\"\(String(repeating: "x", count: 1000))\"}".utf8)
        let ids = (100..<150).map { "p\($0)" }
        workload.upsert(ids.map { Point(id: $0, vectors: ["": [1, 1, 1, 1]], payload: payload) })
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        try engine.replay(workload)
        func reason(_ body: () throws -> Void) -> String? {
            do { try body() } catch let error as VecraftError { return error.reason } catch {}
            return nil
        }
        let query: [Float] = [1, 1, 1, 1]
        func search(_ room: AnswerRoom) throws {
            try query.withUnsafeBufferPointer {
                var search = ShardSearch(query: $0, limit: 50)
                search.room = room
                _ = try engine.search(search)
            }
        }
        #expect(reason { try search(AnswerRoom(bytes: 60_000)) } == nil)
        #expect(reason { try search(AnswerRoom(bytes: 50_000)) } == AnswerRoom.tooLarge)
        // One id again and again counts each time.
        func get(_ times: Int) throws {
            let id = Array("p100".utf8)
            try id.withUnsafeBytes { raw in
                _ = try engine.get(
                    ids: Array(repeating: raw, count: times), withVectors: false, withPayload: true,
                    room: AnswerRoom(bytes: 60_000))
            }
        }
        #expect(reason { try get(50) } == nil)
        #expect(reason { try get(100) } == AnswerRoom.tooLarge)
        // What is past its deadline is not copied out.
        let late = #expect(throws: VecraftError.self) {
            _ = try Array("p100".utf8).withUnsafeBytes { raw in
                try engine.get(
                    ids: Array(repeating: raw, count: 50), withVectors: false, withPayload: true,
                    room: AnswerRoom(deadline: 1))
            }
        }
        #expect(late?.code == .deadlineExceeded)
        // Pages are cut and lose nothing; a point larger than the room comes alone.
        for (bytes, form, most) in [(5_000, AnswerRoom.Form.binary, 4), (5_000, .text, 4), (10, .binary, 1)] {
            for filter in [nil, Filter(must: [.hasID(ids)])] {
                var met: [String] = []
                var after: [UInt8]?
                repeat {
                    let page = try engine.scroll(
                        after: after, filter: filter, limit: 20, room: AnswerRoom(bytes: bytes, form: form))
                    #expect((1...most).contains(page.points.count))
                    met += page.points.ids
                    after = page.next
                } while after != nil
                #expect(met == ids)
            }
        }
        engine.abandon()
    }

    @Test func anEmptyShardAnswers() throws {
        let workload = Workload(seed: 26, dimension: 4)
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        #expect(try engine.search([1, 2, 3, 4], limit: 5).points.isEmpty)
        #expect(try engine.count(nil).count == 0)
        #expect(try engine.scroll(after: nil, limit: 5).next == nil)
        #expect(try engine.get(ids: ["a"], withVectors: true, withPayload: true).missing == [0])
        try engine.close()
    }
}
