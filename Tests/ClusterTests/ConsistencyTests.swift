import ClusterSupport
import Primitives
import TestSupport
import Testing
import Wire

extension RealClusters {
    /// What each read level promises, on three nodes that are late by nothing, by a lag and by half of it: clients that go from one to
    /// another see all of the differences.
    @Suite("Read levels under lag", .serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct ConsistencyTests {
        private static let shards: UInt32 = 4

        @Test(.timeLimit(.minutes(10)), arguments: [0, 100, 1000, 2000])
        func eachLevelKeepsItsPromise(lag: Int) async throws {
            let etcd = try await EtcdProcess.start()
            let run = try await ClusterRun.start(shards: Self.shards) {
                $0.etcd = etcd
                $0.nodeSettings = [2: ["storage.apply_delay_ms=\(lag)"], 3: ["storage.apply_delay_ms=\(lag / 2)"]]
            }
            let load = try ConsistencyLoad(
                run.cluster, collection: ClusterRun.collection, partition: run.partition, shards: Self.shards)
            let (history, failures) = try await load.run(seed: UInt64(lag) + 1) {
                // Long against the lag, and then until every level has been asked often.
                try await Task.sleep(for: .seconds(2))
                try await eventually("every level is read") {
                    load.reads(.eventual) >= 100 && load.reads(.bounded) >= 40 && load.reads(.readYourWrites) >= 40
                        && load.reads(.strong) >= 40
                }
            }
            #expect(failures.isEmpty, "\(failures.prefix(5))")
            // Nothing goes wrong here but what a busy machine does by itself.
            #expect(load.repeated * 4 < history.reads.count + history.writes.count)
            let findings = history.findings()
            for finding in findings { Issue.record(Comment(rawValue: finding)) }
            print(
                "lag \(lag) ms: \(history.writes.count) writes, \(load.repeated) calls in vain; \(Self.summary(history))"
            )
            if lag >= 1000 {
                // Else nothing was tested: answers did miss something and said so, and fresh ones were waited for.
                #expect(history.reads.contains { $0.requested == .eventual && $0.staleness >= 200 })
                for level in [VecraftV1.ConsistencyLevel.bounded, .readYourWrites, .strong] {
                    #expect(history.reads.contains { $0.requested == level && $0.waited }, "\(level)")
                }
                try await self.saysHowFarBehind(run, load)
            }
            try await run.finish()
            _ = etcd
        }

        private static func summary(_ history: ConsistencyHistory) -> String {
            let levels: [VecraftV1.ConsistencyLevel] = [.eventual, .bounded, .readYourWrites, .strong]
            return levels.map { level in
                let reads = history.reads.filter { $0.requested == level }
                let stale = reads.map(\.staleness).sorted()
                return
                    "\(reads.count) \(level), \(reads.count { $0.waited }) waited, staleness \(stale.isEmpty ? 0 : stale[stale.count / 2]) to \(stale.last ?? 0) ms"
            }.joined(separator: "; ")
        }

        /// A read whose time ends first is told so by the server, by how much its replica is behind, and not by the wire's own deadline. So
        /// it is through the node that is not late, too: it asks others for what it does not hold.
        private func saysHowFarBehind(_ run: ClusterRun, _ load: ConsistencyLoad) async throws {
            let levels: [VecraftV1.ConsistencyLevel] = [.readYourWrites, .strong]
            for node in run.cluster.nodes {
                for level in levels {
                    var heard: [String] = []
                    let error = try await eventually(
                        "node \(node.id) says that \(level) cannot be had in time"
                    ) {
                        do throws(VecraftError) {
                            try await self.readTooSoon(run.cluster[1], node, level, load.ids)
                            heard.append("an answer")
                        } catch {
                            // A machine that stood still may let the wire's deadline come first: then again.
                            if error.reason == "REPLICA_BEHIND" { return error }
                            heard.append("\(error)")
                        }
                        return nil as VecraftError?
                    }
                    #expect(error.code == .deadlineExceeded && error.retryAfter != nil)
                    let lag = Self.lag(error.message)
                    #expect(
                        lag.map { $0.entries > 0 && $0.milliseconds > 0 } ?? false,
                        "node \(node.id), \(level): \(error); before: \(heard.suffix(3))")
                }
            }
        }

        private func readTooSoon(
            _ writer: ClusterNode, _ reader: ClusterNode, _ level: VecraftV1.ConsistencyLevel, _ ids: [String]
        ) async throws(VecraftError) {
            let points = ids.map { VecraftV1.Point(id: $0, vector: .init(values: [0, 0, 0, 1])) }
            let written: VecraftV1.UpsertResponse = try await writer.call(
                "vecraft.v1.Points/Upsert", VecraftV1.UpsertRequest(collection: ClusterRun.collection, points: points))
            let _: VecraftV1.CountResponse = try await reader.call(
                "vecraft.v1.Points/Count",
                VecraftV1.CountRequest(
                    collection: ClusterRun.collection,
                    read: .init(consistency: level, sessionToken: written.write?.sessionToken ?? [])),
                timeout: .milliseconds(400))
        }

        /// "... (12 entries, 345 ms of lag)".
        private static func lag(_ message: String) -> (entries: Int, milliseconds: Int)? {
            let numbers = message.split(separator: "(").last?.split { !$0.isNumber }.compactMap { Int($0) } ?? []
            return message.hasSuffix("ms of lag)") && numbers.count == 2 ? (numbers[0], numbers[1]) : nil
        }
    }
}
