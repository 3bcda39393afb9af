import Foundation
import GRPC
import JournalFormat
import NIOCore
import Primitives
import TestSupport
import Wire

/// 4 KiB durable appends over gRPC, against Debian's etcd in the same run, both loaded by Debian's h2load: a client of nobody's
/// interest, and so cheap that the two cores are left to the servers.
enum JournalBenchmark {
    static let valueBytes = 4096

    private struct Target {
        let process: Int32
        let url: String
        /// One gRPC message with its prefix, as h2load sends it each time.
        let body: String
        /// Writes that the server counts so far.
        let written: () async throws -> UInt64
    }

    static func run(group: any EventLoopGroup) async throws {
        guard let etcd = findProgram("etcd"), let h2load = findProgram("h2load") else {
            print("skipped: needs etcd and h2load (Debian packages etcd-server and nghttp2-client)")
            return
        }
        let directory = try temporaryDirectory("journal")
        let server = try ServerProcess(dataDirectory: directory + "/vecraft", settings: ["log.level=warning"])
        let running = try Etcd(etcd, directory: directory)
        defer {
            running.stop()
            server.terminate()
            removeTree(directory)
        }
        let ourClient = try await GRPCClient.connect(host: "127.0.0.1", port: server.grpcPort, group: group)
        let etcdClient = try await GRPCClient.connect(host: "127.0.0.1", port: running.port, group: group)
        let ours = Target(
            process: server.processID, url: "http://127.0.0.1:\(server.grpcPort)/vecraft.internal.v1.Journal/Append",
            body: try self.write(self.append(), directory + "/append")
        ) { try await self.committed(ourClient) }
        let theirs = Target(
            process: running.processID, url: "http://127.0.0.1:\(running.port)/etcdserverpb.KV/Put",
            body: try self.write(Etcd.put(key: "key", [UInt8](repeating: 0x61, count: self.valueBytes)), directory + "/put")
        ) { try await Etcd.revision(etcdClient) }
        var report = Report("journal")
        report.header("clients", "vecraft appends/s", "CPU us", "etcd puts/s", "CPU us", "ratio")
        for clients in [1, 64] {
            var rates: [[Double]] = [[], []], cpu: [[Double]] = [[], []], ratios: [Double] = []
            for _ in 0..<5 {
                for (i, target) in [ours, theirs].enumerated() {
                    let load = try await self.load(target, clients, h2load)
                    rates[i].append(load.rate)
                    cpu[i].append(load.cpu)
                }
                ratios.append(rates[0].last! / rates[1].last!)
            }
            report.row(
                "\(clients)", median(rates[0]).text(0), median(cpu[0]).text(), median(rates[1]).text(0),
                median(cpu[1]).text(), median(ratios).text(2))
            report.value("appends_per_second_\(clients)", median(rates[0]))
            report.value("etcd_puts_per_second_\(clients)", median(rates[1]))
            report.value("ratio_\(clients)", median(ratios))
        }
        report.note("4 KiB, each acknowledged when durable; 5 rounds in turn, medians of rates and of the ratio in each round;")
        report.note("64 clients: 4 connections with 16 calls each under way; target with 64 clients: 2.5 times")
        try report.finish()
        await ourClient.close()
        await etcdClient.close()
    }

    private static func append() -> [UInt8] {
        let entry = [UInt8](repeating: 0x61, count: self.valueBytes).withUnsafeBytes { raw in
            EncodedEntry.raw(
                header: EntryHeader(
                    partition: .data(0), tier: .interactive, operation: .barrier, tenant: "default", requestID: "bench",
                    trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: false)),
                body: raw)
        }
        return VecraftInternalV1.AppendRequest(partition: "data-0", entry: entry.bytes).encode()
    }

    private static func committed(_ client: GRPCClient) async throws -> UInt64 {
        let bytes = try await client.unary(
            "/vecraft.internal.v1.Journal/Partitions", VecraftInternalV1.PartitionsRequest().encode())
        let partitions = try VecraftInternalV1.PartitionsResponse.decode(bytes).partitions
        return partitions.first { $0.partition == "data-0" }?.committedOffset ?? 0
    }

    private static func write(_ message: [UInt8], _ path: String) throws -> String {
        let prefix = [0] + withUnsafeBytes(of: UInt32(message.count).bigEndian) { Array($0) }
        try Data(prefix + message).write(to: URL(fileURLWithPath: path))
        return path
    }

    private static func load(_ target: Target, _ clients: Int, _ h2load: String) async throws -> (rate: Double, cpu: Double) {
        let calls = clients == 1 ? 2_000 : 40_000
        let connections = min(clients, 4)
        let before = try await target.written()
        let cpuBefore = cpuSeconds(of: target.process)
        let outcome = try await PythonEnvironment.run(
            h2load,
            [
                "-n", "\(calls)", "-c", "\(connections)", "-m", "\(clients / connections)", "-d", target.body,
                "-H", "content-type: application/grpc", "-H", "te: trailers", target.url,
            ], limit: .seconds(120))
        let cpu = cpuSeconds(of: target.process) - cpuBefore
        // "finished in 2.12s, 18867.92 req/s, 1.07MB/s"
        guard outcome.succeeded, let line = outcome.output.split(separator: "\n").first(where: { $0.hasPrefix("finished in ") }),
            let rate = line.split(separator: " ").dropLast(2).last.flatMap({ Double($0) })
        else { throw VecraftError(.unknown, "h2load: \(outcome)") }
        let written = try await target.written() - before
        guard written == calls else { throw VecraftError(.dataLoss, "\(target.url): \(calls) calls, \(written) writes") }
        return (rate, cpu / Double(calls) * 1e6)
    }
}

/// A single etcd of its own on loopback.
final class Etcd {
    let port: Int
    private let process: Process

    init(_ binary: String, directory: String) throws {
        // etcd takes no port 0; ports are drawn until it starts.
        var started: (Process, Int)?
        for _ in 0..<10 where started == nil {
            let port = Int.random(in: 20_000..<60_000)
            let process = Process()
            process.executableURL = URL(fileURLWithPath: binary)
            process.arguments = [
                "--data-dir", directory + "/etcd-\(port)", "--listen-client-urls", "http://127.0.0.1:\(port)",
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
    }

    /// How many changes the store has seen: from the header (field 1) of a `RangeResponse`, its revision (field 3).
    static func revision(_ client: GRPCClient) async throws -> UInt64 {
        var bytes = Array(try await client.unary("/etcdserverpb.KV/Range", [0x0a, 0x03] + Array("key".utf8)))[...]
        func varint() -> UInt64 {
            var value: UInt64 = 0
            var shift: UInt64 = 0
            while let byte = bytes.popFirst() {
                value |= UInt64(byte & 0x7f) << shift
                shift += 7
                if byte < 0x80 { break }
            }
            return value
        }
        guard varint() == 0x0a else { return 0 }
        _ = varint()
        while !bytes.isEmpty {
            let tag = varint()
            let value = varint()
            if tag == 3 << 3 { return value }
        }
        return 0
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
