internal import Primitives

extension ClusterMap {
    /// At most: two to grow by, two to replace.
    static let maxLearners = 4

    mutating func applyToPartition(_ change: MapChange) throws(VecraftError) {
        switch change {
        case .addPartition(let id, let wanted):
            try Self.checkVoterCount(wanted)
            guard self.partitions[id] == nil else { throw .refused("partition \(id) is there already") }
            guard self.partitions.count < Self.maxPartitions else { throw .refused("\(Self.maxPartitions) partitions") }
            self.partitions[id] = JournalRecord(id: id, wanted: wanted, changed: 0, replicas: [])
        case .setWantedVoters(let id, let wanted):
            try Self.checkVoterCount(wanted)
            guard try self.require(id).wanted != wanted else { throw .refused("\(id) wants \(wanted) voters already") }
            self.partitions[id]!.wanted = wanted
        case .startPartition(let id, let nodes): try self.start(id, nodes)
        case .addLearner(let id, let node, let replaced): try self.addLearner(id, node, replaced)
        case .removeLearner(let id, let which):
            try self.require(id, which, .learner)
            // Its log is worth nothing to the group, so there is nothing to wait for.
            self.partitions[id]!.replicas.removeAll { $0.incarnation == which }
            self.partitions[id]!.changed = self.epochBeingMade
        case .setVoters(let id, let voters): try self.setVoters(id, voters)
        case .forgetJournalReplica(let id, let which):
            try self.require(id, which, .leaving)
            self.partitions[id]!.replicas.removeAll { $0.incarnation == which }
        default: preconditionFailure("\(change) is not about a partition")
        }
    }

    private static func checkVoterCount(_ count: Int) throws(VecraftError) {
        guard JournalRecord.voterCounts.contains(count) else { throw .invalid("voters", "1, 3 or 5") }
    }

    private func require(_ id: PartitionID) throws(VecraftError) -> JournalRecord {
        guard let record = self.partitions[id] else { throw .refused("no partition \(id)") }
        return record
    }

    private func require(_ id: PartitionID, _ which: Incarnation, _ role: JournalReplica.Role) throws(VecraftError) {
        guard let replica = try self.require(id).replica(which) else { throw .refused("no replica \(id)#\(which)") }
        guard replica.role == role else { throw .refused("\(id)#\(which) is a \(replica.role)") }
    }

    private mutating func start(_ id: PartitionID, _ nodes: [NodeID]) throws(VecraftError) {
        guard try self.require(id).changed == 0 else { throw .refused("\(id) was started already") }
        try Self.checkVoterCount(nodes.count)
        guard Set(nodes).count == nodes.count else { throw .refused("a node is named twice") }
        for node in nodes { try self.requireActive(node, .journal) }
        for node in nodes {
            let made = JournalReplica(
                node: node, role: .voter, incarnation: self.takeIncarnation(), made: self.epochBeingMade, replaces: 0)
            self.partitions[id]!.replicas.append(made)
        }
        self.partitions[id]!.changed = self.epochBeingMade
    }

    private mutating func addLearner(_ id: PartitionID, _ node: NodeID, _ replaced: Incarnation) throws(VecraftError) {
        let record = try self.require(id)
        guard record.changed != 0 else { throw .refused("\(id) was not started") }
        try self.requireActive(node, .journal)
        guard record.learners.count < Self.maxLearners else { throw .refused("\(id) has \(Self.maxLearners) learners") }
        guard replaced == 0 || record.replica(replaced)?.role == .voter else {
            throw .refused("\(id)#\(replaced) is no voter")
        }
        // A voter that lost its data may be followed on its own node.
        guard record.replicas.allSatisfy({ $0.node != node || ($0.incarnation == replaced && $0.role == .voter) })
        else {
            throw .refused("\(node) has a replica of \(id) already")
        }
        let made = JournalReplica(
            node: node, role: .learner, incarnation: self.takeIncarnation(), made: self.epochBeingMade,
            replaces: replaced)
        self.partitions[id]!.replicas.append(made)
        self.partitions[id]!.changed = self.epochBeingMade
    }

    private mutating func setVoters(_ id: PartitionID, _ voters: [Incarnation]) throws(VecraftError) {
        var record = try self.require(id)
        guard record.changed != 0 else { throw .refused("\(id) was not started") }
        try Self.checkVoterCount(voters.count)
        var places: [NodeID] = []
        for which in voters {
            guard let replica = record.replica(which) else { throw .refused("no replica \(id)#\(which)") }
            places.append(replica.node)
            if replica.role == .learner { try self.requireActive(replica.node, .journal) }
        }
        guard Set(places).count == places.count else { throw .refused("two voters of \(id) on one node") }
        guard Set(voters) != Set(record.voters.map(\.incarnation)) else { throw .refused("\(id) has these voters") }
        for i in record.replicas.indices {
            let votes = voters.contains(record.replicas[i].incarnation)
            if votes {
                record.replicas[i].role = .voter
                record.replicas[i].replaces = 0
            } else if record.replicas[i].role == .voter {
                record.replicas[i].role = .leaving
            }
            // Whom it was to replace is going.
            if !voters.contains(record.replicas[i].replaces) { record.replicas[i].replaces = 0 }
        }
        record.changed = self.epochBeingMade
        self.partitions[id] = record
    }
}
