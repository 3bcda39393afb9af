import Foundation
import Primitives
import Synchronization
import TestSupport

/// A real Prometheus on loopback, with storage of its own that goes with it.
///
/// `make test` sees that Debian's is there (`.ci/packages test`).
package final class PrometheusProcess: Sendable {
    package static let binary = findProgram("prometheus")
    package static let missing = "prometheus is not there; .ci/packages test fetches Debian's"

    package let port: Int
    private let process: Mutex<Process>
    private let folder: TemporaryDirectory
    private let log: String

    /// Starts it and waits until it answers; draws another port if the first is taken meanwhile.
    /// - Parameter files: What it reads, by name; one is `prometheus.yml`.
    package static func start(files: [String: String]) async throws -> PrometheusProcess {
        var last: (any Error)?
        for _ in 0..<5 {
            do {
                let prometheus = try PrometheusProcess(files)
                try await eventually("prometheus answers", within: .seconds(60)) {
                    guard prometheus.isRunning else { return true }
                    return try await http("GET", prometheus.port, "/-/ready").status == 200
                }
                guard prometheus.isRunning else {
                    throw CommandFailure(description: "prometheus has ended: \(prometheus.logText.suffix(2_000))")
                }
                return prometheus
            } catch {
                last = error
            }
        }
        throw last ?? CommandFailure(description: "prometheus does not start")
    }

    private init(_ files: [String: String]) throws {
        guard let binary = Self.binary else { throw CommandFailure(description: Self.missing) }
        let folder = try TemporaryDirectory()
        for (name, text) in files { try text.write(toFile: folder.file(name), atomically: false, encoding: .utf8) }
        self.port = FreePorts.take(1)[0]
        self.log = folder.file("log")
        _ = FileManager.default.createFile(atPath: self.log, contents: nil)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: binary)
        process.arguments = [
            "--config.file", folder.file("prometheus.yml"), "--storage.tsdb.path", folder.file("data"),
            "--web.listen-address", "127.0.0.1:\(self.port)", "--log.level", "warn",
            // Several queries are asked at once.
            "--query.max-concurrency", "4",
        ]
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(forWritingAtPath: self.log) ?? FileHandle.nullDevice
        try process.run()
        self.folder = folder
        self.process = Mutex(process)
    }

    deinit {
        let process = self.process.withLock { $0 }
        if process.endStatus == nil { Foundation.kill(process.processIdentifier, SIGKILL) }
        process.awaitEnd()
    }

    private var isRunning: Bool { self.process.withLock { $0.endStatus == nil } }
    package var logText: String { (try? String(contentsOfFile: self.log, encoding: .utf8)) ?? "" }

    /// `data` of an answer of its HTTP interface.
    private func ask(_ path: String, _ parameters: [String: String] = [:]) async throws -> JSONValue {
        var allowed = CharacterSet.alphanumerics
        allowed.insert(charactersIn: "-._~")
        let query = parameters.map { "\($0)=\($1.addingPercentEncoding(withAllowedCharacters: allowed) ?? "")" }
        let answer = try await http("GET", self.port, "/api/v1/\(path)?\(query.joined(separator: "&"))")
        let json = try JSONValue(parsing: answer.body)
        guard json["status"]?.stringValue == "success", let data = json["data"] else {
            throw CommandFailure(description: json["error"]?.stringValue ?? answer.body)
        }
        return data
    }

    /// One series of an answer.
    package struct Series: Sendable {
        package let labels: [String: String]
        package let values: [Double]
    }

    /// An expression over the last seconds, a value for each; at one time, the last alone.
    package func query(_ expression: String, last seconds: Int) async throws -> [Series] {
        let now = Date().timeIntervalSince1970
        let data = try await self.ask(
            "query_range",
            ["query": expression, "start": "\(now - Double(seconds))", "end": "\(now)", "step": "1"])
        return (data["result"]?.arrayValue ?? []).map { series in
            Series(
                labels: labels(series["metric"]),
                values: (series["values"]?.arrayValue ?? []).compactMap { $0[1]?.stringValue.flatMap { Double($0) } })
        }
    }

    package func value(_ expression: String) async throws -> Double? {
        try await self.ask("query", ["query": expression])["result"]?[0]?["value"]?[1]?.stringValue.flatMap {
            Double($0)
        }
    }

    /// Alerts that fire or are about to.
    package func alerts() async throws -> [Alert] {
        (try await self.ask("alerts")["alerts"]?.arrayValue ?? []).map {
            Alert(
                labels: labels($0["labels"]), annotations: labels($0["annotations"]),
                isFiring: $0["state"]?.stringValue == "firing")
        }
    }

    package struct Alert: Sendable, CustomStringConvertible {
        package let labels: [String: String]
        package let annotations: [String: String]
        package let isFiring: Bool
        package var name: String { self.labels["alertname"] ?? "" }
        package var description: String { "\(self.name) \(self.labels) \(self.annotations["description"] ?? "")" }
    }

    /// What it found wrong in evaluating its rules, by rule.
    package func ruleFaults() async throws -> [String: String] {
        var faults: [String: String] = [:]
        for group in try await self.ask("rules")["groups"]?.arrayValue ?? [] {
            for rule in group["rules"]?.arrayValue ?? [] {
                let error = rule["lastError"]?.stringValue ?? ""
                if !error.isEmpty { faults[rule["name"]?.stringValue ?? ""] = error }
            }
        }
        return faults
    }
}

private func labels(_ json: JSONValue?) -> [String: String] {
    var found: [String: String] = [:]
    for member in json?.objectValue ?? [] { found[member.key] = member.value.stringValue }
    return found
}
