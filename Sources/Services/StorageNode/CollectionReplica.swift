package import Primitives
internal import ShardEngine

/// What this node holds of one collection: some or all of its shards, and the replay that feeds them.
///
/// All shards of a collection are fed by one partition, and an entry holds a whole request, whatever shards its points belong to.
package final class CollectionReplica: Sendable {
    package let schema: CollectionSchema
    package let replay: PartitionReplay
    /// Those held here, in order of their index.
    package let shards: [ShardReplica]
    /// All its entries come after this one of its partition; 0 if that is not known.
    let begins: JournalOffset

    init(schema: CollectionSchema, replay: PartitionReplay, shards: [ShardReplica], begins: JournalOffset = 0) {
        self.begins = begins
        self.schema = schema
        self.replay = replay
        self.shards = shards.sorted { $0.engine.id.shard < $1.engine.id.shard }
    }

    /// Every shard is here.
    package var isWhole: Bool { self.shards.count == Int(self.schema.shards) }

    package func shard(_ index: UInt32) -> ShardReplica? {
        if self.isWhole { return index < self.schema.shards ? self.shards[Int(index)] : nil }
        return self.shards.first { $0.engine.id.shard == index }
    }

    /// Of all points held here; of shards at one offset it does not depend on how points lie.
    package var digest: UInt64 { self.shards.reduce(0) { $0 ^ $1.engine.digest } }

    func with(_ shard: ShardReplica) -> CollectionReplica {
        CollectionReplica(schema: self.schema, replay: self.replay, shards: self.shards + [shard], begins: self.begins)
    }

    func without(_ shard: UInt32) -> CollectionReplica {
        CollectionReplica(
            schema: self.schema, replay: self.replay, shards: self.shards.filter { $0.engine.id.shard != shard },
            begins: self.begins)
    }
}
