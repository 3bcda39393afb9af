import Foundation
import NIOPosix

/// Usage: server-benchmark wire|mixed|ingest|journal|recall
func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
switch CommandLine.arguments.dropFirst().first {
case "wire": try await WireBenchmark.run(group: group)
case "mixed": try await MixedBenchmark.run(group: group)
case "ingest": try await IngestBenchmark.run(group: group)
case "journal": try await JournalBenchmark.run(group: group)
case "recall": try await RecallBenchmark.run(group: group)
default:
    FileHandle.standardError.write(Data("usage: server-benchmark wire|mixed|ingest|journal|recall\n".utf8))
    exit(2)
}
