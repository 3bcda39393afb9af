import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// Wall clocks that are set under a running cluster.
    @Suite("Clocks that step", .serialized, .enabled(if: ClockShift.obstacle == nil, "\(ClockShift.obstacle ?? "")"))
    struct ClockTests {
        /// What `asked` says of how far the clock of `peer` is ahead of its own.
        private func offset(of peer: Int, at asked: ClusterNode) async -> Double? {
            let text = await asked.answer("/metrics")?.body ?? ""
            let line = text.split(separator: "\n").first {
                $0.hasPrefix("vecraft_peer_clock_offset_seconds{") && $0.contains("peer=\"\(peer)\"")
            }
            return line?.split(separator: " ").last.flatMap { Double($0) }
        }

        /// The whole way: a library between the program and the C library, the program's clock, its pings, its judgement.
        @Test(.timeLimit(.minutes(10))) func aClockThatIsSetIsNoticedAndDoesNotLead() async throws {
            let run = try await ClusterRun.start { $0.hasClocks = true }
            let cluster = run.cluster
            let clocks = try #require(cluster.clocks)
            try await run.load(seed: 41) { load in
                for shift in [2.0, -2.0] {
                    let leader = try await cluster.leader(of: run.partition).node
                    // Not asked for again: leadership may have moved meanwhile.
                    let other = try #require(cluster.nodes.map(\.id).first { $0 != leader })
                    try await eventually("clocks agree") {
                        await self.offset(of: leader, at: cluster[other]).map { abs($0) < 0.4 } ?? false
                    }
                    try clocks.set(leader, to: .seconds(shift))
                    try await eventually("node \(other) says that the clock of node \(leader) is off by \(shift) s") {
                        await self.offset(of: leader, at: cluster[other]).map { abs($0 - shift) < 0.4 } ?? false
                    }
                    _ = try await cluster.leader(of: run.partition, otherThan: leader)
                    try await load.awaitWrites(100)
                    try clocks.set(leader, to: .zero)
                    try await load.awaitWrites(100)
                }
            }
            try await run.finish()
        }

        /// Readers of every level on nodes that are late, while one node's clock after another is wrong, or all are: an answer is as old as it says.
        @Test(.timeLimit(.minutes(10))) func agesAreRightWhateverClocksShow() async throws {
            let shards: UInt32 = 4
            let run = try await ClusterRun.start(shards: shards) {
                $0.hasClocks = true
                $0.nodeSettings = [2: ["storage.apply_delay_ms=300"]]
            }
            let clocks = try #require(run.cluster.clocks)
            let load = try ConsistencyLoad(
                run.cluster, collection: ClusterRun.collection, partition: run.partition, shards: shards)
            var rng = SeededRNG(seed: 5)
            let (history, failures) = try await load.run(seed: 5) {
                for round in 0..<12 {
                    let nodes = round % 3 == 2 ? [1, 2, 3] : [Int.random(in: 1...3, using: &rng)]
                    for node in nodes {
                        let shift = Int.random(in: 50...3_000, using: &rng) * (Bool.random(using: &rng) ? 1 : -1)
                        try clocks.set(node, to: .milliseconds(shift))
                    }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 100...900, using: &rng)))
                    for node in nodes { try clocks.set(node, to: .zero) }
                    try await Task.sleep(for: .milliseconds(Int.random(in: 0...300, using: &rng)))
                }
                try await eventually("levels are read") { load.reads(.eventual) >= 100 && load.reads(.bounded) >= 40 }
            }
            let strange = failures.filter { failure in
                !["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"].contains { failure.contains($0) }
            }
            #expect(strange.isEmpty, "\(strange.prefix(5))")
            for finding in history.findings() { Issue.record(Comment(rawValue: finding)) }
            print(
                "clocks: \(history.writes.count) writes, \(history.reads.count) reads, \(load.repeated) calls in vain")
            #expect(history.reads.contains { $0.staleness >= 200 }, "else nothing was tested")
            try await run.finish()
        }

        /// Started an hour too early by its clock, which is then put right: it is no younger than nothing, does not draw the others' stamps
        /// with it, and serves. It leads nothing until time has come to where it was.
        @Test(.timeLimit(.minutes(10)), .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
        func aNodeThatStartedInTheFutureLivesOn() async throws {
            let etcd = try await EtcdProcess.start()
            let run = try await ClusterRun.start {
                $0.hasClocks = true
                $0.etcd = etcd
            }
            let cluster = run.cluster
            let clocks = try #require(cluster.clocks)
            let node = try await cluster.follower(of: run.partition)
            try await run.load(seed: 42) { load in
                try clocks.set(node, to: .seconds(3_600))
                await cluster[node].kill()
                try await cluster[node].start()
                try await load.awaitWrites(100)
                try clocks.set(node, to: .zero)
                let overview = try await eventually("node \(node) is asked and answers") {
                    () -> VecraftV1.OverviewResponse? in
                    let overview: VecraftV1.OverviewResponse = try await cluster[node].call(
                        "vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest(), timeout: .seconds(5))
                    return overview.nodes.allSatisfy { $0.uptimeMs > 0 } ? overview : nil
                }
                #expect(overview.nodes.allSatisfy { $0.uptimeMs < 1_800_000 })
                try await load.awaitWrites(200)
            }
            #expect(cluster[node].isRunning)
            let now = UInt64(Date().timeIntervalSince1970 * 1_000)
            for info in try await cluster[node].partitions(timeout: .seconds(60)).values {
                #expect(info.leader != UInt64(node), "\(info.partition)")
            }
            let reply: VecraftV1.UpsertResponse = try await cluster[node].persistently(
                "vecraft.v1.Points/Upsert",
                VecraftV1.UpsertRequest(
                    collection: ClusterRun.collection,
                    points: [.init(id: "\(ClusterLoad.id(0))-clock", vector: .init(values: [1, 2, 3, 4]))]))
            #expect(HLCTimestamp(rawValue: reply.write?.hlc ?? 0).milliseconds < now + 600_000)
            try await run.finish()
            _ = etcd
        }
    }
}
