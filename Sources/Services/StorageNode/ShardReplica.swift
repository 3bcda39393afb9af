package import Primitives
package import ShardEngine

/// One shard held by this node, and the replay that feeds it.
package final class ShardReplica: Sendable {
    package let schema: CollectionSchema
    package let engine: ShardEngine
    package let replay: PartitionReplay
    let directory: String

    init(schema: CollectionSchema, engine: ShardEngine, replay: PartitionReplay, directory: String) {
        self.schema = schema
        self.engine = engine
        self.replay = replay
        self.directory = directory
    }
}
