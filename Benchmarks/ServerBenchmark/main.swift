import Foundation
import NIOPosix

/// Usage: server-benchmark wire|mixed|ingest|journal [1|3]|failover [kills]|catchup [entries]|consistency|recall|cluster [join]|lineage [entries]|overhead [search]
func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
switch CommandLine.arguments.dropFirst().first {
case "wire": try await WireBenchmark.run(group: group)
case "mixed": try await MixedBenchmark.run(group: group)
case "ingest": try await IngestBenchmark.run(group: group)
case "journal": try await JournalBenchmark.run(group: group)
case "failover": try await FailoverBenchmark.run()
case "catchup": try await CatchUpBenchmark.run()
case "consistency": try await ConsistencyBenchmark.run()
case "recall": try await RecallBenchmark.run(group: group)
case "lineage": try await LineageBenchmark.run(group: group)
case "overhead": try await OverheadBenchmark.run(group: group)
case "cluster": try await ClusterBenchmark.run(group: group)
default:
    let usage = "usage: server-benchmark wire|mixed|ingest|journal [1|3]|failover [kills]|catchup [entries]|consistency|recall|cluster [join]|lineage [entries]|overhead [search]\n"
    FileHandle.standardError.write(Data(usage.utf8))
    exit(2)
}
