import Primitives

/// What a shard consisted of at one applied offset. Replaced whole at each checkpoint; a file it does not list does not
/// count.
///
/// Whatever the format: magic, then the version at byte 4, and the last four bytes are the CRC-32C of all before. So a
/// newer format (intact) is refused by name, and a damaged file is known as damaged.
struct ShardManifest: Equatable, Sendable {
    static let fileName = "MANIFEST"
    static let magic: UInt32 = 0x464d_4356  // "VCMF"
    static let version: UInt16 = 1

    enum SegmentState: UInt8, Sendable {
        /// Takes more rows.
        case growing = 0
        /// Takes no more; not all its derived files exist.
        case closed = 1
        case sealed = 2
    }

    struct Segment: Equatable, Sendable {
        var number: UInt64
        var state: SegmentState
        var rows: UInt32
        var deleted: UInt32
        var files: [ShardFile]

        func file(_ kind: ShardFile.Kind, _ column: Int = 0) -> ShardFile? {
            self.files.first { $0.kind == kind && Int($0.column) == column }
        }
    }

    /// Set between a restart from offset 0 and the first checkpoint after it: what was there before is kept aside, in case
    /// the journal no longer holds it.
    struct Salvage: Equatable, Sendable {
        var reason: String
        /// Files with smaller numbers are from before.
        var filesBelow: UInt64
    }

    var schema: CollectionSchema
    var shard: UInt32
    var applied: JournalOffset = 0
    var appliedHLC: HLCTimestamp = .zero
    var digest: UInt64 = 0
    var points: UInt64 = 0
    var nextFile: UInt64 = 1
    var nextSegment: UInt64 = 1
    var segments: [Segment] = []
    var salvage: Salvage?

    init(schema: CollectionSchema, shard: UInt32) {
        self.schema = schema
        self.shard = shard
    }

    var allFiles: [ShardFile] { self.segments.flatMap(\.files) }

    /// Whether it is of this shard, with the vectors that the collection has.
    func isOf(_ schema: CollectionSchema, shard: UInt32) -> Bool {
        self.schema.id == schema.id && self.shard == shard
            && Self.lasting(self.schema.vectors) == Self.lasting(schema.vectors)
    }

    /// Without what may change in a collection's life.
    private static func lasting(_ vectors: [VectorSchema]) -> [VectorSchema] {
        vectors.map { vector in
            var vector = vector
            vector.quantisation = .auto
            return vector
        }
    }

    func encoded(checksum: (UnsafeRawBufferPointer) -> UInt32) -> [UInt8] {
        var writer = ByteWriter(reserving: 4096)
        writer.write(Self.magic)
        writer.write(Self.version)
        self.schema.encode(into: &writer)
        writer.write(self.shard)
        writer.write(self.applied)
        writer.write(self.appliedHLC.rawValue)
        writer.write(self.digest)
        writer.write(self.points)
        writer.write(self.nextFile)
        writer.write(self.nextSegment)
        writer.write(UInt32(self.segments.count))
        for segment in self.segments {
            writer.write(segment.number)
            writer.write(segment.state.rawValue)
            writer.write(segment.rows)
            writer.write(segment.deleted)
            writer.write(UInt16(segment.files.count))
            for file in segment.files { file.encode(into: &writer) }
        }
        writer.write(UInt8(self.salvage == nil ? 0 : 1))
        if let salvage {
            writer.writeShort(salvage.reason)
            writer.write(salvage.filesBelow)
        }
        writer.write(writer.bytes.withUnsafeBytes(checksum))
        return writer.bytes
    }

    enum Fault: Error, Equatable {
        case damaged(String)
        case newer(UInt16)
    }

    init(decoding raw: UnsafeRawBufferPointer, checksum: (UnsafeRawBufferPointer) -> UInt32) throws(Fault) {
        guard raw.count >= 10 else { throw .damaged("\(raw.count) bytes") }
        let covered = UnsafeRawBufferPointer(rebasing: raw[..<(raw.count - 4)])
        guard raw.loadUnaligned(fromByteOffset: raw.count - 4, as: UInt32.self).littleEndian == checksum(covered) else {
            throw .damaged("checksum")
        }
        guard covered.loadUnaligned(as: UInt32.self).littleEndian == Self.magic else { throw .damaged("not a manifest") }
        let version = covered.loadUnaligned(fromByteOffset: 4, as: UInt16.self).littleEndian
        guard version == Self.version else { throw version > Self.version ? .newer(version) : .damaged("version 0") }
        do throws(DecodingFault) {
            var reader = ByteReader(covered, at: 6)
            try self.init(version1: &reader)
        } catch {
            throw .damaged("\(error)")
        }
    }

    private init(version1 reader: inout ByteReader) throws(DecodingFault) {
        self.schema = try CollectionSchema(decoding: &reader)
        self.shard = try reader.read()
        self.applied = try reader.read()
        self.appliedHLC = HLCTimestamp(rawValue: try reader.read())
        self.digest = try reader.read()
        self.points = try reader.read()
        self.nextFile = try reader.read()
        self.nextSegment = try reader.read()
        for _ in 0..<(try reader.read(UInt32.self)) {
            let number: UInt64 = try reader.read()
            guard let state = SegmentState(rawValue: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown segment state")
            }
            var segment = Segment(
                number: number, state: state, rows: try reader.read(), deleted: try reader.read(), files: [])
            for _ in 0..<(try reader.read(UInt16.self)) { segment.files.append(try ShardFile(decoding: &reader)) }
            self.segments.append(segment)
        }
        if try reader.read(UInt8.self) == 1 {
            self.salvage = Salvage(reason: try reader.readShort(), filesBelow: try reader.read())
        }
    }
}
