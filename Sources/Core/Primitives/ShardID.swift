/// One shard of one collection.
package struct ShardID: Hashable, Comparable, Sendable, CustomStringConvertible {
    package var collection: UInt64
    package var shard: UInt32
    package init(collection: UInt64, shard: UInt32) {
        self.collection = collection
        self.shard = shard
    }
    package var description: String { "\(self.collection)/\(self.shard)" }
    package static func < (a: ShardID, b: ShardID) -> Bool { (a.collection, a.shard) < (b.collection, b.shard) }
}
