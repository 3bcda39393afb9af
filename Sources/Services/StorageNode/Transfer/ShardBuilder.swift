internal import JournalService
internal import Logging
internal import Primitives
internal import Raft
internal import ShardEngine
internal import Synchronization

/// Builds the shards that a start found to lie behind the journal's beginning, each from the node that has the most of it; tries
/// again, with whatever nodes there are, until all are here.
package final class ShardBuilder: Sendable {
    /// Between two attempts at a shard.
    private static let pause: Duration = .milliseconds(500)

    private let storage: StorageNode
    private let client: ShardTransferClient
    private let work = Mutex<(task: Task<Void, Never>?, isStopped: Bool)>((nil, false))
    /// Why each could not be built the last time.
    private let said = Mutex<[ShardID: String]>([:])
    private let log = Logger(label: "vecraft.storage.transfer")

    package init(_ storage: StorageNode, _ client: ShardTransferClient) {
        self.storage = storage
        self.client = client
    }

    package var isDone: Bool { self.storage.missingShards.isEmpty }

    /// For `/readyz`: "building shard docs/0 from node 2: 43 %, 12 s left".
    package var description: String {
        let running = self.storage.buildProgress.map(\.description)
        let waiting = self.storage.missingShards.count - running.count
        return (running + (waiting > 0 ? ["\(waiting) more to build"] : [])).joined(separator: "; ")
    }

    /// Returns when all shards are here, or it is stopped. Once.
    package func run() async {
        // The handle is what `stop` cancels; it is waited for here.
        let task = self.work.withLock { work -> Task<Void, Never>? in
            guard !work.isStopped else { return nil }
            let task = Task { await self.buildAll() }
            work.task = task
            return task
        }
        await task?.value
    }

    /// What has come so far stays aside for the next start.
    package func stop() {
        let task = self.work.withLock { work in
            work.isStopped = true
            return work.task
        }
        task?.cancel()
        self.storage.cancelBuilds()
    }

    private func buildAll() async {
        var failures: [ShardID: Set<ReplicaID>] = [:]
        while !Task.isCancelled {
            let missing = self.storage.builds.missing.sorted {
                ($0.key.collection, $0.key.shard) < ($1.key.collection, $1.key.shard)
            }
            if missing.isEmpty { return }
            for (id, schema) in missing where !Task.isCancelled {
                await self.buildOne(id, schema, &failures[id, default: []])
            }
            if self.isDone { return }
            try? await Task.sleep(for: Self.pause)
        }
    }

    /// - Parameter failed: Nodes that did not bring it; passed over while there are others.
    private func buildOne(_ id: ShardID, _ schema: CollectionSchema, _ failed: inout Set<ReplicaID>) async {
        // It may have been given to another node, or dropped, while others were built.
        guard let build = self.storage.builds.beginMissing(id) else { return }
        var isHere = false
        defer { self.storage.builds.end(build, isHere: isHere) }
        while !Task.isCancelled, !build.isCancelled {
            var node: ReplicaID?
            do throws(VecraftError) {
                let found = try await self.choose(build, &failed)
                node = found
                build.enter(.seeking, from: found)
                try await self.storage.attempt(build, from: found, over: self.client)
                isHere = true
                return
            } catch {
                if Task.isCancelled || build.isCancelled { return }
                if let node { failed.insert(node) }
                let what = node.map { "node \($0): \(error.message)" } ?? error.message
                build.failed(what)
                // The same, twice a second, is no news.
                if self.said.withLock({ $0.updateValue(what, forKey: id) }) != what {
                    self.log.warning(
                        "a shard could not be built yet",
                        metadata: ["collection": "\(build.schema.label)", "shard": "\(id.shard)", "error": "\(what)"])
                }
            }
            try? await Task.sleep(for: Self.pause)
            // Others may have what they need by now.
            if self.storage.missingShards.count > 1 { return }
        }
    }

    /// What one node said of a shard.
    private struct Answer: Sendable {
        var node: ReplicaID
        /// Nil: it does not have it, or did not answer.
        var applied: JournalOffset?
        var failure: String?
    }

    private func ask(_ node: ReplicaID, _ id: ShardID) async -> Answer {
        var answer = Answer(node: node)
        do throws(VecraftError) {
            let states = try await self.client.states([id], at: node)
            answer.applied = states.first { $0.shard == id }?.applied
        } catch {
            answer.failure = error.message
        }
        return answer
    }

    /// The node that has the most of the shard, of those from which this node's journal can go on.
    private func choose(_ build: ShardBuild, _ failed: inout Set<ReplicaID>) async throws(VecraftError) -> ReplicaID {
        let first = try self.storage.firstOffset(of: build.schema.partition)
        let answers = await withTaskGroup(of: Answer.self) { group in
            for node in self.client.clients.nodes { group.addTask { await self.ask(node, build.id) } }
            var answers: [Answer] = []
            for await answer in group { answers.append(answer) }
            return answers.sorted { $0.node < $1.node }
        }
        let able = answers.filter { $0.applied.map { $0 + 1 >= first } ?? false }
        if able.allSatisfy({ failed.contains($0.node) }) { failed = [] }
        let best = able.filter { !failed.contains($0.node) }.max { ($0.applied ?? 0) < ($1.applied ?? 0) }
        if let best { return best.node }
        let reasons = answers.map { answer in
            if let failure = answer.failure { return "node \(answer.node): \(failure)" }
            guard let applied = answer.applied else { return "node \(answer.node) does not have it" }
            return "node \(answer.node) is at \(applied), the journal begins at \(first)"
        }
        throw VecraftError(
            .unavailable,
            reasons.isEmpty ? "no other node is known" : "no node has it: " + reasons.joined(separator: "; "),
            reason: "NO_SOURCE")
    }
}
