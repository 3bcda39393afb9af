package import Foundation

/// Files of the project, by their paths from its root.
package enum ProjectFiles {
    /// Also when the sources are reached through a link.
    package static let root: URL = {
        var folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        // Sources/Testing/DashboardSupport/ProjectFiles.swift
        for _ in 0..<4 { folder.deleteLastPathComponent() }
        return folder
    }()

    package static func text(_ path: String) throws -> String {
        try String(contentsOf: self.root.appendingPathComponent(path), encoding: .utf8)
    }

    /// Names in a folder, in order.
    package static func names(in folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: self.root.appendingPathComponent(folder).path).sorted()
    }

    /// All texts of files with an ending, anywhere under a folder.
    package static func texts(under folder: String, ending: String) throws -> [String] {
        try FileManager.default.subpathsOfDirectory(atPath: self.root.appendingPathComponent(folder).path)
            .filter { $0.hasSuffix(ending) }.sorted().map { try self.text("\(folder)/\($0)") }
    }
}
