package import Linearizability
package import Primitives
import Synchronization
import TestSupport
import Wire

/// Writers and strong readers on a few points, each call to a random node, recorded for the checker.
///
/// A point is a register; its payload holds the value. A call that fails is made again, at another node and under the same
/// idempotency key, as a client should. All choices come from the seed.
package final class ClusterLoad: Sendable {
    package struct Settings: Sendable {
        package var writers = 16
        package var readers = 16
        package var registers = 16
        /// Of one attempt.
        package var callTimeout: Duration = .seconds(2)
        /// Of a client, for one write or read with all its attempts; then it gives up, and that is a failure.
        package var patience: Duration = .seconds(300)
        /// A client rests this long between its operations; leaves the nodes some of a small machine's time.
        package var rest: Duration = .milliseconds(2)
        package var seed: UInt64 = 1
        package init() {}
    }

    private let cluster: TestCluster
    private let collection: String
    private let settings: Settings
    private let isOver = Atomic<Bool>(false)
    private let acknowledgedWrites = Atomic<Int>(0)

    package init(_ cluster: TestCluster, collection: String, settings: Settings = Settings()) {
        self.cluster = cluster
        self.collection = collection
        self.settings = settings
    }

    package var acknowledged: Int { self.acknowledgedWrites.load(ordering: .relaxed) }

    /// Waits until so many more writes are acknowledged.
    package func awaitWrites(_ more: Int) async throws {
        let goal = self.acknowledged + more
        try await eventually("\(more) more writes are acknowledged") { self.acknowledged >= goal }
    }

    /// Loads the cluster while `body` runs; each client then ends what it has begun.
    package func run(while body: () async throws -> Void) async throws -> LoadRecord {
        try await withThrowingTaskGroup(of: LoadRecord.self) { group in
            var rng = SeededRNG(seed: self.settings.seed)
            for client in 0..<self.settings.writers + self.settings.readers {
                let seed = rng.next()
                group.addTask {
                    var worker = Worker(self, client, seed)
                    return await worker.run(writes: client < self.settings.writers)
                }
            }
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
            self.isOver.store(true, ordering: .relaxed)
            var whole = LoadRecord()
            for try await record in group { whole.merge(record) }
            do { try outcome.get() } catch {
                // Why nothing went on is often in what the clients saw.
                throw LoadFailure(
                    description: "\(error)\n\(whole.summary)\n\(whole.failures.prefix(5).joined(separator: "\n"))")
            }
            return whole
        }
    }

    package static func id(_ register: Int) -> String { "r\(register)" }

    /// One client.
    private struct Worker {
        let load: ClusterLoad
        let client: Int
        var rng: SeededRNG
        var record = LoadRecord()
        var sequence: UInt64 = 0

        init(_ load: ClusterLoad, _ client: Int, _ seed: UInt64) {
            self.load = load
            self.client = client
            self.rng = SeededRNG(seed: seed)
        }

        mutating func run(writes: Bool) async -> LoadRecord {
            while !self.load.isOver.load(ordering: .relaxed) {
                let register = Int.random(in: 0..<self.load.settings.registers, using: &self.rng)
                if writes { await self.write(register) } else { await self.read(register) }
                try? await Task.sleep(for: self.load.settings.rest)
            }
            return self.record
        }

        // MARK: One operation

        private mutating func write(_ register: Int) async {
            self.sequence += 1
            let value = UInt64(self.client) << 32 | self.sequence
            let key = "load-\(self.load.settings.seed)-\(value)"
            let request = self.request(register, value, key)
            let began = historyTime()
            var tried: [Int] = []
            var last = ""
            let end = ContinuousClock.now + self.load.settings.patience
            while ContinuousClock.now < end {
                let node = self.node(after: tried.last)
                tried.append(node.id)
                let invoked = historyTime()
                do throws(VecraftError) {
                    let reply: VecraftV1.UpsertResponse = try await node.call(
                        "vecraft.v1.Points/Upsert", request, timeout: self.load.settings.callTimeout)
                    return self.acknowledge(reply, register, value, key, (began, invoked), tried)
                } catch {
                    last = "\(error)"
                    self.record.attempts.append(AppendOperation(key: key, client: self.client, from: invoked, to: nil))
                    guard self.canRetry(error, "write of \(value) by node \(node.id)") else { break }
                }
                await self.pause()
            }
            if ContinuousClock.now >= end {
                self.record.failures.append(
                    "a write of \(value) had no answer in \(self.load.settings.patience), at \(tried.count) attempts: \(last)"
                )
            }
            self.record.history.append(
                RegisterOperation(
                    register: register, client: self.client, .write(value), from: began, to: nil, note: "nodes \(tried)"
                ))
        }

        private func request(_ register: Int, _ value: UInt64, _ key: String) -> VecraftV1.UpsertRequest {
            let vector = VecraftV1.Vector(values: [Float(register), Float(value % 1000), 1, 0])
            let payload = VecraftV1.Payload(json: Array("{\"v\":\(value)}".utf8))
            return VecraftV1.UpsertRequest(
                collection: self.load.collection,
                points: [VecraftV1.Point(id: ClusterLoad.id(register), vector: vector, payload: payload)],
                idempotencyKey: key)
        }

        private mutating func acknowledge(
            _ reply: VecraftV1.UpsertResponse, _ register: Int, _ value: UInt64, _ key: String,
            _ times: (began: UInt64, invoked: UInt64), _ tried: [Int]
        ) {
            let returned = historyTime()
            let write = reply.write ?? VecraftV1.WriteInfo()
            self.record.attempts.append(
                AppendOperation(key: key, client: self.client, from: times.invoked, to: returned, offset: write.offset))
            self.record.history.append(
                RegisterOperation(
                    register: register, client: self.client, .write(value), from: times.began, to: returned,
                    note: Self.note(tried) + ", \(write.partition) \(write.offset)"))
            self.record.writes.append(
                AcknowledgedWrite(
                    register: register, value: value, client: self.client, key: key, partition: write.partition,
                    offset: write.offset,
                    hlc: write.hlc, invoked: times.began, returned: returned, attempts: tried.count))
            self.load.acknowledgedWrites.add(1, ordering: .relaxed)
        }

        private mutating func read(_ register: Int) async {
            let end = ContinuousClock.now + self.load.settings.patience
            var last: Int?
            while ContinuousClock.now < end {
                let node = self.node(after: last)
                last = node.id
                do throws(VecraftError) {
                    let (operation, version) = try await StrongRead.of(
                        register, self.load.collection, at: node, by: self.client,
                        timeout: self.load.settings.callTimeout)
                    self.record.history.append(operation)
                    if let value = operation.value { self.record.versions[value] = version }
                    self.record.reads += 1
                    return
                } catch {
                    guard self.canRetry(error, "read by node \(node.id)") else { return }
                }
                await self.pause()
            }
            self.record.failures.append("a strong read had no answer in \(self.load.settings.patience)")
        }

        private static func note(_ tried: [Int]) -> String {
            tried.count <= 5 ? "nodes \(tried)" : "\(tried.count) attempts, the last at node \(tried.last ?? 0)"
        }

        // MARK: Choices

        /// Any node at first, then another than the one that failed.
        private mutating func node(after last: Int?) -> ClusterNode {
            let nodes = self.load.cluster.nodes
            let others = nodes.filter { $0.id != last }
            return (others.isEmpty ? nodes : others).randomElement(using: &self.rng)!
        }

        private mutating func pause() async {
            let pause = Duration.milliseconds(Int.random(in: 1...20, using: &self.rng))
            try? await Task.sleep(for: pause)
        }

        private mutating func canRetry(_ error: VecraftError, _ what: String) -> Bool {
            switch error.code {
            case .unavailable, .deadlineExceeded, .resourceExhausted, .aborted, .cancelled:
                self.record.retries[error.code.name, default: 0] += 1
                return true
            default:
                self.record.failures.append("\(what): \(error)")
                return false
            }
        }
    }
}

package struct LoadFailure: Error, CustomStringConvertible {
    package let description: String
    package init(description: String) { self.description = description }
}

/// A register read with strong consistency.
package enum StrongRead {
    /// - Returns: The operation, and the version of what was read.
    package static func of(
        _ register: Int, _ collection: String, at node: ClusterNode, by client: Int, timeout: Duration
    ) async throws(VecraftError) -> (RegisterOperation, version: UInt64) {
        let invoked = historyTime()
        let reply: VecraftV1.GetResponse = try await node.call(
            "vecraft.v1.Points/Get",
            VecraftV1.GetRequest(
                collection: collection, ids: [ClusterLoad.id(register)], read: .init(consistency: .strong)),
            timeout: timeout)
        let returned = historyTime()
        let point = reply.points.first
        let value = try point.map { (point) throws(VecraftError) in
            UInt64(try JSONValue(parsing: point.payload?.json ?? [])["v"]?.integerValue ?? 0)
        }
        return (
            RegisterOperation(
                register: register, client: client, .read(value), from: invoked, to: returned, note: "node \(node.id)"),
            point?.version ?? 0
        )
    }

    /// The same, made again while it fails with what passes: one that failed saw nothing, and each attempt has a time of its own.
    package static func persistently(
        _ register: Int, _ collection: String, at node: ClusterNode, by client: Int, timeout: Duration,
        within patience: Duration = .seconds(300)
    ) async throws -> (RegisterOperation, version: UInt64) {
        let end = ContinuousClock.now + patience
        while true {
            do throws(VecraftError) {
                return try await self.of(register, collection, at: node, by: client, timeout: timeout)
            } catch {
                guard error.passes, .now < end else { throw error }
            }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
