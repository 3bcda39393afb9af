import ClusterSupport
import Foundation
import GRPC
import NIOCore
import Primitives
import Synchronization
import TestSupport
import Wire

/// A cluster that runs itself, as its clients see it: recall, each node killed under load, more shards, the price of a hop, a node that joins.
enum ClusterBenchmark {
    private static let shards: UInt32 = 4

    static func run(group: any EventLoopGroup) async throws {
        let folder = ProcessInfo.processInfo.environment["VECRAFT_DATASET"] ?? "../shared/data/debian-packages"
        guard let data = try DebianPackages(folder: folder) else {
            print("skipped: no data set in \(folder) (VECRAFT_DATASET names another folder)")
            return
        }
        let etcd = try await EtcdProcess.start()
        var options = TestCluster.Options()
        options.settings = ["log.level=warning"]
        options.etcd = etcd
        let cluster = try await TestCluster.start(options)
        do {
            var report = Report("cluster")
            report.header("what", "value", "")
            try await self.load(cluster, data, "bench", shards: self.shards)
            if CommandLine.arguments.dropFirst(2).first != "join" {
                try await self.recall(cluster, data, &report, group)
                for victim in 1...3 { try await self.kill(victim, cluster, data, &report) }
                try await self.scaling(cluster, data, &report)
            }
            try await self.join(cluster, data, &report)
            report.note(
                "three nodes, default settings (a silent node is given up after 15 s), \(data.count) points of 384 components in \(self.shards) shards"
            )
            report.note("x 2 replicas; clients, etcd and all nodes share this machine's cores")
            try report.finish()
        } catch {
            print(cluster.logs())
            await cluster.killAll()
            throw error
        }
        _ = await cluster.stopAll()
        _ = etcd
    }

    // MARK: Data

    private static func load(
        _ cluster: TestCluster, _ data: DebianPackages, _ name: String, shards: UInt32
    ) async throws {
        let request = VecraftV1.CreateCollectionRequest(
            name: name,
            config: VecraftV1.CollectionConfig(
                vector: VecraftV1.VectorConfig(dimension: UInt32(DebianPackages.dimension), distance: .cosine),
                shards: shards))
        let _: VecraftV1.CreateCollectionResponse = try await cluster.call(
            "vecraft.v1.Collections/CreateCollection", request)
        let node = cluster[1]
        for request in data.requests(collection: name, batch: 250) {
            _ = try await node.client.unary("/vecraft.v1.Points/Upsert", request, timeout: .seconds(60))
        }
        try await self.settle(cluster, name)
    }

    /// Waits until all replicas have everything, and graphs too.
    private static func settle(_ cluster: TestCluster, _ name: String) async throws {
        for node in cluster.nodes where node.isRunning {
            try await eventually("graphs of node \(node.id) are whole", every: .milliseconds(100)) {
                guard let status = try await cluster.describe(name, on: node).status else { return false }
                return status.appliedOffset >= status.committedOffset && status.indexedVectors == status.totalVectors
            }
        }
    }

    private static func overview(_ node: ClusterNode) async throws(VecraftError) -> VecraftV1.OverviewResponse {
        try await node.call("vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest(), timeout: .seconds(2))
    }

    private static func search(_ name: String, _ query: [Float], _ read: VecraftV1.ReadOptions? = nil) -> [UInt8] {
        VecraftV1.SearchRequest(
            collection: name, vector: VecraftV1.Vector(packed: query.withUnsafeBytes { [UInt8]($0) }), limit: 10,
            withoutPayload: true,
            read: read
        ).encode()
    }

    // MARK: Recall

    private static func recall(_ client: GRPCClient, _ data: DebianPackages) async throws -> Double {
        let truth = data.truth(nil)
        var hits = 0
        for q in 0..<data.queryCount {
            let reply = try VecraftV1.SearchResponse.decode(
                try await client.unary("/vecraft.v1.Points/Search", self.search("bench", data.query(q))))
            let expected = Set(truth[q].map { data.ids[$0] })
            hits += reply.hits.count { expected.contains($0.id) }
        }
        return Double(hits) / Double(data.queryCount * 10)
    }

    private static func recall(
        _ cluster: TestCluster, _ data: DebianPackages, _ report: inout Report, _ group: any EventLoopGroup
    ) async throws {
        let alone = try await BenchServer.start("cluster", dimension: DebianPackages.dimension, group: group)
        try await alone.load(data.requests(collection: "bench", batch: 250))
        try await alone.settle(data.count)
        let one = try await self.recall(alone.client, data)
        await alone.stop()
        report.row("recall@10, a node alone", one.text(4), "")
        report.value("recall_alone", one)
        for node in cluster.nodes {
            let recall = try await self.recall(node.client, data)
            report.row("recall@10, through node \(node.id)", recall.text(4), "")
            report.value("recall_node_\(node.id)", recall)
        }
    }

    // MARK: A kill

    /// How far a part of the benchmark is, for its clients.
    private final class Course: Sendable {
        let isKilled = Atomic<Bool>(false)
        let isOver = Atomic<Bool>(false)
    }

    /// What clients saw of it.
    private struct Seen {
        var reads = 0
        var writes: [String] = []
        /// Calls that were made again.
        var again = 0
        /// Failed for good.
        var failures: [String] = []
        /// Of a read or write with all its attempts, milliseconds.
        var slowestRead = 0.0
        var slowestWrite = 0.0
    }

    private static func kill(
        _ victim: Int, _ cluster: TestCluster, _ data: DebianPackages, _ report: inout Report
    ) async throws {
        let survivor = cluster.nodes.first { $0.id != victim }!
        let course = Course()
        let before = try await self.count(survivor)
        let seen = try await withThrowingTaskGroup(of: Seen.self) { group in
            for client in 0..<6 {
                group.addTask { await self.client(client, writes: client < 2, cluster, data, victim, course) }
            }
            try await Task.sleep(for: .seconds(2))
            let start = ContinuousClock.now
            course.isKilled.store(true, ordering: .relaxed)
            await cluster[victim].kill()
            try await eventually("full redundancy", within: .seconds(180), every: .milliseconds(50)) {
                try await self.overview(survivor).shards.allSatisfy { shard in
                    shard.replicas.count { $0.state == "live" && $0.condition == "ready" && $0.node != UInt64(victim) }
                        >= 2
                }
            }
            let redundant = start.duration(to: .now) / .seconds(1)
            report.row("node \(victim) killed: full redundancy again after", redundant.text(1), "s")
            report.value("redundancy_s_\(victim)", redundant)
            course.isOver.store(true, ordering: .relaxed)
            var all = Seen()
            for try await one in group {
                all.reads += one.reads
                all.writes += one.writes
                all.again += one.again
                all.failures += one.failures
                all.slowestRead = max(all.slowestRead, one.slowestRead)
                all.slowestWrite = max(all.slowestWrite, one.slowestWrite)
            }
            return all
        }
        try await cluster[victim].start()
        try await eventually("everything is well", within: .seconds(180), every: .milliseconds(200)) {
            let overview = try await self.overview(survivor)
            return overview.problems.isEmpty && overview.shards.allSatisfy { $0.replicas.count == 2 }
        }
        let lost = try await self.missing(seen.writes, cluster[victim])
        let after = try await self.count(cluster[victim])
        report.row("  slowest read begun after the kill, with its repeats", seen.slowestRead.text(0), "ms")
        report.row("  slowest write begun after the kill, with its repeats", seen.slowestWrite.text(0), "ms")
        report.row(
            "  reads, acknowledged writes, calls made again", "\(seen.reads) / \(seen.writes.count) / \(seen.again)", ""
        )
        report.row("  failed for good, acknowledged and lost", "\(seen.failures.count) / \(lost)", "")
        report.value("slowest_read_ms_\(victim)", seen.slowestRead)
        report.value("slowest_write_ms_\(victim)", seen.slowestWrite)
        report.value("failed_\(victim)", Double(seen.failures.count))
        report.value("lost_\(victim)", Double(lost))
        for failure in seen.failures.prefix(3) { report.note("failed: \(failure)") }
        guard after == before + seen.writes.count, lost == 0 else {
            throw VecraftError(
                .dataLoss, "\(after) points, \(before) and \(seen.writes.count) written; \(lost) are missing")
        }
    }

    /// Reads or writes at any node, each call again at the next one until it is answered.
    private static func client(
        _ client: Int, writes: Bool, _ cluster: TestCluster, _ data: DebianPackages, _ victim: Int,
        _ course: Course
    ) async -> Seen {
        var seen = Seen()
        var turn = client
        while !course.isOver.load(ordering: .relaxed) {
            let number = seen.reads + seen.writes.count
            let id = "written-\(victim)-\(client)-\(number)"
            let query = data.query((client * 7919 + number) % data.queryCount)
            let request =
                writes
                ? VecraftV1.UpsertRequest(
                    collection: "bench",
                    points: [
                        VecraftV1.Point(id: id, vector: VecraftV1.Vector(packed: query.withUnsafeBytes { [UInt8]($0) }))
                    ],
                    idempotencyKey: id
                ).encode() : self.search("bench", query)
            let start = ContinuousClock.now
            let isAfter = course.isKilled.load(ordering: .relaxed)
            while true {
                let node = cluster[turn % 3 + 1]
                turn += 1
                do throws(VecraftError) {
                    let reply = try await node.client.unary(
                        writes ? "/vecraft.v1.Points/Upsert" : "/vecraft.v1.Points/Search", request,
                        timeout: .seconds(5))
                    if !writes {
                        let found = try VecraftV1.SearchResponse.decode(reply)
                        if found.hits.count != 10 { seen.failures.append("\(found.hits.count) hits") }
                    }
                    break
                } catch {
                    seen.again += 1
                    guard start.duration(to: .now) < .seconds(20) else {
                        seen.failures.append("\(error)")
                        return seen
                    }
                    // A refused connection comes back at once: a client rests a moment.
                    try? await Task.sleep(for: .milliseconds(10))
                }
            }
            let took = start.duration(to: .now) / .milliseconds(1)
            if writes { seen.writes.append(id) } else { seen.reads += 1 }
            if isAfter {
                if writes {
                    seen.slowestWrite = max(seen.slowestWrite, took)
                } else {
                    seen.slowestRead = max(seen.slowestRead, took)
                }
            }
        }
        return seen
    }

    private static func count(_ node: ClusterNode) async throws -> Int {
        let reply: VecraftV1.CountResponse = try await node.call(
            "vecraft.v1.Points/Count", VecraftV1.CountRequest(collection: "bench", read: .init(consistency: .strong)))
        return Int(reply.count)
    }

    private static func missing(_ ids: [String], _ node: ClusterNode) async throws -> Int {
        var missing = 0
        for start in stride(from: 0, to: ids.count, by: 1000) {
            let reply: VecraftV1.GetResponse = try await node.call(
                "vecraft.v1.Points/Get",
                VecraftV1.GetRequest(
                    collection: "bench", ids: Array(ids[start..<min(start + 1000, ids.count)]), withoutPayload: true,
                    read: .init(consistency: .strong)))
            missing += reply.missing.count
        }
        return missing
    }

    // MARK: Shards and hops

    /// Searches of one collection at some nodes, as fast as they come.
    private struct Round {
        var latencies: [Double] = []
        var seconds = 0.0
        var cpu = 0.0
        var rate: Double { Double(self.latencies.count) / self.seconds }
        var cpuPerCall: Double { self.cpu / Double(self.latencies.count) * 1e6 }
    }

    private static func search(
        _ cluster: TestCluster, at nodes: [Int], callers: Int, calls: Int, _ queries: [[UInt8]]
    ) async throws -> Round {
        var round = Round()
        let before = cluster.nodes.reduce(0.0) { $0 + $1.cpuSeconds }
        round.seconds = try await seconds {
            try await withThrowingTaskGroup(of: [Double].self) { group in
                for caller in 0..<callers {
                    group.addTask {
                        var latencies: [Double] = []
                        for i in stride(from: caller, to: calls, by: callers) {
                            let start = ContinuousClock.now
                            let reply = try await cluster[nodes[i % nodes.count]].client.unary(
                                "/vecraft.v1.Points/Search", queries[i % queries.count], timeout: .seconds(20))
                            latencies.append(start.duration(to: .now) / .milliseconds(1))
                            let found = try VecraftV1.SearchResponse.decode(reply)
                            guard found.hits.count == 10 else {
                                throw VecraftError(.internalError, "\(found.hits.count) hits")
                            }
                        }
                        return latencies
                    }
                }
                for try await found in group { round.latencies += found }
            }
        }
        round.cpu = cluster.nodes.reduce(0.0) { $0 + $1.cpuSeconds } - before
        return round
    }

    private static func scaling(_ cluster: TestCluster, _ data: DebianPackages, _ report: inout Report) async throws {
        func queries(_ name: String, _ level: VecraftV1.ConsistencyLevel = .eventual) -> [[UInt8]] {
            (0..<min(512, data.queryCount)).map { self.search(name, data.query($0), .init(consistency: level)) }
        }
        for shards in [UInt32(1), 2, 4] {
            let name = "scaling-\(shards)"
            try await self.load(cluster, data, name, shards: shards)
            _ = try await self.search(cluster, at: [1, 2, 3], callers: 8, calls: 2_000, queries(name))
            let round = try await self.search(cluster, at: [1, 2, 3], callers: 8, calls: 20_000, queries(name))
            report.row(
                "\(shards) \(shards == 1 ? "shard" : "shards"), 8 callers: q/s / p50 ms / p99 ms / CPU us of all nodes a query",
                "\(round.rate.text(0)) / \(quantile(round.latencies, 0.5).text(2)) / \(quantile(round.latencies, 0.99).text(2)) / \(round.cpuPerCall.text(0))",
                "")
            report.value("qps_\(shards)", round.rate)
            report.value("p99_ms_\(shards)", quantile(round.latencies, 0.99))
            report.value("cpu_us_\(shards)", round.cpuPerCall)
        }
        // One shard: a node that holds it answers alone, another one asks one that does.
        let overview = try await self.overview(cluster[1])
        let holders = overview.shards.first { $0.collection == "scaling-1" }?.replicas.map { Int($0.node) } ?? []
        guard let holder = holders.first, let other = cluster.nodes.map(\.id).first(where: { !holders.contains($0) })
        else {
            throw VecraftError(.internalError, "no node is without the shard")
        }
        var hops: [Double] = [], waits: [Double] = [], strong: [Double] = [], pings: [Double] = []
        let leader = overview.partitions.first {
            $0.partition == overview.shards.first { $0.collection == "scaling-1" }?.partition
        }?.leader
        // Strong reads at a node that holds the shard and does not lead its partition ask the leader: one round trip.
        let asker = holders.first { UInt64($0) != leader } ?? holder
        for _ in 0..<5 {
            let here = try await self.search(cluster, at: [holder], callers: 8, calls: 6_000, queries("scaling-1"))
            let there = try await self.search(cluster, at: [other], callers: 8, calls: 6_000, queries("scaling-1"))
            hops.append(there.cpuPerCall - here.cpuPerCall)
            let quietHere = try await self.search(cluster, at: [asker], callers: 1, calls: 1_000, queries("scaling-1"))
            let quietThere = try await self.search(cluster, at: [other], callers: 1, calls: 1_000, queries("scaling-1"))
            waits.append(median(quietThere.latencies) - median(quietHere.latencies))
            let sure = try await self.search(
                cluster, at: [asker], callers: 1, calls: 1_000, queries("scaling-1", .strong))
            strong.append(median(sure.latencies) - median(quietHere.latencies))
            pings.append(try await self.ping(cluster[asker]))
        }
        report.row("a hop between nodes: CPU us a query, both ends", median(hops).text(0), "us")
        report.row("a hop between nodes: one caller waits longer by", (median(waits) * 1000).text(0), "us")
        report.row("strong beyond eventual, no lag, one caller", (median(strong) * 1000).text(0), "us")
        report.row("  an empty call to a node and back", (median(pings) * 1000).text(0), "us")
        report.value("hop_cpu_us", median(hops))
        report.value("hop_wait_us", median(waits) * 1000)
        report.value("strong_us", median(strong) * 1000)
        report.value("round_trip_us", median(pings) * 1000)
    }

    private static func ping(_ node: ClusterNode) async throws -> Double {
        var latencies: [Double] = []
        let request = GRPCHealthV1.HealthCheckRequest().encode()
        for _ in 0..<1_000 {
            let start = ContinuousClock.now
            _ = try await node.client.unary("/grpc.health.v1.Health/Check", request)
            latencies.append(start.duration(to: .now) / .milliseconds(1))
        }
        return median(latencies)
    }

    // MARK: A node joins

    private static func join(_ cluster: TestCluster, _ data: DebianPackages, _ report: inout Report) async throws {
        let queries = (0..<min(512, data.queryCount)).map {
            self.search("bench", data.query($0), .init(consistency: .eventual))
        }
        let calm = try await self.search(cluster, at: [1, 2, 3], callers: 4, calls: 20_000, queries)
        let course = Course()
        let moving = try await withThrowingTaskGroup(of: [Double].self) { group in
            for caller in 0..<4 {
                group.addTask {
                    var latencies: [Double] = []
                    var i = caller
                    while !course.isOver.load(ordering: .relaxed) {
                        let start = ContinuousClock.now
                        let reply = try await cluster[i % 3 + 1].client.unary(
                            "/vecraft.v1.Points/Search", queries[i % queries.count], timeout: .seconds(20))
                        latencies.append(start.duration(to: .now) / .milliseconds(1))
                        guard try VecraftV1.SearchResponse.decode(reply).hits.count == 10 else {
                            throw VecraftError(.internalError, "too few hits")
                        }
                        i += 4
                    }
                    return latencies
                }
            }
            let took = try await seconds {
                let fourth = try await cluster.join(4)
                try await fourth.awaitReady()
                try await eventually(
                    "the new node has its share and nothing moves", within: .seconds(300), every: .milliseconds(200)
                ) {
                    let overview = try await self.overview(cluster[1])
                    let counts = overview.nodes.map { Int($0.shards) }
                    return overview.problems.isEmpty && counts.count == 4 && counts.max()! - counts.min()! <= 1
                        && overview.shards.allSatisfy { shard in
                            shard.replicas.count == 2 && shard.replicas.allSatisfy { $0.state == "live" }
                        }
                }
            }
            course.isOver.store(true, ordering: .relaxed)
            report.row("a fourth node has its share after", took.text(1), "s")
            report.value("join_s", took)
            var all: [Double] = []
            for try await found in group { all += found }
            return all
        }
        let (before, during) = (quantile(calm.latencies, 0.99), quantile(moving, 0.99))
        report.row("  p99 of searches before / while replicas move", "\(before.text(2)) / \(during.text(2))", "ms")
        report.row("  times", (during / before).text(2), "")
        report.value("join_p99_ratio", during / before)
        report.note(
            "targets: reads back < 1 s, redundancy < 60 s, a hop <= 150 us, strong <= 1 round trip more, p99 while moving <= 3 times"
        )
    }
}
