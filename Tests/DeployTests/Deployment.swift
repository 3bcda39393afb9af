import Foundation
import ServiceHost
import Yams

/// The files under `deploy`, and what stands elsewhere that they must agree with.
enum Deployment {
    /// Tests/DeployTests/Deployment.swift is three folders down.
    static let root = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    /// Of the file at a path from the project's root.
    static func text(_ path: String) throws -> String {
        try String(contentsOf: self.root.appendingPathComponent(path), encoding: .utf8)
    }

    /// Names of the files in a folder, in order.
    static func files(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: self.root.appendingPathComponent(folder).path).sorted()
    }

    /// All documents of a YAML file; a key that stands twice is an error.
    static func documents(_ text: String) throws -> [Node] {
        var sequence = try Yams.compose_all(yaml: text)
        var found: [Node] = []
        while let node = sequence.next() { found.append(node) }
        // The sequence ends at a mistake as it ends at the end.
        if let error = sequence.error { throw error }
        return found
    }

    /// What the settings hold where nothing is said, by "section.key", as text.
    ///
    /// - Returns: nil for what is no setting.
    static func standard(_ key: String) throws -> String? {
        let parts = key.split(separator: ".", maxSplits: 1).map(String.init)
        return try Yams.compose(yaml: try Settings.load().yaml())?[parts[0]]?[parts[1]]?.scalar?.string
    }

    /// The ports that a node listens on unless told otherwise, by what they are called in services and pods.
    static func ports() throws -> [String: Int] {
        // 0 is no port that anything here has: what is missing from the settings shows.
        [
            "grpc": try self.standard("grpc.port").flatMap { Int($0) } ?? 0,
            "http": try self.standard("http.port").flatMap { Int($0) } ?? 0,
            "peers": try self.standard("cluster.listen").flatMap { Self.port(of: $0) } ?? 0,
        ]
    }

    /// Of "host:port".
    static func port(of address: String) -> Int? {
        address.lastIndex(of: ":").flatMap { Int(address[address.index(after: $0)...]) }
    }

    /// What a loader has against settings; empty if a node could start with them.
    static func problems(
        file: (path: String, text: String)? = nil, environment: [String: String] = [:], flags: [String] = []
    ) -> [String] {
        do throws(SettingsError) {
            _ = try Settings.load(file: file, environment: environment, flags: flags)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    /// The file with the settings that stand in it as examples: lines that begin with # and no blank behind it.
    static func withExamples(_ text: String) -> String {
        text.replacing(#/(?m)^( *)#(?=[a-z_]+:)/#) { "\($0.output.1)" }
    }
}
