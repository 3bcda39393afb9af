import Foundation
import Glibc

/// A Python with the gRPC packages, for tests that let stock clients talk to our servers.
///
/// In this order: the interpreter named by `VECRAFT_PYTHON`; the virtual environment that `.ci/python` makes (`.build/venv` of
/// the package); `python3` when it has the modules. Nothing is installed here: a test is no place to wait for a package index.
package enum PythonEnvironment {
    /// A module to import.
    package struct Module: Sendable, Hashable {
        package let name: String

        package static let grpc = Module(name: "grpc")
        package static let prometheus = Module(name: "prometheus_client")
    }

    /// What a process left behind.
    package struct Outcome: Sendable, CustomStringConvertible {
        package let status: Int32
        package let output: String
        package let errors: String
        package let timedOut: Bool

        package var succeeded: Bool { self.status == 0 && !self.timedOut }
        package var description: String {
            "status \(self.status)\(self.timedOut ? " (out of time)" : "")\n\(self.output)\n\(self.errors)"
        }
    }

    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    /// The path of an interpreter that imports all of `modules`; nil when there is none.
    package static func python(modules: [Module]) async -> String? {
        let named = ProcessInfo.processInfo.environment["VECRAFT_PYTHON"] ?? ""
        let own = self.packageRoot.appendingPathComponent(".build/venv/bin/python").path
        for python in named.isEmpty ? [own, "python3"] : [named] where await self.canImport(modules, python: python) {
            return python
        }
        return nil
    }

    /// The package's own folder, also when the sources are reached through a link.
    private static var packageRoot: URL {
        var folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        // Sources/Testing/TestSupport/PythonEnvironment.swift
        for _ in 0..<4 { folder.deleteLastPathComponent() }
        return folder
    }

    /// Runs a program and waits for it, without holding a thread.
    /// - Parameter limit: It is killed when it takes longer.
    package static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], limit: Duration
    ) async throws -> Outcome {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vecraft-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, not pipes: a pipe nobody reads stops the program when it is full.
        let output = folder.appendingPathComponent("output")
        let errors = folder.appendingPathComponent("errors")
        for file in [output, errors] { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: errors)
        let timedOut = try await self.wait(for: process, limit: limit)
        return Outcome(
            status: process.terminationStatus, output: self.text(output), errors: self.text(errors), timedOut: timedOut)
    }

    private static func wait(for process: Process, limit: Duration) async throws -> Bool {
        let ended = AsyncStream<Void>.makeStream()
        process.terminationHandler = { _ in ended.continuation.finish() }
        try process.run()
        let pid = process.processIdentifier
        return await withTaskGroup(of: Bool.self) { group in
            group.addTask {
                for await _ in ended.stream {}
                return false
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                if !Task.isCancelled { kill(pid, SIGKILL) }
                return !Task.isCancelled
            }
            let first = await group.next() ?? false
            group.cancelAll()
            // Killed, it still has to be seen to end: only then is there a status.
            if first { process.waitUntilExit() }
            return first
        }
    }

    private static func text(_ file: URL) -> String {
        (try? Data(contentsOf: file)).map { String(decoding: $0, as: UTF8.self) } ?? ""
    }

    private static func canImport(_ modules: [Module], python: String) async -> Bool {
        let program = modules.map { "import \($0.name)" }.joined(separator: "\n")
        let outcome = try? await self.run("/usr/bin/env", [python, "-c", program], limit: .seconds(300))
        return outcome?.succeeded ?? false
    }
}
