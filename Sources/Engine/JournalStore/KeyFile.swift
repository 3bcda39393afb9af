internal import FileStore
internal import JournalFormat
internal import Primitives

/// The idempotency keys of a sealed segment, in a file beside it. Apart from the sidecar, because only the segments of the window
/// need theirs at the start. Derived: a missing or damaged one is rebuilt by scanning the segment's heads. Little-endian:
///
///     u32 magic "VJKY", u32 crc32c of the rest, u16 format, u16 0, u32 salt of the segment, u64 sequence
///     u32 keys: short tenant, short key, u32 shard, u64 body hash, u64 offset, u64 hlc, u64 term each
enum KeyFile {
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x594B_4A56

    static func store(
        _ keys: [KeyRecord], of segment: Segment, directory: String, files: any FileStore
    ) throws(FileFault) {
        var writer = ByteWriter(reserving: 64 + keys.count * 96)
        writer.write(Self.magic)
        writer.write(UInt32(0))
        writer.write(Self.format)
        writer.write(UInt16(0))
        writer.write(segment.salt)
        writer.write(segment.sequence)
        writer.write(UInt32(keys.count))
        for key in keys { key.encode(into: &writer) }
        let crc = writer.bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
        writer.patch(crc, at: 4)
        try AtomicFile.replace(Paths.join(directory, SegmentName.keys(segment.sequence)), with: writer.bytes, in: files)
    }

    /// - Returns: Nil if the file is missing, damaged, or of another segment.
    /// - Throws: `.failedPrecondition` for a newer format.
    static func load(of segment: Segment, directory: String, files: any FileStore) throws(VecraftError) -> [KeyRecord]? {
        let path = Paths.join(directory, SegmentName.keys(segment.sequence))
        // Unreadable is as good as missing: the segment itself decides, by a scan.
        guard let bytes = try? files.readWhole(path, limit: 256 << 20) else { return nil }
        return try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
            let raw = UnsafeRawBufferPointer(buffer)
            guard raw.count >= 28, raw.integer(at: 0, as: UInt32.self) == Self.magic,
                CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
            else { return nil }
            let format = raw.integer(at: 8, as: UInt16.self)
            guard format == Self.format else { throw .formatTooNew(path, "segment keys", format, reads: Self.format) }
            guard raw.integer(at: 12, as: UInt32.self) == segment.salt, raw.integer(at: 16, as: UInt64.self) == segment.sequence
            else { return nil }
            return try? Self.decode(raw)
        }
    }

    private static func decode(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) -> [KeyRecord] {
        var reader = ByteReader(raw, at: 24)
        var keys: [KeyRecord] = []
        for _ in 0..<(try reader.read(UInt32.self)) { keys.append(try KeyRecord(decoding: &reader)) }
        return keys
    }
}
