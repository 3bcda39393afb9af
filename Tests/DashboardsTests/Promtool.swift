import DashboardSupport
import Foundation
import Primitives
import TestSupport
import Testing

/// Prometheus's own checker, on our rules or on others in their place.
struct Promtool {
    static let program = findProgram("promtool")

    let directory: TemporaryDirectory

    /// A copy of `dashboards/prometheus` to work in.
    /// - Parameter alerts: In place of ours.
    init(alerts: [Rule]? = nil) throws {
        self.directory = try TemporaryDirectory()
        try FileManager.default.copyItem(
            atPath: ProjectFiles.root.appendingPathComponent(Rule.folder).path, toPath: self.folder)
        guard let alerts else { return }
        // JSON is YAML.
        try String(decoding: Self.file(of: alerts).encoded(), as: UTF8.self)
            .write(toFile: self.folder + "/alerts.yml", atomically: true, encoding: .utf8)
    }

    var folder: String { self.directory.file("prometheus") }

    static func file(of alerts: [Rule]) -> JSONValue {
        func object(_ texts: [String: String]) -> JSONValue {
            .object(texts.sorted { $0.key < $1.key }.map { JSONMember($0.key, .string($0.value)) })
        }
        let rules: [JSONValue] = alerts.map { alert in
            [
                "alert": .string(alert.name), "expr": .string(alert.expression), "for": .string(alert.wait ?? "0m"),
                "labels": object(alert.labels), "annotations": object(alert.annotations),
            ]
        }
        return ["groups": [["name": "alerts", "rules": .array(rules)]]]
    }

    func run(_ arguments: String...) async throws -> PythonEnvironment.Outcome {
        let program = try #require(Self.program, "promtool is missing: .ci/packages test fetches Debian's")
        return try await PythonEnvironment.run(
            "/bin/sh", ["-c", "cd '\(self.folder)' && exec '\(program)' \(arguments.joined(separator: " "))"],
            limit: .seconds(120))
    }
}
