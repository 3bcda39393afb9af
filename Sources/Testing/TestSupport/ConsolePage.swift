internal import Foundation

/// The console in a real browser: a script drives Debian's Chromium and says what the page shows.
package enum ConsolePage {
    /// - Parameters:
    ///   - arguments: Of `Tests/ConsoleTests/Browser/console.py`.
    /// - Returns: The script's report, decoded.
    package static func report<Report: Decodable>(
        _ arguments: [String], as: Report.Type = Report.self
    ) async throws -> Report {
        var folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        // Sources/Testing/TestSupport/ConsolePage.swift
        for _ in 0..<4 { folder.deleteLastPathComponent() }
        let script = folder.appendingPathComponent("Tests/ConsoleTests/Browser/console.py").path
        // The script's own waits are bounded, and say what did not come.
        let outcome = try await PythonEnvironment.run(
            "/usr/bin/env", ["python3", "-B", script] + arguments, limit: .seconds(600))
        guard outcome.succeeded else { throw PythonEnvironment.Failure(description: "\(outcome)") }
        return try JSONDecoder().decode(Report.self, from: Data(outcome.output.utf8))
    }
}

/// What the map of a cluster says.
package struct ConsoleMap: Decodable, Sendable {
    package let headline, advice, whose, level: String
    /// Cells of each row.
    package let nodes, partitions, copies: [[String]]
    package let findings: [String]
}
