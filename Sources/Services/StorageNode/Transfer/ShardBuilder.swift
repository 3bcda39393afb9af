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
        let build: ShardBuild
        do throws(VecraftError) { build = try self.storage.builds.begin(id, schema) } catch { return }
        var isHere = false
        var said: String?
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
                if what != said {
                    self.log.warning(
                        "a shard could not be built yet",
                        metadata: ["collection": "\(build.schema.label)", "shard": "\(id.shard)", "error": "\(what)"])
                }
                said = what
            }
            try? await Task.sleep(for: Self.pause)
            // Others may have what they need by now.
            if self.storage.missingShards.count > 1 { return }
        }
    }

    /// The node that has the most of the shard, of those from which this node's journal can go on.
    private func choose(_ build: ShardBuild, _ failed: inout Set<ReplicaID>) async throws(VecraftError) -> ReplicaID {
        let first = try self.storage.firstOffset(of: build.schema.partition)
        let client = self.client
        let id = build.id
        let answers = await withTaskGroup(of: (ReplicaID, Result<JournalOffset?, VecraftError>).self) { group in
            for node in client.clients.nodes {
                group.addTask {
                    do throws(VecraftError) {
                        return (node, .success(try await client.states([id], at: node).first?.applied))
                    } catch {
                        return (node, .failure(error))
                    }
                }
            }
            var answers: [(ReplicaID, Result<JournalOffset?, VecraftError>)] = []
            for await answer in group { answers.append(answer) }
            return answers.sorted { $0.0 < $1.0 }
        }
        var able: [(node: ReplicaID, applied: JournalOffset)] = []
        var reasons: [String] = []
        for (node, answer) in answers {
            switch answer {
            case .success(let applied?) where applied + 1 >= first: able.append((node, applied))
            case .success(let applied?): reasons.append("node \(node) is at \(applied), the journal begins at \(first)")
            case .success(nil): reasons.append("node \(node) does not have it")
            case .failure(let error): reasons.append("node \(node): \(error.message)")
            }
        }
        if able.allSatisfy({ failed.contains($0.node) }) { failed = [] }
        let best = able.filter { !failed.contains($0.node) }.max { $0.applied < $1.applied }
        guard let best else {
            throw VecraftError(
                .unavailable,
                reasons.isEmpty ? "no other node is known" : "no node has it: " + reasons.joined(separator: "; "),
                reason: "NO_SOURCE")
        }
        return best.node
    }
}
