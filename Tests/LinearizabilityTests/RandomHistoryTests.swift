import Foundation
import Linearizability
import Primitives
import TestTraits
import Testing

/// Seeded histories. `VECRAFT_HISTORY_SEEDS` says how many.
@Suite(.ownThreads) struct RandomHistoryTests {
    static let seeds = UInt64(ProcessInfo.processInfo.environment["VECRAFT_HISTORY_SEEDS"] ?? "") ?? 200

    @Test func realRegistersAlwaysHold() {
        for seed in 0..<Self.seeds {
            var rng = SeededRNG(seed: seed)
            let clients = Int.random(in: 1...32, using: &rng)
            let history = RealRegister(
                clients: clients, registers: Int.random(in: 1...4, using: &rng), operations: 600,
                lost: Int.random(in: 0...20, using: &rng)
            ).history(using: &rng)
            let verdict = RegisterHistory(history).check()
            #expect(verdict.holds, "seed \(seed): \(verdict)")
        }
    }

    /// One answer is made that of another time, and the verdict is that of a judge who knows no shortcuts.
    @Test func smallOnesAreJudgedAsByBruteForce() {
        var (good, bad) = (0, 0)
        for seed in 0..<Self.seeds * 20 {
            var rng = SeededRNG(seed: seed)
            let count = Int.random(in: 2...9, using: &rng)
            var history = RealRegister(clients: 4, operations: count, lost: 25).history(using: &rng)
            for _ in 0..<Int.random(in: 0...2, using: &rng) { Self.mutate(&history, using: &rng) }
            let expected = Judge.byBruteForce(history)
            let verdict = RegisterHistory(history).check()
            if expected { good += 1 } else { bad += 1 }
            #expect(
                verdict.holds == expected && (verdict.violation != nil) != expected,
                "seed \(seed): \(verdict), \(history)")
            if let violation = verdict.violation {
                // What is shown is itself impossible.
                #expect(!Judge.byBruteForce(violation.operations), "seed \(seed): \(violation)")
            }
        }
        #expect(good > Self.seeds && bad > Self.seeds, "\(good) good, \(bad) bad")
    }

    @Test func longOnesAreJudgedAsByZones() {
        var (good, bad) = (0, 0)
        for seed in 0..<Self.seeds {
            var rng = SeededRNG(seed: seed)
            var history = RealRegister(
                clients: Int.random(in: 2...16, using: &rng), operations: 300, lost: 0
            ).history(using: &rng)
            if Bool.random(using: &rng) { Self.mutate(&history, using: &rng) }
            let expected = Judge.byZones(history)
            if expected { good += 1 } else { bad += 1 }
            let verdict = RegisterHistory(history).check()
            #expect(verdict.holds == expected && (verdict.violation != nil) != expected, "seed \(seed): \(verdict)")
        }
        #expect(good > Self.seeds / 10 && bad > Self.seeds / 10, "\(good) good, \(bad) bad")
    }

    /// A read is given a value that was overwritten long before it: always found.
    @Test func oneStaleAnswerIsAlwaysFound() throws {
        for seed in 0..<Self.seeds {
            var rng = SeededRNG(seed: seed)
            var history = RealRegister(clients: 6, operations: 300).history(using: &rng)
            let reads = history.indices.filter {
                !history[$0].isWrite && history[$0].returned != nil && history[$0].invoked > 1_500
            }
            let read = try #require(reads.randomElement(using: &rng))
            // Acknowledged before another acknowledged write began, which was over before the read.
            let old = history.filter { old in
                old.isWrite && old.returned != nil
                    && history.contains {
                        $0.isWrite && $0.invoked > old.returned! && ($0.returned ?? .max) < history[read].invoked
                    }
            }
            history[read].action = .read(try #require(old.randomElement(using: &rng)).value)
            #expect(RegisterHistory(history).check().violation != nil, "seed \(seed)")
        }
    }

    /// Some read or write gets the value of another.
    private static func mutate(_ history: inout [RegisterOperation], using rng: inout SeededRNG) {
        let reads = history.indices.filter { !history[$0].isWrite && history[$0].returned != nil }
        guard let read = reads.randomElement(using: &rng) else { return }
        let values: [UInt64?] = [nil] + history.filter(\.isWrite).map(\.value)
        history[read].action = .read(values.randomElement(using: &rng)!)
    }
}
