import Glibc

/// From point ids to locations: hash tables with linear probing, 16 bytes a slot, at most 3/4 full.
///
/// The ids themselves stay in the segments: a caller compares those of the few slots whose 64-bit hash is equal. Split
/// into 64 tables by the hash's high bits, so that growing copies a 64th of the map at a time. Guarded by the shard's
/// lock.
final class IDMap {
    struct Slot {
        var hash: UInt64
        /// ``empty``: nothing here.
        var location: UInt64
    }
    private struct Table {
        var slots: UnsafeMutablePointer<Slot>?
        var mask = -1
        var count = 0
    }
    static let empty = UInt64.max
    private static let tables = 64
    private static let firstCapacity = 16

    private let base: UnsafeMutablePointer<Table>
    private(set) var count = 0
    private(set) var memoryBytes = 0

    init() {
        self.base = .allocate(capacity: Self.tables)
        self.base.initialize(repeating: Table(), count: Self.tables)
    }

    deinit {
        for t in 0..<Self.tables { self.base[t].slots?.deallocate() }
        self.base.deallocate()
    }

    /// The slot that holds a location of this hash for which `matches` is true.
    @inline(__always)
    func find(_ hash: UInt64, _ matches: (Location) -> Bool) -> UnsafeMutablePointer<Slot>? {
        let table = self.base + Int(hash >> 58)
        guard let slots = table.pointee.slots else { return nil }
        let mask = table.pointee.mask
        var i = Int(truncatingIfNeeded: hash) & mask
        while slots[i].location != Self.empty {
            if slots[i].hash == hash, matches(Location(rawValue: slots[i].location)) { return slots + i }
            i = (i &+ 1) & mask
        }
        return nil
    }

    /// Adds an entry the caller knows is not there.
    func insert(_ hash: UInt64, _ location: Location) {
        let table = self.base + Int(hash >> 58)
        if (table.pointee.count &+ 1) &* 4 > (table.pointee.mask &+ 1) &* 3 { self.grow(table) }
        Self.place(Slot(hash: hash, location: location.rawValue), in: table.pointee)
        table.pointee.count &+= 1
        self.count &+= 1
    }

    /// Takes out what ``find(_:_:)`` found. Later entries of the same run move up, so no tombstones pile up.
    func remove(_ slot: UnsafeMutablePointer<Slot>) {
        let table = self.base + Int(slot.pointee.hash >> 58)
        let slots = table.pointee.slots!
        let mask = table.pointee.mask
        var hole = slot - slots
        var i = hole
        while true {
            i = (i &+ 1) & mask
            guard slots[i].location != Self.empty else { break }
            let home = Int(truncatingIfNeeded: slots[i].hash) & mask
            // May move to the hole only if its home is not after the hole, cyclically.
            if (i &- home) & mask >= (i &- hole) & mask {
                slots[hole] = slots[i]
                hole = i
            }
        }
        slots[hole].location = Self.empty
        table.pointee.count &-= 1
        self.count &-= 1
    }

    private static func place(_ entry: Slot, in table: Table) {
        let slots = table.slots!
        var i = Int(truncatingIfNeeded: entry.hash) & table.mask
        while slots[i].location != Self.empty { i = (i &+ 1) & table.mask }
        slots[i] = entry
    }

    private func grow(_ table: UnsafeMutablePointer<Table>) {
        let old = table.pointee
        let capacity = old.slots == nil ? Self.firstCapacity : (old.mask + 1) * 2
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: capacity)
        slots.initialize(repeating: Slot(hash: 0, location: Self.empty), count: capacity)
        let larger = Table(slots: slots, mask: capacity - 1, count: old.count)
        if let from = old.slots {
            for i in 0...old.mask where from[i].location != Self.empty { Self.place(from[i], in: larger) }
            from.deallocate()
        }
        self.memoryBytes += (capacity - (old.mask + 1)) * MemoryLayout<Slot>.stride
        table.pointee = larger
    }

    /// Every entry with its hash, in no order. For tests and invariants.
    func forEach(_ body: (UInt64, Location) -> Void) {
        for t in 0..<Self.tables {
            guard let slots = self.base[t].slots else { continue }
            for i in 0...self.base[t].mask where slots[i].location != Self.empty {
                body(slots[i].hash, Location(rawValue: slots[i].location))
            }
        }
    }
}
