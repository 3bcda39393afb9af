import JournalFormat
package import Linearizability
import Primitives
import Synchronization
import TestSupport
import Wire

/// Clients that append to one partition of the journal and nothing else, each call to a random node and made again until it is
/// answered.
package final class AppendLoad: Sendable {
    package struct Settings: Sendable {
        package var clients = 16
        package var partition = "data-0"
        package var bytes = 1024
        package var callTimeout: Duration = .seconds(2)
        package var patience: Duration = .seconds(300)
        package var rest: Duration = .zero
        package var seed: UInt64 = 1
        package init() {}
    }

    package struct Record: Sendable {
        package var history = AppendHistory()
        package var retries: [String: Int] = [:]
        package var failures: [String] = []
        package var count = 0
    }

    private let cluster: TestCluster
    private let settings: Settings
    private let isOver = Atomic<Bool>(false)
    private let answered = Atomic<Int>(0)

    package init(_ cluster: TestCluster, settings: Settings = Settings()) {
        self.cluster = cluster
        self.settings = settings
    }

    package var acknowledged: Int { self.answered.load(ordering: .relaxed) }

    package func run(while body: () async throws -> Void) async throws -> Record {
        try await withThrowingTaskGroup(of: Record.self) { group in
            var rng = SeededRNG(seed: self.settings.seed)
            for client in 0..<self.settings.clients {
                let seed = rng.next()
                group.addTask { await self.work(client, seed) }
            }
            let outcome: Result<Void, any Error>
            do { outcome = .success(try await body()) } catch { outcome = .failure(error) }
            self.isOver.store(true, ordering: .relaxed)
            var whole = Record()
            for try await record in group {
                whole.history.append(contentsOf: record.history.operations)
                whole.retries.merge(record.retries, uniquingKeysWith: +)
                whole.failures += record.failures
                whole.count += record.count
            }
            try outcome.get()
            return whole
        }
    }

    private func work(_ client: Int, _ seed: UInt64) async -> Record {
        var rng = SeededRNG(seed: seed)
        var record = Record()
        var sequence = 0
        while !self.isOver.load(ordering: .relaxed) {
            sequence += 1
            await self.append("append-\(self.settings.seed)-\(client)-\(sequence)", client, &record, &rng)
            if self.settings.rest > .zero { try? await Task.sleep(for: self.settings.rest) }
        }
        return record
    }

    private func append(_ key: String, _ client: Int, _ record: inout Record, _ rng: inout SeededRNG) async {
        let request = VecraftInternalV1.AppendRequest(partition: self.settings.partition, entry: self.entry(key))
        let end = ContinuousClock.now + self.settings.patience
        var last: Int?
        while ContinuousClock.now < end {
            let others = self.cluster.nodes.filter { $0.id != last }
            let node = (others.isEmpty ? self.cluster.nodes : others).randomElement(using: &rng)!
            last = node.id
            let invoked = historyTime()
            do throws(VecraftError) {
                let reply: VecraftInternalV1.AppendResponse = try await node.call(
                    "vecraft.internal.v1.Journal/Append", request, timeout: self.settings.callTimeout)
                record.history.append(
                    AppendOperation(key: key, client: client, from: invoked, to: historyTime(), offset: reply.offset))
                record.count += 1
                self.answered.add(1, ordering: .relaxed)
                return
            } catch {
                record.history.append(AppendOperation(key: key, client: client, from: invoked, to: nil))
                record.retries[error.code.name, default: 0] += 1
                guard [.unavailable, .deadlineExceeded, .resourceExhausted, .aborted, .cancelled].contains(error.code)
                else {
                    record.failures.append("append of \(key) by node \(node.id): \(error)")
                    return
                }
            }
            try? await Task.sleep(for: .milliseconds(Int.random(in: 1...10, using: &rng)))
        }
        record.failures.append("\(key) had no answer in \(self.settings.patience)")
    }

    private func entry(_ key: String) -> [UInt8] {
        [UInt8](repeating: 0x61, count: self.settings.bytes).withUnsafeBytes { raw in
            EncodedEntry.raw(
                header: EntryHeader(
                    partition: PartitionID(self.settings.partition) ?? .data(0), tier: .interactive,
                    operation: .barrier,
                    tenant: "default", requestID: key, idempotencyKey: key,
                    trace: TraceContext(traceHigh: 1, traceLow: 1, spanID: 1, sampled: false)),
                body: raw)
        }.bytes
    }
}
