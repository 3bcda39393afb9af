import ClusterSupport
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
    /// Values in one bulk entry, and in one of etcd's transactions (it takes 128 operations at most).
    static let bulkValues = 64

    /// Where to send, and what it costs whom.
    struct Target {
        let processes: [Int32]
        /// Host and port of the leader, and the method. Asked before each round.
        let url: () async throws -> String
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
        let modes = CommandLine.arguments.dropFirst(2)
        if modes.isEmpty || modes.contains("1") { try await self.alone(etcd, h2load, group) }
        if modes.isEmpty || modes.contains("3") { try await self.replicated(etcd, h2load, group) }
    }

    /// One node against one member.
    private static func alone(_ etcd: String, _ h2load: String, _ group: any EventLoopGroup) async throws {
        let directory = try temporaryDirectory("journal")
        let server = try ServerProcess(dataDirectory: directory + "/vecraft", settings: ["log.level=warning"])
        let running = try await Etcd.start(etcd, directory: directory, members: 1, group: group)
        let client = try await GRPCClient.connect(host: "127.0.0.1", port: server.grpcPort, group: group)
        let ours = Target(
            processes: [server.processID], url: { "http://127.0.0.1:\(server.grpcPort)\(self.append)" },
            body: try self.write(self.append(self.valueBytes), directory + "/append")
        ) { try await self.committed(client) }
        let theirs = Target(
            processes: running.processIDs, url: { "http://127.0.0.1:\(running.members[0].port)/etcdserverpb.KV/Put" },
            body: try self.write(
                Etcd.put(key: "key", [UInt8](repeating: 0x61, count: self.valueBytes)), directory + "/put")
        ) { try await Etcd.revision(running.members[0].client) }
        var report = Report("journal")
        report.header("clients", "vecraft appends/s", "CPU us", "etcd puts/s", "CPU us", "ratio")
        try await self.compare(ours, theirs, h2load, &report)
        report.note(
            "4 KiB, each acknowledged when durable; 5 rounds in turn, medians of rates and of the ratio in each round;")
        report.note("64 clients: 4 connections with 16 calls each under way; target with 64 clients: 2.5 times")
        try report.finish()
        await client.close()
        await running.stop()
        server.terminate()
        removeTree(directory)
    }

    /// Three replicas against three members, each in a process of its own.
    private static func replicated(_ etcd: String, _ h2load: String, _ group: any EventLoopGroup) async throws {
        let directory = try temporaryDirectory("journal")
        var options = TestCluster.Options()
        options.roles = "journal"
        options.settings = ["log.level=warning"]
        let cluster = try await TestCluster.start(options)
        let running = try await Etcd.start(etcd, directory: directory, members: 3, group: group)
        let processes = cluster.nodes.map(\.processID)
        func leader() async throws -> ClusterNode { cluster[try await cluster.leader(of: "data-0").node] }
        func ours(_ bytes: Int, _ name: String) throws -> Target {
            Target(
                processes: processes, url: { "http://127.0.0.1:\(try await leader().grpcPort)\(self.append)" },
                body: try self.write(self.append(bytes), directory + "/" + name)
            ) { try await leader().partitions()["data-0"]?.committedOffset ?? 0 }
        }
        func theirs(_ method: String, _ message: [UInt8], _ name: String) throws -> Target {
            Target(
                processes: running.processIDs,
                url: { "http://127.0.0.1:\(try await running.leader().port)/etcdserverpb.KV/\(method)" },
                body: try self.write(message, directory + "/" + name)
            ) { try await Etcd.revision(try await running.leader().client) }
        }
        let value = [UInt8](repeating: 0x61, count: self.valueBytes)
        var report = Report("journal-3")
        report.header("three replicas", "vecraft", "CPU us", "etcd", "CPU us", "ratio")
        try await self.compare(
            ours(self.valueBytes, "append"), theirs("Put", Etcd.put(key: "key", value), "put"), h2load, &report)
        try await self.compareBulk(
            ours(self.valueBytes * self.bulkValues, "bulk"),
            theirs("Txn", Etcd.transaction(self.bulkValues, value), "txn"),
            h2load, &report)
        report.note(
            "4 KiB values, each call acknowledged when durable at a majority; appends a second and MB of values a second;"
        )
        report.note("CPU of all three processes of a system, by append and by bulk call of \(self.bulkValues) values;")
        report.note("5 rounds in turn, medians of rates and of the ratio in each round; the leader is called;")
        report.note(
            "64 clients: 4 connections with 16 calls each under way; targets: 4 times with 64 clients, bulk 100 MB/s")
        try report.finish()
        await running.stop()
        let failed = await cluster.stopAll()
        if !failed.isEmpty { print("exit codes: \(failed)") }
        removeTree(directory)
    }

    private static func compare(
        _ ours: Target, _ theirs: Target, _ h2load: String, _ report: inout Report
    ) async throws {
        for clients in [1, 64] {
            let calls = clients == 1 ? 2_000 : 40_000
            let found = try await self.rounds([ours, theirs], calls, clients, h2load)
            report.row(
                "\(clients)", found.rates[0].text(0), found.cpu[0].text(), found.rates[1].text(0), found.cpu[1].text(),
                found.ratio.text(2))
            report.value("appends_per_second_\(clients)", found.rates[0])
            report.value("etcd_puts_per_second_\(clients)", found.rates[1])
            report.value("cpu_us_per_append_\(clients)", found.cpu[0])
            report.value("etcd_cpu_us_per_put_\(clients)", found.cpu[1])
            report.value("ratio_\(clients)", found.ratio)
        }
    }

    private static func compareBulk(
        _ ours: Target, _ theirs: Target, _ h2load: String, _ report: inout Report
    ) async throws {
        let found = try await self.rounds([ours, theirs], 600, 16, h2load)
        let megabytes = found.rates.map { $0 * Double(self.valueBytes * self.bulkValues) / 1e6 }
        report.row(
            "bulk, MB/s", megabytes[0].text(0), found.cpu[0].text(0), megabytes[1].text(0), found.cpu[1].text(0),
            found.ratio.text(2))
        report.value("bulk_megabytes_per_second", megabytes[0])
        report.value("etcd_bulk_megabytes_per_second", megabytes[1])
    }

    /// Medians over rounds in turn, so that what the machine does meanwhile meets both.
    private static func rounds(
        _ targets: [Target], _ calls: Int, _ clients: Int, _ h2load: String
    ) async throws -> (rates: [Double], cpu: [Double], ratio: Double) {
        var rates = [[Double]](repeating: [], count: targets.count)
        var cpu = rates
        var ratios: [Double] = []
        for _ in 0..<5 {
            for (i, target) in targets.enumerated() {
                let load = try await Load.run(target, calls: calls, clients: clients, h2load)
                rates[i].append(load.rate)
                cpu[i].append(load.cpu)
            }
            ratios.append(rates[0].last! / rates[1].last!)
        }
        return (rates.map(median), cpu.map(median), median(ratios))
    }

    static let append = "/vecraft.internal.v1.Journal/Append"

    static func append(_ bytes: Int) -> [UInt8] {
        let entry = [UInt8](repeating: 0x61, count: bytes).withUnsafeBytes { raw in
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

    static func write(_ message: [UInt8], _ path: String) throws -> String {
        let prefix = [0] + withUnsafeBytes(of: UInt32(message.count).bigEndian) { Array($0) }
        try Data(prefix + message).write(to: URL(fileURLWithPath: path))
        return path
    }

    /// One run of h2load.
    enum Load {
        /// - Returns: Calls a second, and microseconds of CPU of all processes by call.
        static func run(
            _ target: Target, calls: Int, clients: Int, _ h2load: String
        ) async throws -> (rate: Double, cpu: Double) {
            let connections = min(clients, 4)
            let url = try await target.url()
            let before = try await target.written()
            let cpuBefore = target.processes.map(cpuSeconds(of:)).reduce(0, +)
            let outcome = try await PythonEnvironment.run(
                h2load,
                [
                    "-n", "\(calls)", "-c", "\(connections)", "-m", "\(clients / connections)", "-d", target.body,
                    "-H", "content-type: application/grpc", "-H", "te: trailers", url,
                ], limit: .seconds(400))
            let cpu = target.processes.map(cpuSeconds(of:)).reduce(0, +) - cpuBefore
            // "finished in 2.12s, 18867.92 req/s, 1.07MB/s"
            guard outcome.succeeded,
                let line = outcome.output.split(separator: "\n").first(where: { $0.hasPrefix("finished in ") }),
                let rate = line.split(separator: " ").dropLast(2).last.flatMap({ Double($0) })
            else { throw VecraftError(.unknown, "h2load: \(outcome)") }
            // A leader that changed would have refused some, or its barrier be counted: neither is a measurement.
            let written = try await target.written() - before
            guard written == calls else { throw VecraftError(.dataLoss, "\(url): \(calls) calls, \(written) writes") }
            return (rate, cpu / Double(calls) * 1e6)
        }
    }
}
