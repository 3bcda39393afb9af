import Filter
import JournalFormat
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

@Suite(.ownThreads) struct ApplyTests {
    private func make(_ workload: Workload, _ settings: ShardSettings = .plain) throws -> ShardEngine {
        try ShardEngine.open("/s", workload, settings, files: FaultyFileStore())
    }

    private func point(_ id: String, _ x: Float, _ payload: String? = nil) -> Point {
        Point(id: id, vectors: ["": [x, 1, 0, 0]], payload: payload.map { Array($0.utf8) })
    }

    @Test func withinAnEntryTheLastWins() throws {
        var workload = Workload(seed: 1, dimension: 4, metric: .l2, extra: false)
        workload.upsert([self.point("a", 1, "{\"v\":1}"), self.point("b", 2), self.point("a", 3, "{\"v\":3}")])
        let engine = try self.make(workload)
        try engine.replay(workload)
        let result = try engine.get(ids: ["a"], withVectors: true, withPayload: true)
        #expect(result.points.vector(0, "") == [3, 1, 0, 0])
        #expect(result.points.payload(0) == Array("{\"v\":3}".utf8))
        #expect(result.points.version(0) == Workload.hlc(1))
        #expect(engine.state.points == 2)
        engine.abandon()
    }

    @Test func whatWasAppliedIsNotAppliedAgain() throws {
        var workload = Workload(seed: 1, dimension: 4, metric: .l2, extra: false)
        workload.upsert([self.point("a", 1)])
        workload.append(.delete(["a"]))
        let engine = try self.make(workload)
        try engine.apply(workload.entries)
        #expect(engine.applied == 2 && engine.state.points == 0)
        try engine.apply([workload.entries[0]])
        #expect(engine.applied == 2 && engine.state.points == 0)
        // Entries of other shards move the offset too, and never back.
        try engine.apply([], through: 9)
        #expect(engine.applied == 9)
        try engine.apply([], through: 5)
        #expect(engine.applied == 9)
        engine.abandon()
    }

    @Test func anUpsertReplacesTheWholePoint() throws {
        var workload = Workload(seed: 1, dimension: 4)
        workload.upsert([
            Point(
                id: "a", vectors: ["": [1, 1, 0, 0], "title": [1, 2, 3, 4, 5]],
                payload: Array("{\"city\":\"Ulm\"}".utf8))
        ])
        workload.upsert([Point(id: "a", vectors: ["": [0, 1, 0, 0]], payload: nil)])
        let engine = try self.make(workload)
        try engine.replay(workload)
        let result = try engine.get(ids: ["a"], withVectors: true, withPayload: true)
        #expect(result.points.vector(0, "title") == nil && !result.points.hasPayload(0))
        #expect(try engine.count(Filter(must: [.match("city", .string("Ulm"))])).count == 0)
        #expect(try engine.search([1, 2, 3, 4, 5], using: "title", limit: 1).points.isEmpty)
        engine.abandon()
    }

    @Test func anEntryIsVisibleWholeAcrossSegments() throws {
        // One entry of 100 points over segments of 20.
        var workload = Workload(seed: 1, dimension: 4, metric: .l2, extra: false)
        workload.upsert((0..<100).map { self.point("p\($0)", Float($0)) })
        var settings = ShardSettings.plain
        settings.segmentPoints = 20
        // None is merged meanwhile.
        settings.mergeFanIn = 64
        let engine = try self.make(workload, settings)
        try engine.replay(workload)
        #expect(engine.state.points == 100)
        #expect(engine.statistics.segments == 5)
        #expect(try engine.search([40, 1, 0, 0], limit: 3, exact: true).points.ids == ["p40", "p39", "p41"])
        engine.abandon()
    }

    static let bad: [(String, Operation)] = [
        ("dimension", .upsert([Point(id: "x", vectors: ["": [1, 2]], payload: nil)])),
        ("unknown vector", .upsert([Point(id: "x", vectors: ["nope": [1]], payload: nil)])),
        ("not finite", .upsert([Point(id: "x", vectors: ["": [1, .nan, 0, 0]], payload: nil)])),
        ("infinite", .upsert([Point(id: "x", vectors: ["z": [Float](repeating: .infinity, count: 20)], payload: nil)])),
        ("zero by cosine", .upsert([Point(id: "x", vectors: ["": [0, 0, 0, 0]], payload: nil)])),
        ("payload", .upsert([Point(id: "x", vectors: [:], payload: Array("{\"a\":".utf8))])),
        ("array payload", .upsert([Point(id: "x", vectors: [:], payload: Array("[1]".utf8))])),
        ("empty id", .upsert([Point(id: "", vectors: [:], payload: nil)])),
        ("long id", .upsert([Point(id: String(repeating: "x", count: 257), vectors: [:], payload: nil)])),
    ]

    @Test(arguments: ApplyTests.bad.indices) func whatShouldHaveBeenRefusedStopsTheReplay(index: Int) throws {
        var workload = Workload(seed: 1, dimension: 4)
        for _ in 0..<5 { workload.write() }
        let good = self.point("good", 1)
        workload.upsert([good])
        let offset = workload.entries.count + 1
        // The bad point in the middle of its entry: nothing of the entry may show.
        guard case .upsert(let points) = Self.bad[index].1 else { return }
        workload.upsert([self.point("before", 1)] + points + [self.point("after", 1)])
        workload.upsert([self.point("later", 1)])
        var settings = ShardSettings.plain
        settings.segmentPoints = 8
        let engine = try self.make(workload, settings)
        do {
            try engine.apply(workload.entries)
            Issue.record("applied: \(Self.bad[index].0)")
        } catch let error as VecraftError {
            #expect(error.code == .dataLoss, "\(error)")
            #expect(error.message.contains("data-0 offset \(offset)"), "\(error)")
        }
        #expect(engine.applied == JournalOffset(offset - 1))
        var judge = Judge(
            engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: 1)
        try judge.check(rounds: 1)
        #expect(
            try engine.get(ids: ["before", "after", "good"], withVectors: false, withPayload: false).points.ids == [
                "good"
            ])
        engine.abandon()
    }

    @Test func kindsOfLaterReleasesAreNamed() throws {
        var workload = Workload(seed: 1, dimension: 4)
        workload.upsert([self.point("a", 1)])
        let engine = try self.make(workload)
        try engine.replay(workload)
        let header = EntryHeader(
            partition: .data(0), tier: .interactive, operation: .payloadPatch, tenant: "default",
            collection: workload.schema.id, trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: false))
        var entry = EncodedEntry.raw(header: header, body: UnsafeRawBufferPointer(start: nil, count: 0))
        entry.stamp(offset: 2, term: 1, hlc: Workload.hlc(2), appended: (.zero, .zero))
        do {
            try engine.apply([entry])
            Issue.record("applied")
        } catch let error as VecraftError {
            #expect(error.code == .unimplemented && error.message.contains("payload_patch"))
        }
        #expect(engine.applied == 1)
        engine.abandon()
    }

    @Test func normalisingKeepsItsBitsAndItsRange() throws {
        // Scale alone must not change the stored bits where it is a power of two, however extreme.
        var outputs: [[Float]] = []
        for exponent in [-140, -60, 0, 30, 120] {
            let scale = Float(sign: .plus, exponent: exponent, significand: 1)
            let source: [Float] = (0..<37).map { Float($0 % 7 - 3) * scale }
            var target = [Float](repeating: 0, count: 37)
            #expect(ExactArithmetic.normalise(source, 37, into: &target), "2^\(exponent)")
            let norm = target.reduce(0) { $0 + Double($1) * Double($1) }
            #expect(abs(norm - 1) < 1e-5, "2^\(exponent): \(norm)")
            outputs.append(target)
        }
        for output in outputs { #expect(output == outputs[2]) }
        var target = [Float](repeating: 0, count: 4)
        #expect(!ExactArithmetic.normalise([0, 0, 0, 0], 4, into: &target))
        #expect(!ExactArithmetic.normalise([1, .infinity, 0, 0], 4, into: &target))
        #expect(!ExactArithmetic.normalise([1, .nan, 0, 0], 4, into: &target))
    }

    @Test func closedShardsRefuse() throws {
        var workload = Workload(seed: 1, dimension: 4)
        workload.write()
        let engine = try self.make(workload)
        try engine.replay(workload)
        try engine.close()
        try engine.close()
        for attempt: () throws -> Void in [
            { try engine.apply(workload.entries) }, { _ = try engine.count(nil) }, { try engine.checkpoint() },
            { _ = try engine.search([1, 2, 3, 4], limit: 1) }, { _ = try engine.scroll(after: nil, limit: 1) },
        ] {
            do {
                try attempt()
                Issue.record("a closed shard answered")
            } catch let error as VecraftError {
                #expect(error.code == .unavailable)
            }
        }
    }
}
