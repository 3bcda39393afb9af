internal import FileStore
internal import JournalFormat
internal import Primitives

/// The first 64 bytes of a segment, little-endian. Written once, durable before the first frame, never changed:
///
///     0  u32 magic "VJSG"   4  u32 crc32c of bytes 8 to 64
///     8  u16 format         10 u8 partition kind   11 u8 0   12 u16 partition index   14 u16 0
///     16 u64 sequence       24 u32 salt            28 zeroes
///
/// Frames follow, one behind the other. The offset of the first one is where the segment before ends, plus one.
struct SegmentHeader: Equatable, Sendable {
    static let bytes = 64
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x4753_4A56

    let partition: PartitionID
    let sequence: UInt64
    let salt: UInt32

    func encoded() -> [UInt8] {
        var writer = ByteWriter(reserving: Self.bytes)
        writer.write(Self.magic)
        writer.write(UInt32(0))
        writer.write(Self.format)
        writer.write(self.partition.kind.rawValue)
        writer.write(UInt8(0))
        writer.write(self.partition.index)
        writer.write(UInt16(0))
        writer.write(self.sequence)
        writer.write(self.salt)
        writer.pad(to: Self.bytes)
        let crc = writer.bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }
        writer.patch(crc, at: 4)
        return writer.bytes
    }

    enum Finding: Equatable {
        case header(SegmentHeader)
        case newer(UInt16)
        case bad(String)
    }

    /// - Parameter raw: The file's beginning; short when the file is.
    static func inspect(_ raw: UnsafeRawBufferPointer) -> Finding {
        guard raw.count >= Self.bytes else { return .bad("a file shorter than a segment's header") }
        let checked = UnsafeRawBufferPointer(rebasing: raw[8..<Self.bytes])
        guard raw.integer(at: 0, as: UInt32.self) == Self.magic else { return .bad("no segment header") }
        guard CRC32C.of(checked) == raw.integer(at: 4, as: UInt32.self) else {
            return .bad("checksum mismatch in the segment's header")
        }
        // Magic, checksum and format keep their places in every later format: that is how this one can tell.
        let format = raw.integer(at: 8, as: UInt16.self)
        guard format == Self.format else { return .newer(format) }
        guard let kind = PartitionID.Kind(rawValue: raw[10]) else { return .bad("unknown partition kind \(raw[10])") }
        return .header(
            SegmentHeader(
                partition: PartitionID(kind, raw.integer(at: 12)), sequence: raw.integer(at: 16),
                salt: raw.integer(at: 24)))
    }
}

/// Names of a partition's files. Sequences count from 1 and have no gaps.
enum SegmentName {
    static func segment(_ sequence: UInt64) -> String { self.digits(sequence) + ".segment" }
    static func sidecar(_ sequence: UInt64) -> String { self.digits(sequence) + ".sidecar" }
    static func keys(_ sequence: UInt64) -> String { self.digits(sequence) + ".keys" }
    /// Of the lineage index that stands beside a segment.
    static func lineage(ofSegmentAt path: String) -> String { path.dropLast(".segment".count) + ".lineage" }
    static let durableMark = "durable-mark"
    static let commitMark = "commit-mark"

    /// The sequence of a segment's file name; nil for any other file.
    static func sequence(of name: String) -> UInt64? {
        guard name.hasSuffix(".segment"), let sequence = UInt64(name.dropLast(8)), self.segment(sequence) == name else {
            return nil
        }
        return sequence
    }

    /// Removes what stands beside a segment and tells of its entries; a segment that is cut must have none.
    static func removeDerived(of segmentPath: String, _ files: any FileStore) throws(FileFault) {
        let stem = String(segmentPath.dropLast(".segment".count))
        for path in Self.derived.map({ stem + $0 }) where files.exists(path) {
            try files.remove(path)
        }
    }

    private static let derived = [".sidecar", ".keys", ".lineage"]

    /// Removes what stands beside segments that are not there any more: a crash, or an earlier release's trim, may have left it. What cannot
    /// go takes space and nothing else.
    static func removeOrphans(in directory: String, _ files: any FileStore) {
        guard let names = try? files.list(directory) else { return }
        let known = Set(names)
        for name in names {
            guard let suffix = self.derived.first(where: { name.hasSuffix($0) }) else { continue }
            let segment = String(name.dropLast(suffix.count)) + ".segment"
            guard self.sequence(of: segment) != nil, !known.contains(segment) else { continue }
            try? files.remove(Paths.join(directory, name))
        }
    }

    private static func digits(_ sequence: UInt64) -> String {
        let text = String(sequence)
        return String(repeating: "0", count: max(0, 10 - text.utf8.count)) + text
    }
}
