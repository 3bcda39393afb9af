import Foundation
import Synchronization

/// A real `vecraft serve` on loopback, with ports of its own choosing, that a test may kill at any moment.
package final class ServerProcess: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
    }

    package let dataDirectory: String
    package let grpcPort: Int
    package let httpPort: Int
    private let process: Mutex<Process>
    private let log: Mutex<FileHandle?>

    /// The `vecraft` binary built beside the running test bundle; `VECRAFT_BINARY` overrides.
    package static var binary: String {
        if let path = ProcessInfo.processInfo.environment["VECRAFT_BINARY"] { return path }
        let bundle = URL(fileURLWithPath: CommandLine.arguments[0]).resolvingSymlinksInPath()
        return bundle.deletingLastPathComponent().appendingPathComponent("vecraft").path
    }

    /// Starts a node and waits until it says that it is ready.
    /// - Parameters:
    ///   - settings: `section.key=value`, as flags.
    ///   - patience: How long the start (with its replay) may take.
    package init(
        dataDirectory: String, settings: [String] = [], environment: [String: String] = [:],
        patience: Duration = .seconds(60)
    ) throws {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.binary)
        process.arguments =
            ["serve", "--data-directory", dataDirectory, "--grpc-port", "0", "--http-port", "0"]
            + settings.flatMap { ["--set", $0] }
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        let output = Pipe()
        process.standardOutput = output
        let logPath = dataDirectory + ".log"
        if !FileManager.default.fileExists(atPath: logPath) {
            _ = FileManager.default.createFile(atPath: logPath, contents: nil)
        }
        let log = FileHandle(forWritingAtPath: logPath)
        _ = try log?.seekToEnd()
        process.standardError = log ?? FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        try process.run()

        let line = Self.readyLine(output.fileHandleForReading, process, patience)
        guard let line, let grpc = Self.port("grpc", in: line), let http = Self.port("http", in: line) else {
            process.terminate()
            process.waitUntilExit()
            let said = (try? String(contentsOfFile: logPath, encoding: .utf8))?.suffix(4000) ?? ""
            throw Failure(description: "vecraft serve did not become ready (exit \(process.terminationStatus)); it said: \(said)")
        }
        self.dataDirectory = dataDirectory
        self.grpcPort = grpc
        self.httpPort = http
        self.process = Mutex(process)
        self.log = Mutex(log)
    }

    package var processID: Int32 { self.process.withLock { $0.processIdentifier } }
    package var isRunning: Bool { self.process.withLock { $0.isRunning } }

    /// What the node wrote to standard error so far, from all starts on this directory.
    package var logText: String { (try? String(contentsOfFile: self.dataDirectory + ".log", encoding: .utf8)) ?? "" }

    /// kill -9: nothing is flushed, nothing is said.
    package func kill() {
        self.process.withLock { process in
            if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
            process.waitUntilExit()
        }
    }

    /// SIGTERM, then waits for the end. Returns the exit code.
    @discardableResult
    package func terminate() -> Int32 {
        self.process.withLock { process in
            if process.isRunning { Foundation.kill(process.processIdentifier, SIGTERM) }
            process.waitUntilExit()
            return process.terminationStatus
        }
    }

    deinit {
        let process = self.process.withLock { $0 }
        if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) }
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
            } else if !process.isRunning {
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
