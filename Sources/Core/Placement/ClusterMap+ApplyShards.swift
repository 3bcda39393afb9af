internal import Primitives

extension ClusterMap {
    mutating func addCollection(
        _ id: UInt64, _ shards: Int, _ replication: Int, _ partition: PartitionID
    ) throws(VecraftError) {
        guard self.collections[id] == nil else { throw .refused("collection \(id) is there already") }
        guard self.collections.count < Self.maxCollections else { throw .refused("\(Self.maxCollections) collections") }
        guard (1...SlotMap.slots).contains(shards) else { throw .invalid("shards", "1 to \(SlotMap.slots)") }
        guard CollectionRecord.replications.contains(replication) else { throw .invalid("replication", "1 to 7") }
        guard self.partitions[partition] != nil else { throw .refused("no partition \(partition)") }
        let shard = ShardRecord(partition: partition, firstLive: 0, replicas: [])
        self.collections[id] = CollectionRecord(
            id: id, replication: replication, slots: SlotMap(shards: shards),
            shards: Array(repeating: shard, count: shards))
    }

    mutating func setReplication(_ id: UInt64, _ count: Int) throws(VecraftError) {
        guard CollectionRecord.replications.contains(count) else { throw .invalid("replication", "1 to 7") }
        guard let known = self.collections[id] else { throw .refused("no collection \(id)") }
        guard known.replication != count else { throw .refused("collection \(id) has replication \(count) already") }
        self.collections[id]!.replication = count
    }

    mutating func applyToShards(_ change: MapChange, _ bugs: ControlBugs) throws(VecraftError) {
        switch change {
        case .placeReplicas(let id, let new): try self.place(id, new)
        case .promoteReplicas(let id, let names):
            for name in names {
                _ = try self.require(ShardID(collection: id, shard: name.shard), name.incarnation, .building)
            }
            for name in names {
                let shard = ShardID(collection: id, shard: name.shard)
                self.setState(shard, name.incarnation, .live)
                if self.shard(shard)!.firstLive == 0 {
                    self.collections[id]!.shards[Int(name.shard)].firstLive = self.epochBeingMade
                }
            }
        case .retireReplica(let id, let which):
            let shard = try self.require(id, which, .live)
            let wanted = self.collections[id.collection]!.replication
            guard shard.liveCount > wanted || bugs.contains(.trimBeforeLive) else {
                throw .refused("\(id) has \(shard.liveCount) live replicas and wants \(wanted)")
            }
            self.setState(id, which, .leaving)
        case .reinstateReplica(let id, let which):
            _ = try self.require(id, which, .leaving)
            self.setState(id, which, .live)
        case .cancelReplica(let id, let which):
            _ = try self.require(id, which, .building)
            self.drop(id, which)
        case .discardReplica(let id, let which):
            guard try self.require(id, which, .live).liveCount > 1 else {
                throw .refused("\(id)#\(which) is the last one")
            }
            self.drop(id, which)
        case .forgetReplica(let id, let which):
            guard try self.require(id, which, .leaving).liveCount > 0 else {
                throw .refused("\(id)#\(which) is the last one")
            }
            self.drop(id, which)
        default: preconditionFailure("\(change) is not about shards")
        }
    }

    private mutating func place(_ id: UInt64, _ new: [NewReplica]) throws(VecraftError) {
        guard let collection = self.collections[id], !new.isEmpty else {
            throw .refused("no collection \(id), or nothing to place")
        }
        var seen = Set<[UInt64]>()
        for replica in new {
            guard replica.shard < UInt32(collection.shards.count) else {
                throw .refused("no shard \(id)/\(replica.shard)")
            }
            let shard = collection.shards[Int(replica.shard)]
            guard shard.replica(on: replica.node) == nil,
                seen.insert([UInt64(replica.shard), replica.node.rawValue]).inserted
            else {
                throw .refused("\(replica.node) has a replica of \(id)/\(replica.shard) already")
            }
            guard replica.movesFrom == 0 || shard.replica(replica.movesFrom)?.state == .live else {
                throw .refused("\(id)/\(replica.shard)#\(replica.movesFrom) is not live")
            }
            try self.requireActive(replica.node, .storage)
        }
        for replica in new {
            let made = ShardReplica(
                node: replica.node, state: .building, incarnation: self.takeIncarnation(), made: self.epochBeingMade,
                movesFrom: replica.movesFrom)
            self.collections[id]!.shards[Int(replica.shard)].replicas.append(made)
        }
    }

    private func require(
        _ id: ShardID, _ which: Incarnation, _ state: ShardReplica.State
    ) throws(VecraftError) -> ShardRecord {
        guard let shard = self.shard(id), let replica = shard.replica(which) else {
            throw .refused("no replica \(id)#\(which)")
        }
        guard replica.state == state else { throw .refused("\(id)#\(which) is \(replica.state), not \(state)") }
        return shard
    }

    private mutating func setState(_ id: ShardID, _ which: Incarnation, _ state: ShardReplica.State) {
        let place = self.shard(id)!.replicas.firstIndex { $0.incarnation == which }!
        self.collections[id.collection]!.shards[Int(id.shard)].replicas[place].state = state
    }

    private mutating func drop(_ id: ShardID, _ which: Incarnation) {
        var replicas = self.shard(id)!.replicas
        replicas.removeAll { $0.incarnation == which }
        for i in replicas.indices where replicas[i].movesFrom == which { replicas[i].movesFrom = 0 }
        self.collections[id.collection]!.shards[Int(id.shard)].replicas = replicas
    }
}
