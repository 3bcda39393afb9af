import ClusterSupport
import Foundation
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// All that can go wrong, in an order drawn from a seed, under load. After some faults the load ends, and all is compared.
    ///
    /// `VECRAFT_CLUSTER_ROUNDS` faults, or as many as fit in `VECRAFT_CLUSTER_MINUTES`; `VECRAFT_CLUSTER_SEED` draws others.
    @Suite("Cluster torture", .serialized, .enabled(if: ServerProcess.takesPeers))
    struct ClusterTortureTests {
        private static func number(_ name: String) -> Int? { Int(ProcessInfo.processInfo.environment[name] ?? "") }
        static let rounds = number("VECRAFT_CLUSTER_ROUNDS") ?? (number("VECRAFT_CLUSTER_MINUTES") == nil ? 4 : .max)
        static let minutes = number("VECRAFT_CLUSTER_MINUTES")
        static let seed = UInt64(number("VECRAFT_CLUSTER_SEED") ?? 20_261_128)
        /// Faults in one load: a history is kept in memory and searched when they are over.
        static let faultsPerLoad = 8

        @Test(.timeLimit(.minutes(600))) func nothingAcknowledgedIsLostOrReadStale() async throws {
            try await self.torture("cluster torture", Fault.allCases.filter { !$0.needsEtcd }, rounds: Self.rounds) {
                try await ClusterRun.start {
                    $0.hasNetworks = ClusterNetwork.obstacle == nil
                    $0.hasClocks = ClockShift.obstacle == nil
                    if SmallDisk.obstacle == nil { $0.smallDisks = [1: 256, 2: 256, 3: 256] }
                }
            }
        }

        /// The same where shards move as well, where etcd fails too, and for clients of every read level.
        @Test(.timeLimit(.minutes(600)), .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
        func aClusterThatRunsItself() async throws {
            // About two minutes, unless more is asked for.
            let rounds = Self.number("VECRAFT_CLUSTER_ROUNDS") ?? (Self.minutes == nil ? 20 : .max)
            try await self.torture(
                "torture of a cluster that runs itself", Fault.allCases, rounds: rounds, hasLevels: true
            ) {
                let etcd = try await EtcdProcess.start(members: 3, isOpen: ClusterNetwork.obstacle == nil)
                return try await ClusterRun.start(shards: 4) {
                    $0.etcd = etcd
                    $0.settings.append("cluster.down_after_ms=3000")
                    $0.hasNetworks = ClusterNetwork.obstacle == nil
                    $0.hasClocks = ClockShift.obstacle == nil
                    if SmallDisk.obstacle == nil { $0.smallDisks = [1: 256, 2: 256, 3: 256] }
                }
            }
        }

        /// Clients of every read level, on a collection of their own.
        private func levels(_ run: ClusterRun) async throws -> ConsistencyLoad {
            let made = try await run.cluster.create("levels", dimension: 4, shards: 4)
            return try ConsistencyLoad(run.cluster, collection: "levels", partition: made.partition, shards: 4)
        }

        private func torture(
            _ name: String, _ all: [Fault], rounds: Int, hasLevels: Bool = false, _ start: () async throws -> ClusterRun
        ) async throws {
            // `VECRAFT_CLUSTER_FAULTS`: those alone, for looking into one of them.
            let named = ProcessInfo.processInfo.environment["VECRAFT_CLUSTER_FAULTS"]?.split(separator: ",").map(
                String.init)
            let faults = all.filter { named?.contains($0.rawValue) ?? true }.filter {
                (!$0.needsNetwork || ClusterNetwork.obstacle == nil)
                    && (!$0.needsSmallDisks || SmallDisk.obstacle == nil)
                    && (!$0.needsClocks || ClockShift.obstacle == nil)
            }
            var rng = SeededRNG(seed: Self.seed)
            let end = Self.minutes.map { ContinuousClock.now + .seconds(60 * $0) }
            var struck: [Fault] = []
            while struck.count < rounds, end.map({ .now < $0 }) ?? true {
                let run = try await start()
                let first = struck.count
                let loadSeed = rng.next() >> 1
                let levels = hasLevels ? try await self.levels(run) : nil
                try await run.load(seed: loadSeed) { load in
                    let strike = {
                        while struck.count < min(first + Self.faultsPerLoad, rounds), end.map({ .now < $0 }) ?? true {
                            let fault = faults.randomElement(using: &rng)!
                            try await load.awaitWrites(Int.random(in: 1...200, using: &rng))
                            struck.append(fault)
                            do {
                                try await fault.strike(run, load, round: struck.count)
                            } catch {
                                throw LoadFailure(
                                    description: "seed \(Self.seed), fault \(struck.count), \(fault.rawValue): \(error)"
                                )
                            }
                        }
                        try await load.awaitWrites(100)
                    }
                    guard let levels else { return try await strike() }
                    let (history, failures) = try await levels.run(seed: loadSeed, while: strike)
                    // A node that is away answers nobody; what is answered must be right all the same.
                    let strange = failures.filter { failure in
                        !["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"].contains { failure.contains($0) }
                    }
                    #expect(strange.isEmpty, "\(strange.prefix(5))")
                    for finding in history.findings() {
                        Issue.record(Comment(rawValue: "seed \(Self.seed): \(finding)"))
                    }
                    print(
                        "all levels: \(history.writes.count) writes, \(history.reads.count) reads, \(levels.repeated) calls in vain"
                    )
                }
                try await run.finish()
            }
            let counts = Dictionary(struck.map { ($0.rawValue, 1) }, uniquingKeysWith: +)
            print(
                "\(name), seed \(Self.seed): \(counts.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", "))"
            )
        }
    }
}
