/// A 64-bit hash that is the same in every process and release: HNSW levels, digests and idempotency bodies depend on it.
///
/// FNV-1a over 8-byte words with a final avalanche (murmur3's). Not for hostile keys.
package struct StableHash: Sendable {
    @usableFromInline var state: UInt64

    @inlinable package init(seed: UInt64 = 0) { self.state = 0xcbf2_9ce4_8422_2325 ^ seed }

    @inlinable package mutating func combine(_ word: UInt64) {
        self.state = (self.state ^ word) &* 0x0000_0100_0000_01b3
        self.state ^= self.state >> 29
    }

    @inlinable package mutating func combine(_ raw: UnsafeRawBufferPointer) {
        var i = 0
        while i &+ 8 <= raw.count {
            self.combine(UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self)))
            i &+= 8
        }
        var tail: UInt64 = 0
        var shift: UInt64 = 0
        while i < raw.count {
            tail |= UInt64(raw[i]) << shift
            shift += 8
            i &+= 1
        }
        self.combine(tail)
        self.combine(UInt64(raw.count))
    }

    @inlinable package func finish() -> UInt64 {
        var h = self.state
        h ^= h >> 33
        h &*= 0xff51_afd7_ed55_8ccd
        h ^= h >> 33
        h &*= 0xc4ce_b9fe_1a85_ec53
        return h ^ h >> 33
    }

    @inlinable package static func of(_ raw: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        var hash = StableHash(seed: seed)
        hash.combine(raw)
        return hash.finish()
    }

    package static func of(_ text: String, seed: UInt64 = 0) -> UInt64 {
        var text = text
        return text.withUTF8 { Self.of(UnsafeRawBufferPointer($0), seed: seed) }
    }
}
