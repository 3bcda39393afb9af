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
    /// - Parameters:
    ///   - environment: Added to ours.
    ///   - input: What it reads from standard input.
    ///   - limit: It is killed when it takes longer, with all that it started in its group.
    package static func run(
        _ program: String, _ arguments: [String], environment: [String: String] = [:], input: String = "",
        limit: Duration
    ) async throws -> Outcome {
        let whole = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        return try await self.run(program, arguments, wholeEnvironment: whole, input: input, limit: limit)
    }

    /// - Parameter wholeEnvironment: Instead of ours.
    package static func run(
        _ program: String, _ arguments: [String], wholeEnvironment: [String: String], input: String = "",
        limit: Duration
    ) async throws -> Outcome {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vecraft-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        // Files, not pipes: a pipe nobody reads stops the program when it is full, and one that other processes, started at the same
        // moment, inherit does not end.
        let output = folder.appendingPathComponent("output")
        let errors = folder.appendingPathComponent("errors")
        for file in [output, errors] { _ = FileManager.default.createFile(atPath: file.path, contents: nil) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.environment = wholeEnvironment
        let read = folder.appendingPathComponent("input")
        try Data(input.utf8).write(to: read)
        process.standardInput = try FileHandle(forReadingFrom: read)
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: errors)
        let (status, timedOut) = try await self.wait(for: process, limit: limit)
        return Outcome(
            status: status, output: self.text(output), errors: self.text(errors), timedOut: timedOut)
    }

    private static func wait(for process: Process, limit: Duration) async throws -> (status: Int32, timedOut: Bool) {
        try process.run()
        let end = ContinuousClock.now + limit
        while true {
            // The clock first: one that ended in time is not late because we were.
            let isLate = ContinuousClock.now >= end
            if let status = process.endStatus { return (status, false) }
            if isLate { return (self.kill(process), true) }
            do { try await Task.sleep(for: .milliseconds(5)) } catch {
                self.kill(process)
                throw error
            }
        }
    }

    @discardableResult
    private static func kill(_ process: Process) -> Int32 {
        let id = process.processIdentifier
        // With its children, if the group is its own.
        if getpgid(id) == id { Glibc.kill(-id, SIGKILL) }
        Glibc.kill(id, SIGKILL)
        return process.awaitEnd()
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
