import Filter
import JournalFormat
import Primitives
import TestSupport
import TestTraits
import Testing

@testable import ShardEngine

@Suite(.ownThreads) struct EntryJudgementTests {
    /// Whether an engine of its own takes the entry.
    private func isApplied(_ entry: EncodedEntry, _ workload: Workload) throws -> Bool {
        let engine = try ShardEngine.open("/s", workload, .plain, files: FaultyFileStore())
        defer { engine.abandon() }
        do {
            try entry.withView { try engine.apply([$0], through: $0.offset) }
            return true
        } catch let error as VecraftError {
            #expect(error.reason == EntryJudgement.reason, "\(error)")
            #expect(engine.applied == 0)
            return false
        }
    }

    @Test(arguments: ApplyTests.bad.indices) func whatCannotBeAppliedIsRefused(index: Int) throws {
        let workload = Workload(seed: 1, dimension: 4)
        let entry = Workload.encode(ApplyTests.bad[index].1, workload.schema, offset: 1)
        #expect(entry.withView { EntryJudgement.refusal($0, workload.schema) } != nil, "\(ApplyTests.bad[index].0)")
    }

    /// Bytes of good entries' bodies are changed at random: the judgement and the engine must always agree.
    @Test(arguments: [UInt64(1), 2, 3]) func judgementAndEngineAgree(seed: UInt64) throws {
        var workload = Workload(seed: seed, dimension: 4)
        var rng = SeededRNG(seed: seed)
        var refused = 0
        var applied = 0
        for _ in 0..<400 {
            workload.write()
            let operation = workload.operations[workload.operations.count - 1]
            let good = Workload.encode(operation, workload.schema, offset: 1)
            var body = good.withView { [UInt8]($0.body) }
            guard !body.isEmpty else { continue }
            for _ in 0..<Int.random(in: 0...3, using: &rng) {
                let change = [0, 1, 0x7f, 0x80, 0xff, UInt8.random(in: 0...255, using: &rng)].randomElement(using: &rng)
                body[Int.random(in: 0..<body.count, using: &rng)] = change ?? 0
            }
            var entry = try good.withView { view in
                let header = try view.header()
                return body.withUnsafeBytes { EncodedEntry.raw(header: header, body: $0) }
            }
            entry.stamp(offset: 1, term: 1, hlc: Workload.hlc(1), appended: (.zero, .zero))
            let refusal = entry.withView { EntryJudgement.refusal($0, workload.schema) }
            let isApplied = try self.isApplied(entry, workload)
            #expect(isApplied == (refusal == nil), "seed \(seed): \(refusal ?? "taken")")
            if isApplied { applied += 1 } else { refused += 1 }
        }
        #expect(refused > 20 && applied > 20)
    }
}
