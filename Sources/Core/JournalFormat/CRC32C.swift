internal import CChecksum

/// The checksum of every format on disk: CRC-32C (Castagnoli).
package enum CRC32C {
    /// - Parameter crc: What was computed over the bytes before; 0 (or a salt) to begin.
    package static func of(_ raw: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
        vc_crc32c(crc, raw.baseAddress, raw.count)
    }
}
