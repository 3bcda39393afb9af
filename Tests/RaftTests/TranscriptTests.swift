import Foundation
import Simulation
import Testing

/// Readable protocols of the protocol's corners: `Transcripts/*.txt`. `VECRAFT_REWRITE_TRANSCRIPTS=1` writes them anew; read the difference.
@Suite struct TranscriptTests {
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent(
        "Transcripts")
    static let names: [String] = {
        let all = (try? FileManager.default.contentsOfDirectory(atPath: Self.folder.path)) ?? []
        return all.filter { $0.hasSuffix(".txt") }.sorted()
    }()

    @Test func thereAreTranscripts() { #expect(Self.names.count >= 11) }

    @Test(arguments: TranscriptTests.names) func playsAsWritten(name: String) throws {
        let path = Self.folder.appendingPathComponent(name)
        let written = try String(contentsOf: path, encoding: .utf8)
        let played = Transcript.play(written)
        if ProcessInfo.processInfo.environment["VECRAFT_REWRITE_TRANSCRIPTS"] != nil {
            try played.write(to: path, atomically: true, encoding: .utf8)
        }
        #expect(!played.contains("BROKEN") && !played.contains("HALTS") && !played.contains("cannot:"))
        let lines = zip(written.split(separator: "\n"), played.split(separator: "\n"))
        let difference = lines.first { $0 != $1 }.map { "written: \($0.0)\nplayed:  \($0.1)" }
        #expect(written == played, "\(name): \(difference ?? "another length")")
    }
}
