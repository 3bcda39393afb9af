import Glibc
import Placement
import Primitives
import Raft
import Simulation

// simulate [FROM..TO] [mixed|storm|duel] [bug=N]   seeds of whole groups; what is found is printed with its transcript
// simulate [FROM..TO] control [bug=N]              seeds of whole control planes: placement, repair, drain, balance under churn
// simulate steady [N]                              the machine alone: N batches through three replicas, nanoseconds each

let words = Array(CommandLine.arguments.dropFirst())

if words.first == "steady" {
    let batches = words.count > 1 ? Int(words[1]) ?? 1_000_000 : 1_000_000
    let clock = ContinuousClock()
    var group = SteadyGroup()
    let elapsed = clock.measure { group.run(batches: batches) }
    print(
        "\(batches) batches of one entry, three replicas: \(elapsed.nanoseconds / UInt64(max(1, batches))) ns each, committed \(group.committed)"
    )
} else {
    var seeds: Range<UInt64> = 0..<2000
    var options = SimulationOptions()
    var bugs: UInt16 = 0
    var isControl = false
    for word in words {
        let bounds = word.split(separator: ".", omittingEmptySubsequences: true).compactMap { UInt64($0) }
        if bounds.count == 2, bounds[0] <= bounds[1] {
            seeds = bounds[0]..<bounds[1]
        } else if let profile = SimulationOptions.Profile(rawValue: word) {
            options.profile = profile
        } else if word == "control" {
            isControl = true
        } else if word.hasPrefix("bug="), let bug = UInt16(word.dropFirst(4)) {
            bugs = bug
        } else if let seed = UInt64(word) {
            seeds = seed..<seed + 1
        } else {
            print("usage: simulate [FROM..TO] [mixed|storm|duel|control] [bug=N] | steady [N]; \(word) is neither")
            exit(2)
        }
    }
    let summary: String, findings: Int, elapsed: Duration
    if isControl {
        var options = ControlOptions()
        options.bugs = ControlBugs(rawValue: bugs)
        let outcome = ControlSeedRun.run(seeds, options: options, threads: 2) { print($0) }
        (summary, findings, elapsed) = (outcome.counts.summary, outcome.findings, outcome.elapsed)
    } else {
        options.bugs = PlantedBugs(rawValue: UInt8(truncatingIfNeeded: bugs))
        let outcome = SeedRun.run(seeds, options: options, threads: 2) { print($0) }
        (summary, findings, elapsed) = (outcome.counts.summary, outcome.findings, outcome.elapsed)
    }
    print(summary)
    print("\(seeds.count) seeds, \(findings) findings, \(elapsed)")
    if findings > 0 { exit(1) }
}
