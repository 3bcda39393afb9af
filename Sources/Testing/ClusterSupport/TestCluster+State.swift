import Primitives
import TestSupport
package import Wire

extension TestCluster {
    /// Who leads a partition, so that a majority of its members agrees.
    package struct Leadership: Sendable, Equatable {
        package var node: Int
        package var term: UInt64
    }

    /// What each node says that answers within the time.
    package func partitions(timeout: Duration = .seconds(2)) async -> [Int: [String: VecraftInternalV1.PartitionInfo]] {
        await withTaskGroup(of: (Int, [String: VecraftInternalV1.PartitionInfo]?).self) { group in
            for node in self.nodes where node.isRunning {
                group.addTask { (node.id, try? await node.partitions(timeout: timeout)) }
            }
            var answers: [Int: [String: VecraftInternalV1.PartitionInfo]] = [:]
            for await (id, answer) in group { answers[id] = answer }
            return answers
        }
    }

    /// Nil while there is none.
    package func leaderNow(of partition: String, timeout: Duration = .seconds(2)) async -> Leadership? {
        let answers = await self.partitions(timeout: timeout).compactMapValues { $0[partition] }
        let leading = answers.filter { $0.value.role == "leader" }.max { $0.value.term < $1.value.term }
        guard let (id, info) = leading else { return nil }
        let agreeing = answers.values.filter { $0.leader == UInt64(id) && $0.term == info.term }
        let voters = info.members.count { $0.voter }
        return agreeing.count * 2 > voters ? Leadership(node: id, term: info.term) : nil
    }

    package func leader(of partition: String, within patience: Duration = .seconds(120)) async throws -> Leadership {
        try await eventually("partition \(partition) has a leader", within: patience) {
            await self.leaderNow(of: partition, timeout: .seconds(1))
        }
    }

    /// A leader other than `node`, whoever that was.
    package func leader(of partition: String, otherThan node: Int) async throws -> Leadership {
        try await eventually("partition \(partition) has another leader than \(node)") {
            let leadership = await self.leaderNow(of: partition, timeout: .seconds(1))
            return leadership?.node == node ? nil : leadership
        }
    }

    /// A member that does not lead the partition.
    package func follower(of partition: String) async throws -> Int {
        let leader = try await self.leader(of: partition).node
        return self.nodes.map(\.id).filter { $0 != leader && self[$0].isRunning }.min() ?? leader
    }

    /// Waits until a node has committed all that the others had committed when this was asked.
    package func awaitCaughtUp(_ node: Int, within patience: Duration = .seconds(300)) async throws {
        let goals = await self.partitions(timeout: .seconds(10)).values.reduce(into: [String: UInt64]()) {
            goals, answer in
            for (name, info) in answer { goals[name] = max(goals[name] ?? 0, info.committedOffset) }
        }
        try await eventually("node \(node) has caught up", within: patience) {
            let own = try await self[node].partitions()
            return goals.allSatisfy { name, goal in
                guard let info = own[name], info.failure.isEmpty else { return false }
                return info.committedOffset >= goal && !info.recovering && info.leader != 0
            }
        }
    }

    /// Waits until every node that runs knows the same leader and the same end of each partition's log, all committed.
    /// - Note: Only without writes.
    package func awaitRest(within patience: Duration = .seconds(300)) async throws {
        try await eventually("all nodes agree and rest", within: patience, every: .milliseconds(100)) {
            let answers = await self.partitions()
            guard answers.count == self.nodes.count(where: \.isRunning), let first = answers.values.first else {
                return false
            }
            return first.allSatisfy { name, info in
                info.leader != 0
                    && answers.values.allSatisfy {
                        guard let other = $0[name] else { return false }
                        return other.leader == info.leader && other.term == info.term
                            && other.lastOffset == info.lastOffset
                            && other.committedOffset == other.lastOffset && other.failure.isEmpty
                    }
            }
        }
    }
}
