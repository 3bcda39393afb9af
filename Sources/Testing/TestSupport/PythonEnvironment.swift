import Foundation
import Glibc

/// A Python with the gRPC packages, for tests that let stock clients talk to our servers.
///
/// In this order: the interpreter named by `VECRAFT_PYTHON`; `python3` when it has the modules already; a virtual
/// environment under `.build/python-venv` of the package, made once (needs a package index) and kept.
package enum PythonEnvironment {
    /// A module to import, and the package that brings it.
    package struct Module: Sendable, Hashable {
        package let name: String
        package let package: String

        package static let grpc = Module(name: "grpc", package: "grpcio")
        package static let protobuf = Module(name: "google.protobuf", package: "protobuf")
        package static let health = Module(name: "grpc_health.v1.health_pb2", package: "grpcio-health-checking")
        package static let reflection = Module(name: "grpc_reflection.v1alpha.reflection_pb2", package: "grpcio-reflection")
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

    /// The path of an interpreter that imports all of `modules`.
    ///
    /// Tests that ask at once, in one process or several, wait for one of them to build the environment.
    /// - Parameter limit: For everything, the building included.
    package static func python(
        modules: [Module] = [.grpc, .protobuf], limit: Duration = .seconds(300)
    ) async throws -> String {
        if let named = ProcessInfo.processInfo.environment["VECRAFT_PYTHON"], !named.isEmpty {
            guard await self.canImport(modules, python: named) else {
                throw Failure(description: "VECRAFT_PYTHON=\(named) cannot import \(modules.map(\.name))")
            }
            return named
        }
        if let system = try? await self.run("/usr/bin/env", ["which", "python3"], limit: .seconds(10)), system.succeeded {
            let path = system.output.trimmingCharacters(in: .whitespacesAndNewlines)
            if await self.canImport(modules, python: path) { return path }
        }
        return try await self.environment(modules, until: ContinuousClock.now + limit)
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
        let outcome = try? await self.run(python, ["-c", program], limit: .seconds(60))
        return outcome?.succeeded ?? false
    }

    // MARK: The virtual environment

    /// The package's own folder, also when the sources are reached through a link.
    private static var packageRoot: URL {
        var folder = URL(fileURLWithPath: #filePath).resolvingSymlinksInPath()
        // Sources/Testing/TestSupport/PythonEnvironment.swift
        for _ in 0..<4 { folder.deleteLastPathComponent() }
        return folder
    }

    private static func environment(_ modules: [Module], until end: ContinuousClock.Instant) async throws -> String {
        let build = self.packageRoot.appendingPathComponent(".build")
        try FileManager.default.createDirectory(at: build, withIntermediateDirectories: true)
        let folder = build.appendingPathComponent("python-venv")
        let python = folder.appendingPathComponent("bin/python").path
        let lock = try await self.lock(build.appendingPathComponent("python-venv.lock").path, until: end)
        defer { close(lock) }
        if await self.canImport(modules, python: python) { return python }
        if !FileManager.default.isExecutableFile(atPath: python) {
            try? FileManager.default.removeItem(at: folder)
            try await self.step("/usr/bin/env", ["python3", "-m", "venv", folder.path], until: end)
        }
        let packages = modules.map(\.package)
        try await self.step(
            python, ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"] + packages, until: end)
        guard await self.canImport(modules, python: python) else {
            throw Failure(description: "\(python) cannot import \(modules.map(\.name)) after installing \(packages)")
        }
        return python
    }

    private static func step(_ program: String, _ arguments: [String], until end: ContinuousClock.Instant) async throws {
        let left = ContinuousClock.now.duration(to: end)
        guard left > .zero else { throw Failure(description: "out of time before \(arguments.joined(separator: " "))") }
        let outcome = try await self.run(program, arguments, limit: left)
        guard outcome.succeeded else {
            throw Failure(description: "\(program) \(arguments.joined(separator: " ")): \(outcome)")
        }
    }

    /// An exclusive lock on a file: `flock` holds between processes and between two openings in one.
    private static func lock(_ path: String, until end: ContinuousClock.Instant) async throws -> Int32 {
        let file = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
        guard file >= 0 else { throw Failure(description: "cannot open \(path): errno \(errno)") }
        while flock(file, LOCK_EX | LOCK_NB) != 0 {
            guard errno == EWOULDBLOCK || errno == EINTR, ContinuousClock.now < end else {
                close(file)
                throw Failure(description: "cannot lock \(path): errno \(errno)")
            }
            do { try await Task.sleep(for: .milliseconds(100)) } catch {
                close(file)
                throw error
            }
        }
        return file
    }
}
