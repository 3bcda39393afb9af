import Foundation
import GRPC
import JournalFormat
import NIOCore
import Primitives
import TestSupport
import Wire

/// 4 KiB durable appends over gRPC, against Debian's etcd with the same client in the same run.
enum JournalBenchmark {
    static let valueBytes = 4096

    static func run(group: any EventLoopGroup) async throws {
        guard let etcd = findProgram("etcd") else {
            print("skipped: there is no etcd here (Debian package etcd-server)")
            return
        }
        let server = try ServerProcess(
            dataDirectory: try temporaryDirectory("journal"), settings: ["log.level=warning"])
        let running = try Etcd(etcd)
        defer { running.stop() }
        let value = [UInt8](repeating: 0x61, count: self.valueBytes)
        let entry = value.withUnsafeBytes { raw in
            EncodedEntry.raw(
                header: EntryHeader(
                    partition: .data(0), tier: .interactive, operation: .barrier, tenant: "default", requestID: "bench",
                    trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: false)),
                body: raw)
        }
        let append = VecraftInternalV1.AppendRequest(partition: "data-0", entry: entry.bytes).encode()
        var report = Report("journal")
        report.header("clients", "vecraft appends/s", "CPU us", "etcd puts/s", "CPU us", "ratio")
        for clients in [1, 64] {
            var ours: [Double] = [], theirs: [Double] = [], ourCPU: [Double] = [], theirCPU: [Double] = []
            for _ in 0..<3 {
                let a = try await self.load(
                    port: server.grpcPort, process: server.processID, "/vecraft.internal.v1.Journal/Append", clients, group
                ) { _ in append }
                let b = try await self.load(
                    port: running.port, process: running.processID, "/etcdserverpb.KV/Put", clients, group
                ) { Etcd.put(key: "key-\($0)", value) }
                ours.append(a.rate)
                theirs.append(b.rate)
                ourCPU.append(a.cpu)
                theirCPU.append(b.cpu)
            }
            let ratio = median(ours) / median(theirs)
            report.row(
                "\(clients)", median(ours).text(0), median(ourCPU).text(), median(theirs).text(0),
                median(theirCPU).text(), ratio.text(2))
            report.value("appends_per_second_\(clients)", median(ours))
            report.value("etcd_puts_per_second_\(clients)", median(theirs))
            report.value("ratio_\(clients)", ratio)
        }
        report.note("4 KiB, each acknowledged when durable; rounds interleaved, medians; target with 64 clients: 2.5 times")
        try report.finish()
        server.terminate()
        removeTree(server.dataDirectory)
    }

    private static func load(
        port: Int, process: Int32, _ method: String, _ clients: Int, _ group: any EventLoopGroup,
        message: @escaping @Sendable (Int) -> [UInt8]
    ) async throws -> (rate: Double, cpu: Double) {
        let connections = try await withThrowingTaskGroup(of: GRPCClient.self) { tasks in
            for _ in 0..<min(clients, 4) {
                tasks.addTask { try await GRPCClient.connect(host: "127.0.0.1", port: port, group: group) }
            }
            var made: [GRPCClient] = []
            for try await client in tasks { made.append(client) }
            return made
        }
        let calls = clients == 1 ? 4_000 : 40_000
        let before = cpuSeconds(of: process)
        let spent = try await seconds {
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                for client in 0..<clients {
                    tasks.addTask {
                        var i = client
                        while i < calls {
                            _ = try await connections[client % connections.count].unary(method, message(i))
                            i += clients
                        }
                    }
                }
                try await tasks.waitForAll()
            }
        }
        let cpu = cpuSeconds(of: process) - before
        for connection in connections { await connection.close() }
        return (Double(calls) / spent, cpu / Double(calls) * 1e6)
    }
}

/// A single etcd of its own on loopback.
final class Etcd {
    let port: Int
    private let process: Process
    private let directory: String

    init(_ binary: String) throws {
        self.directory = try temporaryDirectory("etcd")
        // etcd takes no port 0; ports are drawn until it starts.
        var started: (Process, Int)?
        for _ in 0..<10 where started == nil {
            let port = Int.random(in: 20_000..<60_000)
            let process = Process()
            process.executableURL = URL(fileURLWithPath: binary)
            process.arguments = [
                "--data-dir", self.directory + "/\(port)", "--listen-client-urls", "http://127.0.0.1:\(port)",
                "--advertise-client-urls", "http://127.0.0.1:\(port)", "--listen-peer-urls", "http://127.0.0.1:\(port + 1)",
                "--initial-advertise-peer-urls", "http://127.0.0.1:\(port + 1)",
                "--initial-cluster", "default=http://127.0.0.1:\(port + 1)", "--log-level", "error",
            ]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            try process.run()
            Thread.sleep(forTimeInterval: 2)
            if process.isRunning { started = (process, port) }
        }
        guard let started else { throw VecraftError(.unavailable, "etcd does not start") }
        (self.process, self.port) = started
    }

    var processID: Int32 { self.process.processIdentifier }

    func stop() {
        self.process.terminate()
        self.process.waitUntilExit()
        removeTree(self.directory)
    }

    /// An encoded `etcdserverpb.PutRequest`: field 1 the key, field 2 the value.
    static func put(key: String, _ value: [UInt8]) -> [UInt8] {
        func varint(_ value: Int) -> [UInt8] {
            var left = value
            var bytes: [UInt8] = []
            while left >= 0x80 {
                bytes.append(UInt8(left & 0x7f) | 0x80)
                left >>= 7
            }
            return bytes + [UInt8(left)]
        }
        return [0x0a] + varint(key.utf8.count) + Array(key.utf8) + [0x12] + varint(value.count) + value
    }
}
