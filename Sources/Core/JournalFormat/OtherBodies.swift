package import Primitives

// The bodies beside upsert, little-endian.
//   delete:           u32 ids, then u16 length and bytes of each
//   delete by filter: the bytes of the filter's own encoding
//   ddl:              u8 kind; 1 create: the schema's own encoding; 2 drop: u64 collection id;
//                     3 update: u64 collection id, u16 vectors, of each u16 position in the schema and u8 quantisation
//   configuration:    u8 kind, 1: the members of the partition's group from this entry on; u16 members: u64 id, u8 flags (1 votes,
//                     2 votes in the configuration that is being left), short address (empty: not known)

/// The ids of a delete, read in place.
package struct DeleteBody {
    package let count: Int
    private var reader: ByteReader
    private var index = 0

    package init(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        self.reader = ByteReader(raw)
        self.count = Int(try self.reader.read(UInt32.self))
    }

    package mutating func next() throws(DecodingFault) -> UnsafeRawBufferPointer? {
        guard self.index < self.count else {
            guard self.reader.remaining == 0 else {
                throw DecodingFault(position: self.reader.position, what: "bytes behind the last id")
            }
            return nil
        }
        self.index += 1
        return try self.reader.bytes(Int(try self.reader.read(UInt16.self)))
    }
}

/// A filter's own bytes: the whole body.
package struct DeleteByFilterBody {
    package let filter: UnsafeRawBufferPointer
    package init(_ raw: UnsafeRawBufferPointer) { self.filter = raw }
}

package enum DDLBody: Equatable, Sendable {
    case create(CollectionSchema)
    case drop(collection: UInt64)
    case update(CollectionUpdate)

    package init(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        var reader = ByteReader(raw)
        switch try reader.read(UInt8.self) {
        case 1: self = .create(try CollectionSchema(decoding: &reader))
        case 2: self = .drop(collection: try reader.read())
        case 3: self = .update(try CollectionUpdate(decoding: &reader))
        case let kind: throw DecodingFault(position: 0, what: "unknown schema change \(kind)")
        }
        guard reader.remaining == 0 else {
            throw DecodingFault(position: reader.position, what: "bytes behind the schema change")
        }
    }

    func encode(into writer: inout ByteWriter) {
        switch self {
        case .create(let schema):
            writer.write(UInt8(1))
            schema.encode(into: &writer)
        case .drop(let collection):
            writer.write(UInt8(2))
            writer.write(collection)
        case .update(let update):
            writer.write(UInt8(3))
            update.encode(into: &writer)
        }
    }
}

/// What of a collection changes. A collection's vectors never do, so their positions name them.
package struct CollectionUpdate: Equatable, Sendable {
    package var collection: UInt64
    package var quantisations: [Int: Quantisation]

    package init(collection: UInt64, quantisations: [Int: Quantisation]) {
        self.collection = collection
        self.quantisations = quantisations
    }

    fileprivate init(decoding reader: inout ByteReader) throws(DecodingFault) {
        self.collection = try reader.read()
        self.quantisations = [:]
        for _ in 0..<(try reader.read(UInt16.self)) {
            let position = Int(try reader.read(UInt16.self))
            guard let quantisation = Quantisation(code: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown quantisation")
            }
            self.quantisations[position] = quantisation
        }
    }

    fileprivate func encode(into writer: inout ByteWriter) {
        writer.write(self.collection)
        writer.write(UInt16(self.quantisations.count))
        for (position, quantisation) in self.quantisations.sorted(by: { $0.key < $1.key }) {
            writer.write(UInt16(position))
            writer.write(quantisation.code)
        }
    }
}

/// Who replicates the partition from this entry on (Raft thesis, 4.1 and 4.3), and where they are reached.
package struct ConfigurationBody: Equatable, Sendable {
    package struct Member: Equatable, Sendable {
        package var id: UInt64
        package var isVoter: Bool
        package var isOutgoing: Bool
        /// "host:port" of its gRPC; empty if the writer did not know it.
        package var address: String

        package init(id: UInt64, isVoter: Bool, isOutgoing: Bool, address: String) {
            self.id = id
            self.isVoter = isVoter
            self.isOutgoing = isOutgoing
            self.address = address
        }
    }
    package var members: [Member]

    package init(members: [Member]) { self.members = members }

    package init(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        var reader = ByteReader(raw)
        try self.init(decoding: &reader)
        guard reader.remaining == 0 else { throw DecodingFault(position: reader.position, what: "bytes behind the members") }
    }

    package init(decoding reader: inout ByteReader) throws(DecodingFault) {
        let kind = try reader.read(UInt8.self)
        guard kind == 1 else { throw DecodingFault(position: reader.position, what: "unknown configuration \(kind)") }
        self.members = []
        for _ in 0..<(try reader.read(UInt16.self)) {
            let id = try reader.read(UInt64.self)
            let flags = try reader.read(UInt8.self)
            self.members.append(
                Member(id: id, isVoter: flags & 1 != 0, isOutgoing: flags & 2 != 0, address: try reader.readShort()))
        }
    }

    package func encode(into writer: inout ByteWriter) {
        writer.write(UInt8(1))
        writer.write(UInt16(self.members.count))
        for member in self.members {
            writer.write(member.id)
            writer.write(UInt8((member.isVoter ? 1 : 0) | (member.isOutgoing ? 2 : 0)))
            writer.writeShort(member.address)
        }
    }
}

/// Writes a delete's ids into their exact place.
package struct DeleteWriter {
    private let raw: UnsafeMutableRawBufferPointer
    private var position = 4
    private var count: UInt32 = 0

    fileprivate init(_ raw: UnsafeMutableRawBufferPointer) { self.raw = raw }

    package mutating func id(_ bytes: UnsafeRawBufferPointer) {
        precondition(self.raw.count - self.position >= 2 + bytes.count, "a delete larger than it was sized")
        self.raw.store(UInt16(bytes.count), at: self.position)
        UnsafeMutableRawBufferPointer(rebasing: self.raw[(self.position + 2)...]).copyMemory(from: bytes)
        self.position += 2 + bytes.count
        self.count += 1
    }

    fileprivate func finish() {
        precondition(self.position == self.raw.count, "a delete smaller than it was sized")
        self.raw.store(self.count, at: 0)
    }
}

extension EncodedEntry {
    /// - Parameters:
    ///   - count: Ids that will be written.
    ///   - idBytes: Their bytes together.
    package static func delete<E: Error>(
        header: EntryHeader, requestHash: UInt64? = nil, count: Int, idBytes: Int,
        body: (inout DeleteWriter) throws(E) -> Void
    ) throws(E) -> EncodedEntry {
        precondition(header.operation == .delete)
        return try EncodedEntry(header: header, requestHash: requestHash, bodyBytes: 4 + 2 * count + idBytes) {
            (raw) throws(E) in
            var writer = DeleteWriter(raw)
            try body(&writer)
            writer.finish()
        }
    }

    package static func delete(header: EntryHeader, requestHash: UInt64? = nil, ids: [String]) -> EncodedEntry {
        let idBytes = ids.reduce(0) { $0 + $1.utf8.count }
        return Self.delete(header: header, requestHash: requestHash, count: ids.count, idBytes: idBytes) { writer in
            for var id in ids { id.withUTF8 { writer.id(UnsafeRawBufferPointer($0)) } }
        }
    }

    /// - Parameter filter: The filter's own encoding.
    package static func deleteByFilter(
        header: EntryHeader, requestHash: UInt64? = nil, filter: UnsafeRawBufferPointer
    ) -> EncodedEntry {
        precondition(header.operation == .deleteByFilter)
        return Self.raw(header: header, requestHash: requestHash, body: filter)
    }

    package static func ddl(header: EntryHeader, requestHash: UInt64? = nil, _ change: DDLBody) -> EncodedEntry {
        precondition(header.operation == .ddl)
        var writer = ByteWriter()
        change.encode(into: &writer)
        return writer.bytes.withUnsafeBytes { Self.raw(header: header, requestHash: requestHash, body: $0) }
    }

    package static func configuration(header: EntryHeader, _ body: ConfigurationBody) -> EncodedEntry {
        precondition(header.operation == .configuration)
        var writer = ByteWriter()
        body.encode(into: &writer)
        return writer.bytes.withUnsafeBytes { Self.raw(header: header, body: $0) }
    }

    /// Any operation whose body is bytes: barrier (none), and those of later releases.
    package static func raw(
        header: EntryHeader, requestHash: UInt64? = nil, body: UnsafeRawBufferPointer
    ) -> EncodedEntry {
        EncodedEntry(header: header, requestHash: requestHash, bodyBytes: body.count) { raw in
            raw.copyMemory(from: body)
        }
    }
}
