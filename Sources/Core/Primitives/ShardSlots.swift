/// Which shard of a collection a point belongs to: its id's hash falls into one of 1,024 slots, and each shard owns an equal run of them.
///
/// The slots of a collection never change, so that shards can be split later by giving half of a run away.
package enum ShardSlots {
    package static let count = 1_024
    package static let maxShards: UInt32 = 64

    /// A power of two, so that every shard has as many slots.
    package static func isCount(_ shards: UInt32) -> Bool {
        (1...Self.maxShards).contains(shards) && shards & (shards - 1) == 0
    }

    @inline(__always)
    package static func slot(of id: UnsafeRawBufferPointer) -> Int { Int(StableHash.of(id, seed: Self.seed) >> 54) }

    @inline(__always)
    package static func shard(of id: UnsafeRawBufferPointer, of shards: UInt32) -> UInt32 {
        shards == 1 ? 0 : UInt32(Self.slot(of: id)) / (UInt32(Self.count) / shards)
    }

    /// Slots of a shard.
    package static func range(_ shard: UInt32, of shards: UInt32) -> Range<Int> {
        let each = Self.count / Int(shards)
        return Int(shard) * each..<(Int(shard) + 1) * each
    }

    /// Other than that of the shards' id maps: a map whose hashes all began alike would be a slow one.
    private static let seed: UInt64 = 0x5107
}
