internal import FileStore
package import Placement
package import Primitives
internal import Synchronization

/// Where shards are, as the cluster map says.
package final class MapPlacement: ShardDirectory {
    private let own: NodeID
    private let map: MapStore
    private let isHere: @Sendable (ShardID, Incarnation) -> Bool

    /// - Parameter isHere: Whether this node's data has the replica.
    package init(own: NodeID, map: MapStore, isHere: @escaping @Sendable (ShardID, Incarnation) -> Bool) {
        self.own = own
        self.map = map
        self.isHere = isHere
    }

    /// Other nodes with a copy that answers; of a shard that never had one, those that are to have it.
    package func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64] {
        guard let record = self.map.map.shard(ShardID(collection: schema.id, shard: shard)) else { return [] }
        return record.replicas.filter { $0.node != self.own && ($0.state == .live || record.firstLive == 0) }
            .map(\.node.rawValue)
    }

    package func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool {
        let id = ShardID(collection: schema.id, shard: shard)
        guard let replica = self.map.map.shard(id)?.replica(on: self.own) else { return false }
        return self.isHere(id, replica.incarnation)
    }

    package func isNear(_ node: UInt64) -> Bool {
        let nodes = self.map.map.nodes
        return nodes[NodeID(node)]?.zone == nodes[self.own]?.zone
    }

    /// All shards have had a live copy.
    private static func isPlaced(_ id: UInt64, in map: ClusterMap) -> Bool {
        map.collections[id].map { $0.shards.allSatisfy { $0.firstLive > 0 } } ?? false
    }

    package func isPlaced(_ schema: CollectionSchema) -> Bool { Self.isPlaced(schema.id, in: self.map.map) }

    package func whenPlaced(
        _ schema: CollectionSchema, within limit: Duration, _ act: @escaping @Sendable () -> Void
    ) {
        if Self.isPlaced(schema.id, in: self.map.map) { return act() }
        let map = self.map
        Task {
            await withTaskGroup(of: Void.self) { group in
                group.addTask { await map.wait { Self.isPlaced(schema.id, in: $0) } }
                group.addTask { try? await Task.sleep(for: limit) }
                await group.next()
                group.cancelAll()
            }
            act()
        }
    }
}
