package import Primitives

/// A replica to be made.
package struct NewReplica: Equatable, Sendable {
    package let shard: UInt32
    package let node: NodeID
    package let movesFrom: Incarnation
    package init(shard: UInt32, node: NodeID, movesFrom: Incarnation = 0) {
        self.shard = shard
        self.node = node
        self.movesFrom = movesFrom
    }
}

/// One of a collection's replicas.
package struct ReplicaName: Hashable, Sendable {
    package let shard: UInt32
    package let incarnation: Incarnation
    package init(shard: UInt32, incarnation: Incarnation) {
        self.shard = shard
        self.incarnation = incarnation
    }
}

/// All that can happen to a ``ClusterMap``. Each is allowed only where ``ClusterMap/apply(_:expecting:bugs:)`` says.
package enum MapChange: Equatable, Sendable {
    // Asked for by people and services.

    /// A new node, or another description of a known one (it came back with other addresses).
    case describeNode(NodeRecord)
    case drainNode(NodeID)
    case cancelDrain(NodeID)
    case removeNode(NodeID)
    case addCollection(UInt64, shards: Int, replication: Int, partition: PartitionID)
    case setReplication(UInt64, Int)
    case dropCollection(UInt64)
    case addPartition(PartitionID, wanted: Int)
    case setWantedVoters(PartitionID, Int)

    // Decided by the planner.

    case activateNode(NodeID)
    case finishDrain(NodeID)
    case placeReplicas(UInt64, [NewReplica])
    /// building -> live
    case promoteReplicas(UInt64, [ReplicaName])
    /// live -> leaving
    case retireReplica(ShardID, Incarnation)
    /// leaving -> live
    case reinstateReplica(ShardID, Incarnation)
    /// building -> none
    case cancelReplica(ShardID, Incarnation)
    /// live -> none, of a copy that its node has lost
    case discardReplica(ShardID, Incarnation)
    /// leaving -> none: only now the node deletes it
    case forgetReplica(ShardID, Incarnation)
    case startPartition(PartitionID, [NodeID])
    case addLearner(PartitionID, NodeID, replaces: Incarnation)
    case removeLearner(PartitionID, Incarnation)
    /// Who is named votes, who voted and is not named leaves: one joint change of the group.
    case setVoters(PartitionID, [Incarnation])
    case forgetJournalReplica(PartitionID, Incarnation)
}

extension MapChange: CustomStringConvertible {
    package var description: String {
        func list(_ values: [some CustomStringConvertible]) -> String {
            values.map(\.description).joined(separator: " ")
        }
        switch self {
        case .describeNode(let node): return "node \(node.id) is \(node.name)"
        case .drainNode(let node): return "drain \(node)"
        case .cancelDrain(let node): return "cancel the drain of \(node)"
        case .removeNode(let node): return "remove \(node)"
        case .addCollection(let id, let shards, let replication, let partition):
            return "collection \(id): \(shards) shards x \(replication) on \(partition)"
        case .setReplication(let id, let count): return "collection \(id): replication \(count)"
        case .dropCollection(let id): return "drop collection \(id)"
        case .addPartition(let id, let wanted): return "partition \(id) with \(wanted) voters"
        case .setWantedVoters(let id, let wanted): return "partition \(id): \(wanted) voters wanted"
        case .activateNode(let node): return "activate \(node)"
        case .finishDrain(let node): return "\(node) is drained"
        case .placeReplicas(let id, let new):
            let places = new.map {
                "\(id)/\($0.shard) on \($0.node)\($0.movesFrom == 0 ? "" : " from #\($0.movesFrom)")"
            }
            return "place \(places.joined(separator: ", "))"
        case .promoteReplicas(let id, let names):
            return "promote \(names.map { "\(id)/\($0.shard)#\($0.incarnation)" }.joined(separator: ", "))"
        case .retireReplica(let id, let which): return "retire \(id)#\(which)"
        case .reinstateReplica(let id, let which): return "reinstate \(id)#\(which)"
        case .cancelReplica(let id, let which): return "cancel \(id)#\(which)"
        case .discardReplica(let id, let which): return "discard \(id)#\(which)"
        case .forgetReplica(let id, let which): return "forget \(id)#\(which)"
        case .startPartition(let id, let nodes): return "start \(id) on \(list(nodes))"
        case .addLearner(let id, let node, let replaced):
            return "add a learner of \(id) on \(node)\(replaced == 0 ? "" : " for #\(replaced)")"
        case .removeLearner(let id, let which): return "remove learner \(id)#\(which)"
        case .setVoters(let id, let voters): return "voters of \(id): \(voters.map { "#\($0)" }.joined(separator: " "))"
        case .forgetJournalReplica(let id, let which): return "forget \(id)#\(which)"
        }
    }
}
