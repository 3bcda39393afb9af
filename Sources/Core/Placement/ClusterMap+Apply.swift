package import Primitives

extension ClusterMap {
    /// Makes one change and the next epoch. What is refused changes nothing.
    ///
    /// The rules here hold whoever decides: they need no observation. That a copy which counts here is truly there is the
    /// planner's to know.
    /// - Parameter epoch: Of the map that the change was thought of for.
    /// - Throws: `.aborted` reason `STALE_EPOCH`; `.failedPrecondition` reason `MAP_CHANGE_REFUSED`; `.invalidArgument`.
    package mutating func apply(
        _ change: MapChange, expecting epoch: MapEpoch, bugs: ControlBugs = []
    ) throws(VecraftError) {
        guard epoch == self.epoch else { throw .stale(expected: epoch, actual: self.epoch) }
        switch change {
        case .describeNode(let record): try self.describe(record)
        case .drainNode(let id): try self.move(id, from: [.active, .joining], to: .draining)
        case .cancelDrain(let id): try self.move(id, from: [.draining, .drained], to: .active)
        case .activateNode(let id): try self.move(id, from: [.joining], to: .active)
        case .finishDrain(let id): try self.finishDrain(id, to: .drained, from: [.draining])
        case .removeNode(let id): try self.finishDrain(id, to: .removed, from: [.drained, .joining])
        case .addCollection(let id, let shards, let replication, let partition):
            try self.addCollection(id, shards, replication, partition)
        case .setReplication(let id, let count): try self.setReplication(id, count)
        case .dropCollection(let id):
            guard self.collections.removeValue(forKey: id) != nil else { throw .refused("no collection \(id)") }
        case .placeReplicas, .promoteReplicas, .retireReplica, .reinstateReplica, .cancelReplica, .discardReplica,
            .forgetReplica:
            try self.applyToShards(change, bugs)
        case .addPartition, .setWantedVoters, .startPartition, .addLearner, .removeLearner, .setVoters,
            .forgetJournalReplica:
            try self.applyToPartition(change)
        }
        self.epoch += 1
    }

    /// The map after the change; this one stays.
    package func applying(_ change: MapChange, expecting epoch: MapEpoch) throws(VecraftError) -> ClusterMap {
        var map = self
        try map.apply(change, expecting: epoch)
        return map
    }

    /// Of a replica made in the change that is being applied.
    var epochBeingMade: MapEpoch { self.epoch + 1 }

    mutating func takeIncarnation() -> Incarnation {
        defer { self.nextIncarnation += 1 }
        return self.nextIncarnation
    }

    // MARK: Nodes

    private mutating func describe(_ record: NodeRecord) throws(VecraftError) {
        try record.validate()
        guard let known = self.nodes[record.id] else {
            guard self.nodes.count < Self.maxNodes else { throw .refused("\(Self.maxNodes) nodes are known already") }
            self.nodes[record.id] = record
            self.nodes[record.id]!.state = .joining
            return
        }
        guard known.state != .removed else {
            throw .refused("\(record.id) was removed; a node that is new has a new id")
        }
        var record = record
        record.state = known.state
        self.nodes[record.id] = record
    }

    private mutating func move(
        _ id: NodeID, from: [NodeRecord.State], to state: NodeRecord.State
    ) throws(VecraftError) {
        guard let known = self.nodes[id] else { throw .refused("no node \(id)") }
        guard from.contains(known.state) else { throw .refused("\(id) is \(known.state)") }
        self.nodes[id]!.state = state
    }

    private mutating func finishDrain(
        _ id: NodeID, to state: NodeRecord.State, from: [NodeRecord.State]
    ) throws(VecraftError) {
        guard !self.holdsSomething(id) else { throw .refused("\(id) still holds replicas; drain it first") }
        try self.move(id, from: from, to: state)
    }

    /// A node that may be given a replica.
    func requireActive(_ id: NodeID, _ role: NodeRoles) throws(VecraftError) {
        guard let node = self.nodes[id], node.state == .active else { throw .refused("\(id) is not active") }
        guard node.roles.contains(role) else { throw .refused("\(id) has not the role") }
    }
}

extension NodeRecord {
    func validate() throws(VecraftError) {
        func check(_ holds: Bool, _ field: String, _ what: String) throws(VecraftError) {
            guard holds else { throw .invalid("node.\(field)", what) }
        }
        func isShort(_ text: String) -> Bool { text.utf8.count <= Self.maxNameBytes }
        try check(self.id.rawValue != 0, "id", "not 0")
        try check(!self.name.isEmpty && isShort(self.name), "name", "1 to \(Self.maxNameBytes) bytes")
        try check(isShort(self.zone), "zone", "at most \(Self.maxNameBytes) bytes")
        try check(
            self.addresses.count <= Self.maxAddresses
                && self.addresses.allSatisfy { isShort($0.key) && isShort($0.value) },
            "addresses", "at most \(Self.maxAddresses), of \(Self.maxNameBytes) bytes")
        try check(Self.weights.contains(self.weight), "weight", "1 to 10,000")
        try check(!self.roles.isEmpty && self.roles.isSubset(of: .all), "roles", "one or more of those known")
    }
}
