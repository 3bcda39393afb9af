import Primitives
import TestTraits
import Testing

@testable import ShardEngine

@Suite(.ownThreads) struct RandomOperationsTests {
    static let seeds = (1...12).map { UInt64($0) }

    /// One shard under all that can happen to it, against the model: small segments, graphs, merges, checkpoints, and a new
    /// start at random points, orderly or not.
    @Test(arguments: seeds) func agreesWithTheModel(seed: UInt64) throws {
        let scratch = Scratch()
        let folder = scratch.folder("s")
        var workload = Workload(seed: seed, metric: [.cosine, .dot, .l2][Int(seed % 3)])
        var rng = SeededRNG(seed: seed ^ 0xabcd)
        var settings = ShardSettings.tiny(&rng)
        var engine = try ShardEngine.open(folder, workload, settings)
        for _ in 0..<6 {
            for _ in 0..<Int.random(in: 5...40, using: &rng) { workload.write() }
            try engine.replay(workload, rng: &rng)
            switch Int.random(in: 0..<5, using: &rng) {
            case 0: try engine.checkpoint()
            case 1:
                try engine.close()
                settings = ShardSettings.tiny(&rng)
                engine = try ShardEngine.open(folder, workload, settings)
                #expect(engine.opening.restarted == nil, "seed \(seed)")
                #expect(engine.applied == JournalOffset(workload.entries.count), "seed \(seed)")
            case 2:
                // What is not in a checkpoint comes from the journal again.
                engine.abandon()
                engine = try ShardEngine.open(folder, workload, settings)
                #expect(engine.opening.restarted == nil, "seed \(seed)")
                var judge = Judge(
                    engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: seed)
                try judge.check(rounds: 1)
                try engine.replay(workload, rng: &rng)
            case 3: engine.settle()
            default: break
            }
            var judge = Judge(
                engine: engine, model: Model(workload, through: engine.applied), workload: workload, seed: seed)
            try judge.check(rounds: 3)
            workload.rng = judge.workload.rng
        }
        try engine.close()
    }
}
