import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

/// Replicas hold the same points in different segments: state and exact answers must not tell.
@Suite(.ownThreads) struct SegmentationTests {
    @Test(arguments: (1...6).map { UInt64($0) }) func replicasAgreeHoweverTheyAreSegmented(seed: UInt64) throws {
        var rng = SeededRNG(seed: seed)
        var workload = Workload(seed: seed, metric: [.cosine, .l2, .dot][Int(seed % 3)])
        let a = try ShardEngine.open("/a", workload, ShardSettings.tiny(&rng), files: FaultyFileStore(seed: seed))
        let b = try ShardEngine.open("/b", workload, .plain, files: FaultyFileStore(seed: seed))
        for _ in 0..<6 {
            for _ in 0..<40 { workload.write() }
            // In other batches, too.
            try a.replay(workload, rng: &rng)
            try b.replay(workload, rng: &rng)
            #expect(a.state == b.state, "seed \(seed)")
            for _ in 0..<8 {
                let filter = workload.chance(2) ? workload.filter() : nil
                for vector in workload.schema.vectors {
                    let query = workload.vector(vector)
                    let limit = Int.random(in: 1...40, using: &rng)
                    let one = try a.search(query, using: vector.name, limit: limit, filter: filter, exact: true)
                    let other = try b.search(query, using: vector.name, limit: limit, filter: filter, exact: true)
                    #expect(one.points.ids == other.points.ids, "seed \(seed)")
                    #expect(one.distances.map(\.bitPattern) == other.distances.map(\.bitPattern), "seed \(seed)")
                    #expect(one.plan.matching == other.plan.matching, "seed \(seed)")
                }
                #expect(try a.count(filter).count == b.count(filter).count, "seed \(seed)")
                #expect(try a.scrollAll(filter, page: 7) == b.scrollAll(filter, page: 50), "seed \(seed)")
            }
        }
        a.settle()
        #expect(a.state == b.state, "seed \(seed)")
        #expect(a.statistics.seals + a.statistics.merges > 0)
        try a.close()
        try b.close()
    }

    /// The digest of known points is known: it must never change, for replicas of two releases are compared by it.
    @Test func theDigestIsPinned() throws {
        var workload = Workload(seed: 0, dimension: 4, extra: false)
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        #expect(engine.digest == 0)
        workload.upsert([Point(id: "a", vectors: ["": [3, 0, 4, 0]], payload: Array("{\"k\":1}".utf8))])
        try engine.replay(workload)
        var hash = StableHash()
        hash.combine(1 as UInt64)
        [UInt8(ascii: "a")].withUnsafeBytes { hash.combine($0) }
        hash.combine(Workload.hlc(1).rawValue)
        hash.combine(StableHash.of(""))
        [Float(0.6), 0, 0.8, 0].withUnsafeBytes { hash.combine($0) }
        hash.combine(7 as UInt64)
        Array("{\"k\":1}".utf8).withUnsafeBytes { hash.combine($0) }
        #expect(engine.digest == hash.finish())
        workload.append(.delete(["a"]))
        try engine.replay(workload)
        #expect(engine.digest == 0)
        engine.abandon()
    }
}
