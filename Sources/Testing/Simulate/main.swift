import Primitives
import Raft
import Simulation

let arguments = CommandLine.arguments
let range = (arguments.count > 1 ? arguments[1] : "0..200")
let parts = range.split(separator: ".").compactMap { UInt64($0) }
var failures = 0
var counts = SimulationCounts()
var options = SimulationOptions()
if arguments.count > 2, let bug = UInt8(arguments[2]) { options.bugs = PlantedBugs(rawValue: bug) }
if arguments.count > 3, arguments[3] == "storm" { options.profile = .storm }
for seed in parts[0]..<parts[1] {
    let result = Simulation.run(seed: seed, options: options)
    counts += result.counts
    if result.finding != nil {
        print(arguments.count > 4 ? result.description : result.description.split(separator: "\n")[0])
        failures += 1
        if arguments.count > 4 || failures == 12 { break }
    }
}
print(counts)
