internal import MetaManager
internal import Placement
package import Primitives
package import Wire

extension ClusterMember {
    /// The whole cluster as this node sees it now: its map, and what the nodes say that answer.
    package func overview() async throws(VecraftError) -> VecraftV1.OverviewResponse {
        async let asked = self.reports()
        // An old map is better than none: that it is old is said.
        var controller: NodeID?
        var trouble: String?
        do throws(VecraftError) { controller = try await FailoverManager.controller(self.store) } catch {
            trouble = error.message
        }
        let reports = await asked
        let map = self.map.map
        var overview = VecraftV1.OverviewResponse(
            clusterID: self.clusterID, mapEpoch: map.epoch, controller: controller?.rawValue ?? 0,
            metadataReachable: trouble == nil, node: self.id.rawValue)
        overview.partitions = map.partitions.values.sorted { $0.id < $1.id }.map { Self.partition($0, reports) }
        overview.shards = map.collections.values.sorted { $0.id < $1.id }.flatMap { self.shards(of: $0, reports) }
        overview.nodes = map.presentNodes.map { Self.node($0, map, reports, overview.partitions) }
        overview.problems = Self.problems(overview, trouble, map) + self.unplaced(map)
        if let deciding = controller.flatMap({ reports[$0] }) {
            overview.problems += deciding.blocked.map { "cannot be had now: \($0)" }
        }
        return overview
    }

    private static func node(
        _ record: NodeRecord, _ map: ClusterMap, _ reports: [NodeID: VecraftInternalV1.NodeReport],
        _ partitions: [VecraftV1.PartitionInfo]
    ) -> VecraftV1.NodeInfo {
        let report = reports[record.id]
        return VecraftV1.NodeInfo(
            id: record.id.rawValue, name: record.name, roles: record.roles == .all ? ["all"] : record.roles.words,
            zone: record.zone, state: record.state.rawValue, condition: report?.state ?? "",
            clientAddress: record.addresses["client"] ?? "", peerAddress: record.addresses["peer"] ?? "",
            httpAddress: record.addresses["http"] ?? "",
            shards: map.collections.values.reduce(0) { sum, collection in
                sum + UInt32(collection.shards.count { $0.replica(on: record.id) != nil })
            },
            leads: partitions.filter { $0.leader == record.id.rawValue }.map(\.partition),
            lagEntries: report?.lagEntries ?? 0,
            lagBytes: report?.lagBytes ?? 0, lagMs: report?.lagMs ?? 0, diskFreeBytes: report?.diskFree ?? 0,
            diskTotalBytes: report?.diskTotal ?? 0, version: report?.version ?? "", uptimeMs: report?.uptimeMs ?? 0,
            problem: report?.problem ?? "it does not answer", mapEpoch: report?.mapEpoch ?? 0)
    }

    private static func partition(
        _ record: JournalRecord, _ reports: [NodeID: VecraftInternalV1.NodeReport]
    ) -> VecraftV1.PartitionInfo {
        var info = VecraftV1.PartitionInfo(
            partition: record.id.description, voters: record.voters.map(\.node.rawValue), wanted: UInt32(record.wanted))
        for (node, report) in reports {
            guard let group = report.groups.first(where: { $0.partition == info.partition }), group.term > info.term
            else { continue }
            info.leader = node.rawValue
            info.term = group.term
            info.voters = group.voters
            info.learners = group.learners
            info.committedOffset = group.committedOffset
        }
        return info
    }

    private func shards(
        of collection: CollectionRecord, _ reports: [NodeID: VecraftInternalV1.NodeReport]
    ) -> [VecraftV1.ShardInfo] {
        let schema = self.schema(collection.id)
        return collection.shards.enumerated().map { i, record in
            VecraftV1.ShardInfo(
                collectionID: collection.id, tenant: schema?.tenant ?? "", collection: schema?.name ?? "",
                shard: UInt32(i),
                partition: record.partition.description, wanted: UInt32(collection.replication),
                replicas: record.replicas.map { replica in
                    let said = reports[replica.node]?.replicas.first { $0.incarnation == replica.incarnation }
                    return VecraftV1.ShardReplicaInfo(
                        node: replica.node.rawValue, state: replica.state.rawValue, condition: said?.state ?? "",
                        appliedOffset: said?.appliedOffset ?? 0, points: said?.points ?? 0, bytes: said?.bytes ?? 0,
                        progress: said.map { $0.state == "building" ? Double($0.progress) / 1000 : 1 } ?? 0,
                        remainingMs: said?.remainingMs ?? 0)
                })
        }
    }

    /// Collections that nobody has given shards.
    private func unplaced(_ map: ClusterMap) -> [String] {
        self.collections.filter { map.collections[$0.id] == nil }.map { "collection \($0.name) has no shards yet" }
    }

    /// From what is known here, whoever decides.
    private static func problems(
        _ overview: VecraftV1.OverviewResponse, _ trouble: String?, _ map: ClusterMap
    ) -> [String] {
        var found: [String] = []
        if let trouble {
            found.append("the metadata store: \(trouble); this is the last map known, and nothing is repaired")
        } else if overview.controller == 0 {
            found.append("no node decides for the cluster at the moment")
        }
        for node in overview.nodes where node.condition.isEmpty { found.append("node \(node.id) does not answer") }
        for node in overview.nodes where !node.condition.isEmpty && !node.problem.isEmpty {
            found.append("node \(node.id): \(node.problem)")
        }
        for part in overview.partitions {
            if part.leader == 0 { found.append("\(part.partition) has no leader") }
            if part.voters.count < Int(part.wanted) {
                found.append("\(part.partition) has \(part.voters.count) of \(part.wanted) voters")
            }
        }
        for shard in overview.shards {
            let good = shard.replicas.count { $0.state == "live" && $0.condition == "ready" }
            if good < Int(shard.wanted) {
                let name = shard.collection.isEmpty ? "\(shard.collectionID)" : shard.collection
                found.append("shard \(name)/\(shard.shard) has \(good) of \(shard.wanted) copies ready")
            }
        }
        return found
    }
}

extension NodeRoles {
    fileprivate var words: [String] {
        [
            (NodeRoles.storage, "storage"), (.journal, "journal"), (.query, "query"), (.gateway, "gateway"),
            (.control, "control"),
        ]
        .filter { self.contains($0.0) }.map(\.1)
    }
}
