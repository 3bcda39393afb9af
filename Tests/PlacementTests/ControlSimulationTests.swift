import Foundation
import Placement
import Simulation
import TestTraits
import Testing

/// Whole control planes under one seed each. `VECRAFT_CONTROL_SEEDS=FROM..TO` chooses the seeds; `make simulate PROFILE=control` does it
/// without tests.
@Suite(.ownThreads, .serialized) struct ControlSimulationTests {
    static let seeds: Range<UInt64> = {
        let text = ProcessInfo.processInfo.environment["VECRAFT_CONTROL_SEEDS"] ?? "0..1000"
        let bounds = text.split(separator: ".").compactMap { UInt64($0) }
        precondition(bounds.count == 2 && bounds[0] <= bounds[1], "VECRAFT_CONTROL_SEEDS=\(text) is not FROM..TO")
        return bounds[0]..<bounds[1]
    }()

    /// No copy is lost that could have been kept, nothing is done twice or on an old view, and all comes to rest, full and balanced.
    @Test func holds() {
        let outcome = ControlSeedRun.run(Self.seeds, threads: 2) { Issue.record(Comment(rawValue: $0)) }
        #expect(outcome.findings == 0)
        print("control simulation: \(outcome.counts.summary), in \(outcome.elapsed)")
        // The faults do happen: a simulation that disturbs nothing proves nothing.
        guard Self.seeds.count >= 500 else { return }
        let counts = outcome.counts
        #expect(
            counts.stale > 300 && counts.crashes > 2000 && counts.wipes > 300 && counts.outages > 300
                && counts.failedBuilds > 300)
        for name in [
            "place", "promote", "retire", "reinstate", "cancel", "discard", "forget", "voters", "add", "remove learner",
            "forget journal", "drained", "remove", "drop", "replication",
        ] { #expect(counts.decisions[name, default: 0] >= 20, "\(name)") }
    }

    /// A seed is a whole run: the same every time, with a transcript a person can read.
    @Test func aSeedSaysEverything() {
        var options = ControlOptions()
        options.bugs = .trimBeforeLive
        let found = (UInt64(0)..<100).first { ControlSimulation.run(seed: $0, options: options).finding != nil } ?? 0
        let first = ControlSimulation.run(seed: found, options: options)
        let second = ControlSimulation.run(seed: found, options: options)
        #expect(first.finding != nil && first.finding == second.finding && first.transcript == second.transcript)
        #expect(first.description.contains("seed \(found)"))
        #expect(
            first.transcript.contains { $0.contains("leads") } && first.transcript.contains { $0.contains("retire") })
    }
}

/// Rules left out on purpose: the checker finds each within a bounded number of seeds.
@Suite(.ownThreads, .serialized) struct PlantedControlBugTests {
    struct Planted: Sendable, CustomTestStringConvertible {
        let name: String
        let bug: ControlBugs
        /// What the finding is about.
        let says: String
        var testDescription: String { self.name }
    }
    static let all = [
        Planted(name: "trim before the new copy is live", bug: .trimBeforeLive, says: "retire"),
        Planted(name: "write without comparing the epoch", bug: .ignoreEpoch, says: ""),
        Planted(name: "promote what has not caught up", bug: .promoteUnready, says: "is made live"),
        Planted(name: "count copies on dead nodes", bug: .countDeadCopies, says: "good copies"),
        Planted(name: "move for no gain", bug: .rebalanceForEver, says: "convergence: no rest"),
        Planted(name: "change a group twice at a time", bug: .changeUnsettled, says: ""),
        Planted(name: "replace voters without a majority", bug: .ignoreMajority, says: "majority"),
        Planted(name: "count what has halted as alive", bug: .countHalted, says: "majority"),
        Planted(name: "take a moment's silence for death", bug: .noGrace, says: "grace"),
    ]

    @Test(arguments: PlantedControlBugTests.all) func isFound(planted: Planted) {
        var options = ControlOptions()
        options.bugs = planted.bug
        for seed in UInt64(0)..<200 {
            guard let finding = ControlSimulation.run(seed: seed, options: options).finding else { continue }
            print("\(planted.name): seed \(seed), \(finding.prefix(160))")
            #expect(planted.says.isEmpty || finding.contains(planted.says))
            // The same seed without the bug is clean: it is the bug that was found.
            #expect(ControlSimulation.run(seed: seed).finding == nil)
            return
        }
        Issue.record("\(planted.name): not found in 200 seeds")
    }
}
