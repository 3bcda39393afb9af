internal import FileStore
internal import JournalFormat
internal import Primitives

/// What opening a sealed segment needs, in a small file beside it, so that gigabytes are not read again: its bounds and its sparse
/// index. Derived: a missing or damaged one is rebuilt by scanning. Little-endian:
///
///     u32 magic "VJSC", u32 crc32c of the rest, u16 format, u8 partition kind, u8 0, u16 partition index, u16 0
///     u64 sequence, u32 salt, u32 0, u64 first offset, u64 last offset, u64 end, u64 first hlc, u64 last hlc, u64 term
///     u32 index points: u64 offset, u64 position each
///     u32 terms: u64 offset of its first entry here, u64 term each; u32 configurations: u64 offset each
///
/// Format 1 lacked the last line: such a sidecar counts as missing, and the segment is scanned once more.
struct Sidecar: Equatable, Sendable {
    static let format: UInt16 = 2
    private static let magic: UInt32 = 0x4353_4A56

    let partition: PartitionID
    let segment: Segment

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: 128 + self.segment.index.points.count * 16)
        writer.write(Self.magic)
        writer.write(UInt32(0))
        writer.write(Self.format)
        writer.write(self.partition.kind.rawValue)
        writer.write(UInt8(0))
        writer.write(self.partition.index)
        writer.write(UInt16(0))
        writer.write(self.segment.sequence)
        writer.write(self.segment.salt)
        writer.write(UInt32(0))
        writer.write(self.segment.firstOffset)
        writer.write(self.segment.lastOffset)
        writer.write(UInt64(self.segment.end))
        writer.write(self.segment.firstHLC.rawValue)
        writer.write(self.segment.lastHLC.rawValue)
        writer.write(self.segment.term)
        writer.write(UInt32(self.segment.index.points.count))
        for point in self.segment.index.points {
            writer.write(point.offset)
            writer.write(UInt64(point.position))
        }
        writer.write(UInt32(self.segment.terms.count))
        for start in self.segment.terms {
            writer.write(start.offset)
            writer.write(start.term)
        }
        writer.write(UInt32(self.segment.configurations.count))
        for offset in self.segment.configurations { writer.write(offset) }
        let crc = writer.bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
        writer.patch(crc, at: 4)
        return writer.bytes
    }

    /// What a sidecar's bytes say of the segment that has this header.
    ///
    /// - Returns: Nil if they are damaged, or tell of another segment: it is then scanned.
    /// - Throws: `.failedPrecondition` for a newer format.
    static func decode(
        _ bytes: [UInt8], header: SegmentHeader, segmentPath: String, fileBytes: Int, path: String
    ) throws(VecraftError) -> Sidecar? {
        try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
            let raw = UnsafeRawBufferPointer(buffer)
            guard raw.count >= 16, raw.integer(at: 0, as: UInt32.self) == Self.magic,
                CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
            else { return nil }
            let format = raw.integer(at: 8, as: UInt16.self)
            if format < Self.format { return nil }
            guard format == Self.format else { throw .formatTooNew(path, "segment sidecar", format, reads: Self.format) }
            var reader = ByteReader(raw, at: 10)
            return try? Self.decode(&reader, header: header, segmentPath: segmentPath, fileBytes: fileBytes)
        }
    }

    private static func decode(
        _ reader: inout ByteReader, header: SegmentHeader, segmentPath: String, fileBytes: Int
    ) throws(DecodingFault) -> Sidecar? {
        let kind = try reader.read(UInt8.self)
        _ = try reader.read(UInt8.self)
        let index = try reader.read(UInt16.self)
        _ = try reader.read(UInt16.self)
        let sequence = try reader.read(UInt64.self)
        let salt = try reader.read(UInt32.self)
        _ = try reader.read(UInt32.self)
        guard kind == header.partition.kind.rawValue, index == header.partition.index, sequence == header.sequence,
            salt == header.salt
        else { return nil }
        var segment = Segment(
            sequence: sequence, path: segmentPath, salt: salt, firstOffset: try reader.read(), fileBytes: fileBytes)
        segment.lastOffset = try reader.read()
        segment.end = Int(truncatingIfNeeded: try reader.read(UInt64.self))
        segment.firstHLC = HLCTimestamp(rawValue: try reader.read())
        segment.lastHLC = HLCTimestamp(rawValue: try reader.read())
        segment.term = try reader.read()
        for _ in 0..<(try reader.read(UInt32.self)) {
            let offset = try reader.read(UInt64.self)
            let position = Int(truncatingIfNeeded: try reader.read(UInt64.self))
            segment.index.add(offset: offset, position: position, spacing: 0)
        }
        for _ in 0..<(try reader.read(UInt32.self)) {
            segment.terms.append(.init(offset: try reader.read(), term: try reader.read()))
        }
        for _ in 0..<(try reader.read(UInt32.self)) { segment.configurations.append(try reader.read()) }
        guard !segment.isEmpty, segment.index.points.first?.offset == segment.firstOffset,
            segment.terms.first?.offset == segment.firstOffset
        else { return nil }
        return Sidecar(partition: header.partition, segment: segment)
    }
}

extension Sidecar {
    /// Reads the sidecar of a segment; nil if it is missing or worthless.
    static func load(
        directory: String, header: SegmentHeader, segmentPath: String, fileBytes: Int, files: any FileStore
    ) throws(VecraftError) -> Sidecar? {
        let path = Paths.join(directory, SegmentName.sidecar(header.sequence))
        // Unreadable is as good as missing: the segment itself decides, by a scan.
        guard let bytes = try? files.readWhole(path) else { return nil }
        return try Self.decode(bytes, header: header, segmentPath: segmentPath, fileBytes: fileBytes, path: path)
    }

    func store(directory: String, files: any FileStore) throws(FileFault) {
        try AtomicFile.replace(
            Paths.join(directory, SegmentName.sidecar(self.segment.sequence)), with: self.encoded(), in: files)
    }
}
