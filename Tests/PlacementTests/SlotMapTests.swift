import Placement
import Primitives
import Testing

@Suite struct SlotMapTests {
    /// Every slot has one owner, and the ranges differ by one slot at most.
    @Test(arguments: [1, 2, 3, 7, 16, 100, 1000, 1023, 1024]) func rangesTile(shards: Int) {
        let map = SlotMap(shards: shards)
        var next = 0
        for shard in 0..<UInt32(shards) {
            let range = map.range(ofShard: shard)
            #expect(range.lowerBound == next && !range.isEmpty)
            #expect(range.count - SlotMap.slots / shards <= 1)
            for slot in range { #expect(map.shard(ofSlot: slot) == shard) }
            next = range.upperBound
        }
        #expect(next == SlotMap.slots)
        #expect(SlotMap(starts: map.starts) == map)
    }

    @Test func whatDoesNotTileIsNoMap() {
        for starts: [UInt16] in [[], [1], [0, 0], [0, 5, 5], [0, 9, 4], [0, 1024]] {
            #expect(SlotMap(starts: starts) == nil)
        }
    }

    /// A point's slot never changes: these are on disks.
    @Test func slotsStay() {
        #expect(["", "a", "libc6", "point-123456"].map { Self.slot($0) } == [316, 910, 911, 249])
    }

    /// The engines go by ``ShardSlots``, the map by its ranges.
    @Test(arguments: [1, 2, 8, 64]) func theMapAgreesWithTheEngines(shards: UInt32) {
        let map = SlotMap(shards: Int(shards))
        for shard in 0..<shards { #expect(map.range(ofShard: shard) == ShardSlots.range(shard, of: shards)) }
        for i in 0..<2_000 {
            let bytes = Array("p\(i)".utf8)
            bytes.withUnsafeBytes { #expect(map.shard(ofPoint: $0) == ShardSlots.shard(of: $0, of: shards)) }
        }
    }

    private static func slot(_ id: String) -> Int { Array(id.utf8).withUnsafeBytes { ShardSlots.slot(of: $0) } }

    /// Ids that people use are spread: no shard of 16 has a fifth more than its share.
    @Test(arguments: ["", "point-", "https://example.org/item/", "00000000-0000-0000-0000-"]) func idsAreSpread(
        prefix: String
    ) {
        let map = SlotMap(shards: 16)
        var counts = [Int](repeating: 0, count: 16)
        for i in 0..<64_000 { counts[Int(map.shard(ofSlot: Self.slot("\(prefix)\(i)")))] += 1 }
        #expect(counts.allSatisfy { (3200...4800).contains($0) }, "\(counts)")
    }
}
