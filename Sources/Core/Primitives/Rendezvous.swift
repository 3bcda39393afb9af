/// Which of several nodes hold a shard, agreed upon without asking anyone: each node's weight is a hash of node and shard, the heaviest
/// hold it (Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998, section 3). A node that comes or goes
/// moves only the shards that it takes or leaves.
package enum Rendezvous {
    /// All nodes, those that should hold the shard first.
    package static func order(_ nodes: [UInt64], collection: UInt64, shard: UInt32) -> [UInt64] {
        let weighed = nodes.map { node in
            var hash = StableHash(seed: 0x4e57)
            hash.combine(node)
            hash.combine(collection)
            hash.combine(UInt64(shard))
            return (weight: hash.finish(), node: node)
        }
        return weighed.sorted { ($0.weight, $0.node) > ($1.weight, $1.node) }.map(\.node)
    }
}

/// Where the shards of collections are, as this node knows.
package protocol ShardDirectory: Sendable {
    /// Nodes that hold a shard; none if that is not known.
    func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64]
    /// Whether this node is to hold it.
    func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool
    /// Every shard has, or once had, a copy somewhere: else the journal alone has its points.
    func isPlaced(_ schema: CollectionSchema) -> Bool
    /// Calls back, once, when all shards of a new collection are somewhere, or the limit is over.
    func whenPlaced(_ schema: CollectionSchema, within limit: Duration, _ act: @escaping @Sendable () -> Void)
    /// In this node's zone, or nothing is known of zones: among equals it is asked first.
    func isNear(_ node: UInt64) -> Bool
}

extension ShardDirectory {
    package func isNear(_ node: UInt64) -> Bool { true }
    package func isPlaced(_ schema: CollectionSchema) -> Bool { true }
    package func whenPlaced(_ schema: CollectionSchema, within limit: Duration, _ act: @escaping @Sendable () -> Void) { act() }
}

/// A node that holds everything itself.
package struct EverythingHere: ShardDirectory {
    package init() {}
    package func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64] { [] }
    package func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool { true }
}

/// Every node holds everything: others can answer for one that lacks a shard for the moment.
package struct EverythingEverywhere: ShardDirectory {
    private let others: @Sendable () -> [UInt64]
    package init(others: @escaping @Sendable () -> [UInt64]) { self.others = others }
    package func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64] { self.others() }
    package func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool { true }
}

/// Shards spread over nodes that never change, each on as many as asked for.
package struct FixedPlacement: ShardDirectory {
    private let own: UInt64
    private let nodes: [UInt64]
    private let replicas: Int

    /// - Parameter replicas: Nodes that hold each shard; at most all are used.
    package init(own: UInt64, nodes: [UInt64], replicas: Int) {
        self.own = own
        self.nodes = nodes.sorted()
        self.replicas = replicas
    }

    package func holders(of shard: UInt32, in schema: CollectionSchema) -> [UInt64] {
        Array(Rendezvous.order(self.nodes, collection: schema.id, shard: shard).prefix(self.replicas))
    }
    package func holdsHere(_ shard: UInt32, of schema: CollectionSchema) -> Bool {
        self.holders(of: shard, in: schema).contains(self.own)
    }
}
