import Glibc
import Placement
import Primitives
import Raft
import Simulation

// simulate [FROM..TO] [mixed|storm|duel] [bug=N]   seeds of whole groups; what is found is printed with its transcript
// simulate [FROM..TO] control [bug=N]              seeds of whole control planes: placement, repair, drain, balance under churn
// simulate plan [NODES SHARDS]                     what a plan costs in a cluster of that size: at rest, with a node dead, out of balance
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
} else if words.first == "plan" {
    let sizes = words.dropFirst().compactMap { Int($0) }
    let (nodes, shards) = (sizes.first ?? 100, sizes.count > 1 ? sizes[1] : 10_000)
    let clock = ContinuousClock()
    var scale = PlanScale(nodes: nodes, shards: shards)
    guard scale.settle() != nil else { fatalError("no rest") }
    func measure(_ what: String) {
        let observations = scale.observations
        var plan = scale.plan(observations)
        let elapsed = (0..<5).map { _ in clock.measure { plan = scale.plan(observations) } }.sorted()[2]
        print(
            "\(what): \(elapsed.nanoseconds / 1000) us, \(plan.decisions.count) decisions, \(plan.blocked.count) blocked"
        )
    }
    print("\(nodes) nodes, \(shards) shards x 2")
    measure("at rest")
    scale.down = [NodeID(UInt64(nodes / 2))]
    measure("a node dead")
    scale.down = []
    for i in 0..<max(1, nodes / 10) {
        let id = NodeID(UInt64(nodes + i + 1))
        scale.apply(.describeNode(NodeRecord(id: id, name: "new-\(i)", zone: "z\(i % 3)")))
        scale.apply(.activateNode(id))
    }
    measure("a tenth more nodes, empty")
    let documents = scale.map.documents()
    let writing = clock.measure { _ = scale.map.documents() }
    let reading = try clock.measure { _ = try ClusterMap(documents: documents) }
    print(
        "the map: \(documents.count) keys, \(documents.reduce(0) { $0 + ($1.value?.count ?? 0) }) bytes, written in \(writing.nanoseconds / 1000) us, read and checked in \(reading.nanoseconds / 1000) us"
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
            print(
                "usage: simulate [FROM..TO] [mixed|storm|duel|control] [bug=N] | plan [NODES SHARDS] | steady [N]; \(word) is neither"
            )
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
