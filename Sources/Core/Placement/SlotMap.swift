internal import Primitives

/// Which shard of a collection a point is in: the slots of ``ShardSlots``, in contiguous ranges, one a shard.
///
/// Invariant: the ranges tile `0..<1024`, so that a slot has exactly one owner. There is no other way to make one.
package struct SlotMap: Hashable, Sendable {
    /// 1,024 allow that many shards, and ranges that differ by 10 % at 100 shards.
    package static let slots = ShardSlots.count

    /// First slot of each shard, ascending from 0.
    package let starts: [UInt16]

    /// Ranges as equal as they can be; for a power of two those of ``ShardSlots``.
    package init(shards: Int) {
        precondition((1...Self.slots).contains(shards), "\(shards) shards for \(Self.slots) slots")
        self.starts = (0..<shards).map { UInt16($0 * Self.slots / shards) }
    }

    /// Nil unless the ranges tile all slots and none is empty.
    package init?(starts: [UInt16]) {
        guard starts.first == 0, starts.last! < UInt16(Self.slots),
            zip(starts, starts.dropFirst()).allSatisfy({ $0 < $1 })
        else { return nil }
        self.starts = starts
    }

    package var shards: Int { self.starts.count }

    package func range(ofShard shard: UInt32) -> Range<Int> {
        let next = Int(shard) + 1
        return Int(self.starts[Int(shard)])..<(next < self.starts.count ? Int(self.starts[next]) : Self.slots)
    }

    package func shard(ofSlot slot: Int) -> UInt32 {
        precondition((0..<Self.slots).contains(slot), "slot \(slot)")
        var low = 0, high = self.starts.count
        while high - low > 1 {
            let middle = (low + high) / 2
            if Int(self.starts[middle]) <= slot { low = middle } else { high = middle }
        }
        return UInt32(low)
    }
    package func shard(ofPoint id: UnsafeRawBufferPointer) -> UInt32 { self.shard(ofSlot: ShardSlots.slot(of: id)) }
}
