package import Primitives

/// Everything the cluster agrees on about who holds what: one value, changed only by ``apply(_:expecting:bugs:)``.
///
/// Invariant: ``brokenInvariant()`` is nil.
package struct ClusterMap: Equatable, Sendable {
    /// Grows by one with every change.
    package internal(set) var epoch: MapEpoch = 0
    /// Of the replica that is made next.
    package internal(set) var nextIncarnation: Incarnation = 1
    package internal(set) var nodes: [NodeID: NodeRecord] = [:]
    package internal(set) var collections: [UInt64: CollectionRecord] = [:]
    package internal(set) var partitions: [PartitionID: JournalRecord] = [:]

    package init() {}

    /// Removed ones included: their records are small, and a cluster that has worn out so many nodes can be given new ids.
    package static let maxNodes = 4096
    package static let maxCollections = 65_536
    package static let maxPartitions = 4096

    package func shard(_ id: ShardID) -> ShardRecord? {
        guard let collection = self.collections[id.collection], id.shard < UInt32(collection.shards.count) else {
            return nil
        }
        return collection.shards[Int(id.shard)]
    }

    /// Nodes that can be given something, or hold something.
    package var presentNodes: [NodeRecord] {
        self.nodes.values.filter { $0.state != .removed }.sorted { $0.id < $1.id }
    }

    /// Whether the node holds a replica of anything, in any state.
    package func holdsSomething(_ node: NodeID) -> Bool {
        self.collections.values.contains { $0.shards.contains { $0.replica(on: node) != nil } }
            || self.partitions.values.contains { $0.replica(on: node) != nil }
    }
}
