/// One row of a segment, in memory and on disk alike (little-endian, 32 bytes).
struct RowRecord {
    /// HLC of the entry that wrote the point.
    var version: UInt64
    /// The point's share of the shard's digest.
    var digest: UInt64
    /// Where the id's bytes start in the heap; the payload's follow.
    var heapOffset: UInt64
    /// ``noPayload``: the point has none.
    var payloadCount: UInt32
    var idCount: UInt16
    /// Bit `v`: the point has the schema's vector `v`. ``Limits/namedVectors`` is 16.
    var present: UInt16

    static let noPayload = UInt32.max
    static let bytes = 32

    var heapBytes: Int { Int(self.idCount) &+ (self.payloadCount == Self.noPayload ? 0 : Int(self.payloadCount)) }

    @inline(__always)
    func id(in heap: UnsafeRawPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: heap + Int(self.heapOffset), count: Int(self.idCount))
    }

    @inline(__always)
    func payload(in heap: UnsafeRawPointer) -> UnsafeRawBufferPointer? {
        guard self.payloadCount != Self.noPayload else { return nil }
        return UnsafeRawBufferPointer(
            start: heap + Int(self.heapOffset) + Int(self.idCount), count: Int(self.payloadCount))
    }
}

/// Where a point lies: a segment's slot in the engine's table, and a row in it.
struct Location: Equatable {
    var rawValue: UInt64

    @inline(__always) init(rawValue: UInt64) { self.rawValue = rawValue }
    @inline(__always) init(slot: UInt32, row: UInt32) { self.rawValue = UInt64(slot) << 32 | UInt64(row) }

    @inline(__always) var slot: UInt32 { UInt32(truncatingIfNeeded: self.rawValue >> 32) }
    @inline(__always) var row: UInt32 { UInt32(truncatingIfNeeded: self.rawValue) }
}
