import Foundation
import Synchronization

/// How to start a `vecraft serve`.
package struct ServerLaunch: Sendable {
    package var dataDirectory: String
    package var grpcPort = 0
    package var httpPort = 0
    /// `section.key=value`, as flags.
    package var settings: [String] = []
    /// More flags.
    package var arguments: [String] = []
    package var environment: [String: String] = [:]
    /// A program, with its arguments, that becomes the server: its process id stays the server's.
    package var through: [String] = []

    package init(dataDirectory: String) { self.dataDirectory = dataDirectory }
}

/// A real `vecraft serve`, with ports of its own choosing unless told otherwise, that a test may kill at any moment.
package final class ServerProcess: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    package let dataDirectory: String
    private let ports = Mutex((grpc: 0, http: 0))
    private let process: Mutex<Process>
    private let output: Pipe
    private let log: Mutex<FileHandle?>

    /// The `vecraft` binary built beside the running test bundle; `VECRAFT_BINARY` overrides.
    package static var binary: String {
        if let path = ProcessInfo.processInfo.environment["VECRAFT_BINARY"] { return path }
        let bundle = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        return bundle.deletingLastPathComponent().appendingPathComponent("vecraft").path
    }

    /// Whether the binary can be one node of several.
    package static let takesPeers =
        (try? runCommand(ServerProcess.binary, "serve", "--help"))?.contains("--peers") ?? false

    /// Starts a node and waits until it says that it is ready.
    /// - Parameters:
    ///   - settings: `section.key=value`, as flags.
    ///   - patience: How long the start (with its replay) may take.
    package convenience init(
        dataDirectory: String, settings: [String] = [], environment: [String: String] = [:],
        patience: Duration = .seconds(180)
    ) throws {
        var launch = ServerLaunch(dataDirectory: dataDirectory)
        launch.settings = settings
        launch.environment = environment
        try self.init(beginning: launch)
        try self.awaitReady(patience)
    }

    /// Starts a node and waits for nothing.
    package init(beginning launch: ServerLaunch) throws {
        let process = Process()
        let command =
            launch.through + [
                Self.binary, "serve", "--data-directory", launch.dataDirectory, "--grpc-port", "\(launch.grpcPort)",
                "--http-port", "\(launch.httpPort)",
            ] + launch.arguments + launch.settings.flatMap { ["--set", $0] }
        process.executableURL = URL(fileURLWithPath: command[0])
        process.arguments = Array(command.dropFirst())
        // Entries that the node writes by itself would be counted among those of the test; and calls that name no deadline are of
        // tests that are not about one.
        process.environment = ProcessInfo.processInfo.environment
            .merging(["VECRAFT_METRICS__CANARY_SECONDS": "0", "VECRAFT_QUERY__DEFAULT_TIMEOUT_MS": "60000"]) { $1 }
            .merging(launch.environment) { $1 }
        let output = Pipe()
        process.standardOutput = output
        let logPath = launch.dataDirectory + ".log"
        if !FileManager.default.fileExists(atPath: logPath) {
            _ = FileManager.default.createFile(atPath: logPath, contents: nil)
        }
        let log = FileHandle(forWritingAtPath: logPath)
        _ = try log?.seekToEnd()
        process.standardError = log ?? FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()
        self.dataDirectory = launch.dataDirectory
        self.process = Mutex(process)
        self.output = output
        self.log = Mutex(log)
    }

    /// Waits until the node says that it is ready; ends it if it does not.
    package func awaitReady(_ patience: Duration) throws {
        let process = self.process.withLock { $0 }
        let line = Self.readyLine(self.output.fileHandleForReading, process, patience)
        guard let line, let grpc = Self.port("grpc", in: line), let http = Self.port("http", in: line) else {
            let status = process.endStatus.map { "exit \($0)" } ?? "still running"
            self.kill()
            let said = self.logText.suffix(4000)
            throw Failure(description: "vecraft serve did not become ready (\(status)); it said: \(said)")
        }
        self.ports.withLock { $0 = (grpc, http) }
    }

    /// Where it listens, once it is ready.
    package var grpcPort: Int { self.ports.withLock { $0.grpc } }
    package var httpPort: Int { self.ports.withLock { $0.http } }

    package var processID: Int32 { self.process.withLock { $0.processIdentifier } }
    package var isRunning: Bool { self.process.withLock { $0.endStatus == nil } }

    /// What the node wrote to standard error so far, from all starts on this directory.
    package var logText: String { (try? String(contentsOfFile: self.dataDirectory + ".log", encoding: .utf8)) ?? "" }

    /// kill -9: nothing is flushed, nothing is said.
    package func kill() {
        self.process.withLock { process in
            if process.endStatus == nil { Foundation.kill(process.processIdentifier, SIGKILL) }
            process.awaitEnd()
        }
    }

    /// SIGTERM, then waits for the end. Returns the exit code.
    @discardableResult
    package func terminate() -> Int32 {
        self.process.withLock { process in
            if process.endStatus == nil { Foundation.kill(process.processIdentifier, SIGTERM) }
            return process.awaitEnd()
        }
    }

    /// SIGSTOP: it stands still, and its peers hear nothing, until ``resume()``.
    package func suspend() { Foundation.kill(self.processID, SIGSTOP) }
    package func resume() { Foundation.kill(self.processID, SIGCONT) }

    deinit {
        let process = self.process.withLock { $0 }
        if process.endStatus == nil { Foundation.kill(process.processIdentifier, SIGKILL) }
    }

    private static func readyLine(_ handle: FileHandle, _ process: Process, _ patience: Duration) -> String? {
        let descriptor = handle.fileDescriptor
        var text = ""
        let end = ContinuousClock.now + patience
        var buffer = [UInt8](repeating: 0, count: 4096)
        while ContinuousClock.now < end {
            var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let ready = Foundation.poll(&poll, 1, 100)
            if ready > 0 {
                let count = read(descriptor, &buffer, buffer.count)
                if count <= 0 { return nil }
                text += String(decoding: buffer[0..<count], as: UTF8.self)
                for line in text.split(separator: "\n") where line.hasPrefix("vecraft ready ") && text.contains("\n") {
                    return String(line)
                }
            } else if process.endStatus != nil {
                return nil
            }
        }
        return nil
    }

    private static func port(_ name: String, in line: String) -> Int? {
        for part in line.split(separator: " ") where part.hasPrefix(name + "=") {
            return part.split(separator: ":").last.flatMap { Int($0) }
        }
        return nil
    }
}
