internal import Primitives

extension ClusterMap {
    /// The first rule that the map breaks, by name; nil if it is sound. Visits everything.
    package func brokenInvariant() -> String? {
        self.brokenNode() ?? self.brokenShard() ?? self.brokenPartition() ?? self.brokenIncarnation()
            ?? self.brokenDrain()
    }

    /// A record is valid, and found under its id.
    private func brokenNode() -> String? {
        for (id, node) in self.nodes {
            if node.id != id { return "node keys: \(id) holds \(node.id)" }
            do throws(VecraftError) { try node.validate() } catch { return "node \(id): \(error)" }
        }
        return self.nodes.count > Self.maxNodes ? "limits: \(self.nodes.count) nodes" : nil
    }

    private func brokenShard() -> String? {
        for (key, collection) in self.collections {
            if collection.id != key { return "collection keys: \(key) holds \(collection.id)" }
            if !CollectionRecord.replications.contains(collection.replication) { return "replication of \(key)" }
            // One owner a slot: the ranges tile by SlotMap's making, so each must have its shard.
            if collection.slots.shards != collection.shards.count { return "slot owners: \(key)" }
            for (i, shard) in collection.shards.enumerated() {
                let name = "\(key)/\(i)"
                if self.partitions[shard.partition] == nil { return "known partition: \(name)" }
                if Set(shard.replicas.map(\.node)).count != shard.replicas.count { return "distinct nodes: \(name)" }
                if shard.firstLive > self.epoch { return "epochs: \(name)" }
                if shard.firstLive > 0 && shard.liveCount == 0 { return "a live replica in the map: \(name)" }
                if shard.firstLive == 0 && shard.replicas.contains(where: { $0.state != .building }) {
                    return "never live: \(name)"
                }
                for replica in shard.replicas where replica.movesFrom != 0 && shard.replica(replica.movesFrom) == nil {
                    return "moves from a replica: \(name)#\(replica.incarnation)"
                }
            }
        }
        return nil
    }

    private func brokenPartition() -> String? {
        for (key, record) in self.partitions {
            if record.id != key { return "partition keys: \(key) holds \(record.id)" }
            if !JournalRecord.voterCounts.contains(record.wanted) { return "wanted voters: \(key)" }
            if record.changed > self.epoch { return "epochs: \(key)" }
            if record.changed == 0 {
                if !record.replicas.isEmpty { return "started: \(key)" }
                continue
            }
            // Odd, so that no membership is ever agreed on in which one failure more stops the group than need be.
            if !JournalRecord.voterCounts.contains(record.voters.count) { return "odd voters: \(key)" }
            if record.learners.count > Self.maxLearners { return "learners: \(key)" }
            for group in [record.voters, record.learners] where Set(group.map(\.node)).count != group.count {
                return "distinct nodes: \(key)"
            }
            for learner in record.learners
            where learner.replaces != 0 && record.replica(learner.replaces)?.role != .voter {
                return "replaces a voter: \(key)#\(learner.incarnation)"
            }
        }
        return nil
    }

    /// An incarnation is one replica's, for ever.
    private func brokenIncarnation() -> String? {
        var seen = Set<Incarnation>()
        func check(_ which: Incarnation, _ made: MapEpoch) -> Bool {
            which > 0 && which < self.nextIncarnation && made <= self.epoch && made > 0 && seen.insert(which).inserted
        }
        for collection in self.collections.values {
            for shard in collection.shards {
                for replica in shard.replicas where !check(replica.incarnation, replica.made) {
                    return "incarnations: \(collection.id)#\(replica.incarnation)"
                }
            }
        }
        for record in self.partitions.values {
            for replica in record.replicas where !check(replica.incarnation, replica.made) {
                return "incarnations: \(record.id)#\(replica.incarnation)"
            }
        }
        return nil
    }

    /// Replicas are on nodes that may hold them.
    private func brokenDrain() -> String? {
        func mayHold(_ node: NodeID) -> Bool {
            let state = self.nodes[node]?.state
            return state == .active || state == .draining
        }
        for collection in self.collections.values {
            for shard in collection.shards {
                for replica in shard.replicas where !mayHold(replica.node) {
                    return "a holder's state: \(collection.id) on \(replica.node)"
                }
            }
        }
        for record in self.partitions.values {
            for replica in record.replicas where !mayHold(replica.node) {
                return "a holder's state: \(record.id) on \(replica.node)"
            }
        }
        return nil
    }
}
