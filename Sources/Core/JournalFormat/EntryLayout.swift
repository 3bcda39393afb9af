internal import Primitives

/// An entry's bytes, format 1, little-endian, always a multiple of 8 long:
///
///     0    u32 magic "VJE1"        4   u16 format          6   u8 operation        7   u8 flags (1: trace sampled)
///     8    u32 total bytes        12   u32 position of the body
///    16    u64 offset *           24   u64 term *         32   u64 hlc *
///    40    u64 appended start *   48   u64 appended end *
///    56    u64 collection         64   u32 shard          68   u8 tier             69   u8 partition kind   70 u16 index
///    72    u64 trace high         80   u64 trace low      88   u64 span id
///    96    u64 body hash: operation, collection, shard and body (or the whole request's); 0 without an idempotency key
///   104    u16 bytes of tenant    106  u16 of request id  108  u16 of idempotency key   110 u16 of principal
///   112    u16 spans              114  u16 0              116  u32 bytes of the body
///   120    u32 crc32c of everything from 128 on           124  u32 0
///   128    tenant, request id, idempotency key, principal, then zeroes to the next multiple of 8
///          spans: u64 name, u64 start, u64 end each
///          body, then zeroes to the next multiple of 8
///
/// Fields marked * are the leader's. They, and all other fixed ones, are covered by the checksum of the frame around the entry
/// (``Frame``), which is why a stamp costs no second pass over the body: its checksum was made where the entry was encoded.
package enum EntryLayout {
    package static let fixedBytes = 128
    package static let format: UInt16 = 1
    static let magic: UInt32 = 0x3145_4A56
    static let spanBytes = 24
    /// Far above what is recorded today, low enough that a damaged count is noticed.
    package static let maxSpans = 64

    package enum Field {
        package static let magic = 0
        package static let format = 4
        package static let operation = 6
        package static let flags = 7
        package static let total = 8
        package static let bodyStart = 12
        package static let offset = 16
        package static let term = 24
        package static let hlc = 32
        package static let appendedStart = 40
        package static let appendedEnd = 48
        package static let collection = 56
        package static let shard = 64
        package static let tier = 68
        package static let partitionKind = 69
        package static let partitionIndex = 70
        package static let traceHigh = 72
        package static let traceLow = 80
        package static let spanID = 88
        package static let bodyHash = 96
        package static let tenantBytes = 104
        package static let requestIDBytes = 106
        package static let idempotencyKeyBytes = 108
        package static let principalBytes = 110
        package static let spanCount = 112
        package static let bodyBytes = 116
        package static let tailCRC = 120
    }

    @inlinable package static func aligned(_ bytes: Int) -> Int { (bytes &+ 7) & ~7 }
}

extension UnsafeRawBufferPointer {
    /// A little-endian integer at a position the caller has checked.
    @inlinable package func integer<T: FixedWidthInteger>(at position: Int, as: T.Type = T.self) -> T {
        T(littleEndian: self.loadUnaligned(fromByteOffset: position, as: T.self))
    }
}

extension UnsafeMutableRawBufferPointer {
    @inlinable package func store<T: FixedWidthInteger>(_ value: T, at position: Int) {
        self.storeBytes(of: value.littleEndian, toByteOffset: position, as: T.self)
    }
}
