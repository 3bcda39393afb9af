internal import Foundation
internal import Synchronization

/// A collector of spans made of stock parts (grpcio, Python's HTTP server, OpenTelemetry's own messages), and what it was sent.
package final class SpanCollector: Sendable {
    package struct Link: Decodable, Sendable {
        package let trace, id: String
    }
    package enum Value: Decodable, Sendable, Equatable {
        case text(String)
        case flag(Bool)
        case number(Double)
        case other

        package init(from decoder: any Decoder) throws {
            let value = try decoder.singleValueContainer()
            if let flag = try? value.decode(Bool.self) {
                self = .flag(flag)
            } else if let number = try? value.decode(Double.self) {
                self = .number(number)
            } else if let text = try? value.decode(String.self) {
                self = .text(text)
            } else {
                self = .other
            }
        }
        package var text: String? { if case .text(let text) = self { text } else { nil } }
        package var number: Double? { if case .number(let number) = self { number } else { nil } }
    }
    package struct Span: Decodable, Sendable {
        package let trace, id, parent, state, name, kind, message, scope: String
        package let start, end: UInt64
        package let attributes: [String: Value]
        package let links: [Link]
        /// 0 unset, 1 OK, 2 error.
        package let status: Int
    }
    package struct Request: Decodable, Sendable {
        /// "grpc", or "http" and the path.
        package let way: String
        package let headers: [String: String]
        package let resource: [String: Value]
        package let spans: [Span]
    }

    package static let module = PythonEnvironment.Module(name: "opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc")
    package static func isThere() async -> Bool {
        await PythonEnvironment.python(modules: [.grpc, self.module]) != nil
    }

    package let grpcPort: Int
    package let httpPort: Int
    private let process: Mutex<Process>
    private let directory: TemporaryDirectory
    private var file: String { self.directory.file("spans.jsonl") }

    /// - Parameter failures: So many requests are refused first, with what may be sent again.
    package static func start(failures: Int = 0) async throws -> SpanCollector {
        guard let python = await PythonEnvironment.python(modules: [.grpc, self.module]) else {
            throw PythonEnvironment.Failure(description: "no Python with opentelemetry-proto: run .ci/python")
        }
        return try await offThePool { try SpanCollector(python, failures) }
    }

    private init(_ python: String, _ failures: Int) throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().deletingLastPathComponent()
        let directory = try TemporaryDirectory()
        self.directory = directory
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [
            python, root.appendingPathComponent("Tests/EndToEndTests/Python/collector.py").path,
            directory.file("spans.jsonl"), "\(failures)",
        ]
        // Held open: its end ends the collector.
        process.standardInput = Pipe()
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        var said = Data()
        while !said.contains(UInt8(ascii: "\n")) {
            let more = output.fileHandleForReading.availableData
            if more.isEmpty { break }
            said += more
        }
        let words = String(decoding: said, as: UTF8.self).split(whereSeparator: \.isWhitespace)
        guard words.count == 4, let grpc = Int(words[1]), let http = Int(words[3]) else {
            process.terminate()
            throw PythonEnvironment.Failure(description: "the collector did not start")
        }
        (self.grpcPort, self.httpPort) = (grpc, http)
        self.process = Mutex(process)
    }

    deinit { self.process.withLock { if $0.endStatus == nil { $0.terminate() } } }

    package var requests: [Request] {
        get throws {
            guard let data = FileManager.default.contents(atPath: self.file) else { return [] }
            // The last line may still be written.
            return try data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast().map {
                try JSONDecoder().decode(Request.self, from: $0)
            }
        }
    }
    package var spans: [Span] { get throws { try self.requests.flatMap(\.spans) } }
}
