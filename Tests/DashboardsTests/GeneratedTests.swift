import DashboardSupport
import Foundation
import TestSupport
import Testing

/// What is committed is what the generator writes.
@Suite struct GeneratedTests {
    /// - Returns: What it said, if it found a difference.
    private static func difference(in folder: String) async throws -> String? {
        let outcome = try await PythonEnvironment.run(
            "/usr/bin/env", ["python3", "-B", "\(folder)/generate.py", "--check"], limit: .seconds(120))
        return outcome.succeeded ? nil : outcome.description
    }

    @Test func theBoardsAreAsGenerated() async throws {
        #expect(try await Self.difference(in: ProjectFiles.root.appendingPathComponent("dashboards").path) == nil)
    }

    @Test func aChangedOrStrangeFileIsFound() async throws {
        let directory = try TemporaryDirectory()
        let copy = directory.file("dashboards")
        try FileManager.default.copyItem(
            atPath: ProjectFiles.root.appendingPathComponent("dashboards").path, toPath: copy)
        #expect(try await Self.difference(in: copy) == nil)
        let board = copy + "/grafana/vecraft-overview.json"
        let text = try String(contentsOfFile: board, encoding: .utf8)
        try text.replacing("\"now-1h\"", with: "\"now-2h\"").write(toFile: board, atomically: true, encoding: .utf8)
        try "{}".write(toFile: copy + "/grafana/other.json", atomically: true, encoding: .utf8)
        let said = try #require(try await Self.difference(in: copy))
        #expect(said.contains("vecraft-overview.json") && said.contains("other.json"))
        #expect(!said.contains("vecraft-journal.json"))
    }
}
