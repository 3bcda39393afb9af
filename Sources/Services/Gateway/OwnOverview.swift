internal import JournalService
internal import MetaManager
internal import Primitives
internal import Raft
internal import ShardEngine
internal import StorageNode
package import Wire

extension Gateway {
    /// What this node knows by itself, in the shape of a cluster's overview: of a node alone that is all there is; of
    /// one among fixed peers (`cluster.peers`), who leads and who votes, and no more of the others.
    package func ownOverview() -> VecraftV1.OverviewResponse {
        let status = self.currentStatus()
        let replicas = self.journal.partitions.map { (id: $0, status: try? self.journal.status($0)) }
        let own = replicas.compactMap { $0.status?.replica?.replica.rawValue }.first ?? 1
        var overview = VecraftV1.OverviewResponse(metadataReachable: true, node: own)
        overview.partitions = replicas.map { Self.partition($0.id, $0.status, own) }
        overview.shards = self.meta.catalog.byID.values.sorted { $0.id < $1.id }.flatMap { self.shards(of: $0, own) }
        let failing = status.checks.filter { !$0.ok }.map { "\($0.name): \($0.detail)" }
        let lags = status.partitions
        overview.nodes = [
            VecraftV1.NodeInfo(
                id: own, name: status.node, roles: status.roles, state: "active", condition: status.state,
                clientAddress: status.grpcAddress, httpAddress: status.httpAddress,
                shards: UInt32(overview.shards.count { !$0.replicas.isEmpty }),
                leads: overview.partitions.filter { $0.leader == own }.map(\.partition),
                lagEntries: lags.map(\.lagEntries).max() ?? 0, lagBytes: lags.map(\.lagBytes).max() ?? 0,
                lagMs: lags.map(\.lagMs).max() ?? 0, version: status.version, uptimeMs: status.uptimeMs,
                problem: failing.joined(separator: "; "))
        ]
        if status.state != "ready" { overview.problems.append("this node is \(status.state)") }
        overview.problems += failing
        for part in overview.partitions where part.leader == 0 {
            overview.problems.append("\(part.partition) has no leader")
        }
        return overview
    }

    private static func partition(
        _ id: PartitionID, _ status: JournalPartitionStatus?, _ own: UInt64
    ) -> VecraftV1.PartitionInfo {
        var info = VecraftV1.PartitionInfo(
            partition: id.description, term: status?.term ?? 0, committedOffset: status?.committed ?? 0)
        if let replica = status?.replica {
            info.leader = replica.leader?.rawValue ?? 0
            info.voters = replica.membership.voters.map(\.rawValue)
            info.learners = replica.membership.members.filter { !$0.isVoter }.map(\.id.rawValue)
        } else {
            // Nobody to agree with: it leads whatever it can write.
            (info.leader, info.voters) = (own, [own])
        }
        info.wanted = UInt32(info.voters.count)
        return info
    }

    private func shards(of schema: CollectionSchema, _ own: UInt64) -> [VecraftV1.ShardInfo] {
        let held = self.storage.replica(schema.id)
        return (0..<schema.shards).compactMap { index in
            // Who else holds it is not known here.
            if held?.shard(index) == nil, self.journal.isReplicated { return nil }
            var info = VecraftV1.ShardInfo(
                collectionID: schema.id, tenant: schema.tenant, collection: schema.name, shard: index,
                partition: schema.partition.description, wanted: 1)
            if let shard = held?.shard(index) {
                let statistics = shard.engine.statistics
                info.replicas = [
                    VecraftV1.ShardReplicaInfo(
                        node: own, state: "live",
                        condition: self.status.source.state == "ready" ? "ready" : "catchingUp",
                        appliedOffset: statistics.applied, points: UInt64(statistics.points),
                        bytes: statistics.diskBytes, progress: 1)
                ]
            }
            return info
        }
    }
}
