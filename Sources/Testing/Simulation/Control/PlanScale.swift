package import Placement
internal import Primitives

/// A large cluster in which all goes well, for what a plan costs.
package struct PlanScale {
    package private(set) var map = ClusterMap()
    package var down: Set<NodeID> = []
    private let planner = Planner()

    /// - Parameters:
    ///   - nodes: In three zones.
    ///   - shards: In collections of 16, two copies each.
    package init(nodes: Int, shards: Int) {
        for i in 1...nodes {
            self.apply(.describeNode(NodeRecord(id: NodeID(UInt64(i)), name: "node-\(i)", zone: "z\(i % 3)")))
            self.apply(.activateNode(NodeID(UInt64(i))))
        }
        for i in 0..<16 { self.apply(.addPartition(.data(UInt16(i)), wanted: 3)) }
        for i in 0..<(shards + 15) / 16 {
            self.apply(
                .addCollection(
                    UInt64(i + 1), shards: min(16, shards - 16 * i), replication: 2, partition: .data(UInt16(i % 16))))
        }
    }

    package mutating func apply(_ change: MapChange) {
        do throws(VecraftError) {
            try self.map.apply(change, expecting: self.map.epoch)
        } catch { preconditionFailure("\(change): \(error)") }
    }

    /// What is known when every node holds what the map says, ready, but for those that are down.
    package var observations: Observations {
        var observations = Observations()
        for node in self.map.presentNodes {
            observations.health[node.id] = self.down.contains(node.id) ? .down : .up
            observations.nodes[node.id] = NodeObservation(epoch: self.map.epoch)
        }
        for collection in self.map.collections.values {
            for replica in collection.shards.flatMap(\.replicas) {
                observations.nodes[replica.node]!.replicas[replica.incarnation] = ReplicaObservation(
                    .ready, applied: 1, bytes: 1 << 20)
            }
        }
        for record in self.map.partitions.values where record.changed > 0 {
            for replica in record.replicas {
                observations.nodes[replica.node]!.journals[replica.incarnation] = .running
            }
            let voters = Set(record.voters.map(\.incarnation)), learners = Set(record.learners.map(\.incarnation))
            observations.groups[record.id] = GroupObservation(
                leader: voters.min() ?? 0, voters: voters, learners: learners, caughtUp: voters.union(learners),
                changed: record.changed)
        }
        return observations
    }

    package func plan(_ observations: Observations) -> Plan { self.planner.plan(self.map, observations) }

    /// Plans and applies until nothing is left to decide.
    /// - Returns: How many plans that took; nil: more than `limit`.
    package mutating func settle(limit: Int = 10_000) -> Int? {
        for plans in 1...limit {
            let plan = self.plan(self.observations)
            precondition(plan.mistakes.isEmpty, "\(plan.mistakes)")
            if plan.decisions.isEmpty { return plans }
            for decision in plan.decisions { self.apply(decision.change) }
        }
        return nil
    }
}
