import Primitives

/// One file of a shard, as the manifest lists it. A name is never used twice.
struct ShardFile: Equatable, Sendable {
    enum Kind: UInt8, Sendable, CaseIterable {
        case rows = 1, heap, vectors, graph, payloadIndex, deletes, order

        var suffix: String {
            switch self {
            case .rows: "rows"
            case .heap: "heap"
            case .vectors: "vectors"
            case .graph: "graph"
            case .payloadIndex: "payload-index"
            case .deletes: "deletes"
            case .order: "order"
            }
        }
        /// Made again from the primary files when damaged.
        var isDerived: Bool { self == .graph || self == .payloadIndex || self == .order }
    }

    var kind: Kind
    /// Of `vectors` and `graph`: position in the schema's vectors.
    var column: UInt8
    var number: UInt64
    /// Length with the header. Bytes beyond belong to a checkpoint that did not finish.
    var bytes: UInt64
    /// CRC-32C of those bytes.
    var checksum: UInt32

    var name: String { Self.name(self.number, self.kind, self.column) }

    static func name(_ number: UInt64, _ kind: Kind, _ column: UInt8) -> String {
        let digits = String(number, radix: 16)
        let column = kind == .vectors || kind == .graph ? "-\(column)" : ""
        return String(repeating: "0", count: max(0, 8 - digits.utf8.count)) + digits + "." + kind.suffix + column
    }

    static func number(of name: String) -> UInt64? {
        name.firstIndex(of: ".").flatMap { UInt64(name[..<$0], radix: 16) }
    }

    /// A name this engine gives: a file nobody lists is a leftover and may go.
    static func isOurs(_ name: String) -> Bool {
        guard let dot = name.firstIndex(of: "."), name[..<dot].utf8.count >= 8,
            UInt64(name[..<dot], radix: 16) != nil
        else { return false }
        let rest = name[name.index(after: dot)...]
        return Kind.allCases.contains { rest == $0.suffix || rest.hasPrefix($0.suffix + "-") }
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(self.kind.rawValue)
        writer.write(self.column)
        writer.write(self.number)
        writer.write(self.bytes)
        writer.write(self.checksum)
    }

    init(kind: Kind, column: UInt8, number: UInt64, bytes: UInt64, checksum: UInt32) {
        self.kind = kind
        self.column = column
        self.number = number
        self.bytes = bytes
        self.checksum = checksum
    }

    init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let kind: UInt8 = try reader.read()
        guard let known = Kind(rawValue: kind) else {
            throw DecodingFault(position: reader.position, what: "file of unknown kind \(kind)")
        }
        self.kind = known
        self.column = try reader.read()
        self.number = try reader.read()
        self.bytes = try reader.read()
        self.checksum = try reader.read()
    }
}

/// The first 64 bytes of every file of a segment; what follows is 64-byte aligned when mapped.
///
/// Whatever the format, the last four bytes are the CRC-32C of the 60 before, and the version stands at byte 4: so a
/// newer format and a damaged header are told apart.
struct ShardFileHeader: Equatable {
    static let bytes = 64
    static let magic: UInt32 = 0x4653_4356  // "VCSF"
    static let version: UInt16 = 1

    var kind: ShardFile.Kind
    var column: UInt8
    var shard: ShardID
    var number: UInt64
    /// Of `vectors`: components of a vector; its rows are padded to 64 bytes.
    var dimension: UInt32

    func encoded(checksum: (UnsafeRawBufferPointer) -> UInt32) -> [UInt8] {
        var writer = ByteWriter(reserving: Self.bytes)
        writer.write(Self.magic)
        writer.write(Self.version)
        writer.write(self.kind.rawValue)
        writer.write(self.column)
        writer.write(self.shard.collection)
        writer.write(self.shard.shard)
        writer.write(self.dimension)
        writer.write(self.number)
        writer.pad(to: 60)
        writer.write(writer.bytes.withUnsafeBytes(checksum))
        return writer.bytes
    }

    enum Fault: Error, Equatable {
        case damaged(String)
        case newer(UInt16)
    }

    init(kind: ShardFile.Kind, column: UInt8, shard: ShardID, number: UInt64, dimension: UInt32) {
        self.kind = kind
        self.column = column
        self.shard = shard
        self.number = number
        self.dimension = dimension
    }

    init(decoding raw: UnsafeRawBufferPointer, checksum: (UnsafeRawBufferPointer) -> UInt32) throws(Fault) {
        guard raw.count >= Self.bytes else { throw .damaged("shorter than a header") }
        let covered = UnsafeRawBufferPointer(rebasing: raw[0..<60])
        guard raw.loadUnaligned(fromByteOffset: 60, as: UInt32.self).littleEndian == checksum(covered) else {
            throw .damaged("checksum of the header")
        }
        guard raw.loadUnaligned(as: UInt32.self).littleEndian == Self.magic else { throw .damaged("not a segment file") }
        let version = raw.loadUnaligned(fromByteOffset: 4, as: UInt16.self).littleEndian
        guard version == Self.version else { throw version > Self.version ? .newer(version) : .damaged("version 0") }
        var reader = ByteReader(covered, at: 6)
        do throws(DecodingFault) {
            let kind: UInt8 = try reader.read()
            guard let known = ShardFile.Kind(rawValue: kind) else {
                throw DecodingFault(position: 6, what: "file of unknown kind \(kind)")
            }
            self.kind = known
            self.column = try reader.read()
            self.shard = ShardID(collection: try reader.read(), shard: try reader.read())
            self.dimension = try reader.read()
            self.number = try reader.read()
        } catch {
            throw .damaged("\(error)")
        }
    }
}
