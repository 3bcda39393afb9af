import Foundation
import Raft
import Simulation
import TestTraits
import Testing

/// Whole groups under one seed each. `VECRAFT_SIMULATE_SEEDS=FROM..TO` chooses the seeds; `make simulate SEEDS=FROM..TO` does it without tests.
@Suite(.ownThreads, .serialized) struct SimulationTests {
    static let seeds: Range<UInt64> = {
        let text = ProcessInfo.processInfo.environment["VECRAFT_SIMULATE_SEEDS"] ?? "0..4000"
        let bounds = text.split(separator: ".").compactMap { UInt64($0) }
        precondition(bounds.count == 2 && bounds[0] <= bounds[1], "VECRAFT_SIMULATE_SEEDS=\(text) is not FROM..TO")
        return bounds[0]..<bounds[1]
    }()

    /// Nothing acknowledged is lost, nothing is read stale, and all becomes well when the faults stop.
    @Test(arguments: SimulationOptions.Profile.allCases) func holds(profile: SimulationOptions.Profile) {
        var options = SimulationOptions()
        options.profile = profile
        // The two narrow profiles have a quarter of the seeds each.
        let share = profile == .mixed ? Self.seeds.count : Self.seeds.count / 4
        let seeds = Self.seeds.lowerBound..<Self.seeds.lowerBound + UInt64(share)
        let outcome = SeedRun.run(seeds, options: options, threads: 2) { Issue.record(Comment(rawValue: $0)) }
        #expect(outcome.findings == 0)
        print("simulation, \(profile): \(outcome.counts.summary), in \(outcome.elapsed)")
    }

    /// A seed is a whole run: the same every time.
    @Test func aSeedSaysEverything() {
        var options = SimulationOptions()
        options.bugs = .truncateCommitted
        let found = (UInt64(0)..<100).first { Simulation.run(seed: $0, options: options).finding != nil }
        let seed = found ?? 0
        let first = Simulation.run(seed: seed, options: options)
        let second = Simulation.run(seed: seed, options: options)
        #expect(first.finding != nil && first.finding == second.finding)
        #expect(first.transcript == second.transcript && !first.transcript.isEmpty)
        #expect(first.description.contains("seed \(seed)"))
    }

    /// The faults do happen: a simulation that disturbs nothing proves nothing.
    @Test func muchIsTried() {
        let counts = SeedRun.run(0..<200, options: SimulationOptions(), threads: 2) { _ in }.counts
        #expect(counts.appends > 2_000 && counts.reads > 1_000 && counts.leaderReads > 100)
        #expect(counts.crashes > 500 && counts.elections > 300)
        #expect(
            counts.losses > 10 && counts.changes > 50 && counts.handovers > 20 && counts.transfers > 10
                && counts.trims > 50)
    }
}

/// Rules left out on purpose: the checkers find each within a bounded number of seeds.
@Suite(.ownThreads, .serialized) struct PlantedBugTests {
    struct Planted: Sendable, CustomTestStringConvertible {
        let name: String
        let bug: PlantedBugs
        let profile: SimulationOptions.Profile
        let seeds: UInt64
        var testDescription: String { self.name }
    }
    static let all = [
        Planted(name: "vote twice after a restart", bug: .voteTwice, profile: .duel, seeds: 2_000),
        Planted(name: "commit an entry of an older term by count", bug: .commitOldTerm, profile: .storm, seeds: 10_000),
        Planted(name: "acknowledge before the sync", bug: .acknowledgeBeforeSync, profile: .mixed, seeds: 4_000),
        Planted(name: "read under a stale lease", bug: .staleLease, profile: .mixed, seeds: 6_000),
        Planted(name: "truncate a committed entry", bug: .truncateCommitted, profile: .mixed, seeds: 200),
        Planted(name: "lose the membership at a restart", bug: .forgetMembership, profile: .mixed, seeds: 2_000),
    ]

    @Test(arguments: PlantedBugTests.all) func isFound(planted: Planted) {
        var options = SimulationOptions()
        options.bugs = planted.bug
        options.profile = planted.profile
        for seed in 0..<planted.seeds {
            let result = Simulation.run(seed: seed, options: options)
            guard let finding = result.finding else { continue }
            print("\(planted.name): seed \(seed), \(finding.prefix(160))")
            // The same seed without the bug is clean: it is the bug that was found.
            #expect(Simulation.run(seed: seed, options: clean(planted)).finding == nil)
            return
        }
        Issue.record("\(planted.name): not found in \(planted.seeds) seeds")
    }

    private func clean(_ planted: Planted) -> SimulationOptions {
        var options = SimulationOptions()
        options.profile = planted.profile
        return options
    }
}
