/// What a client has seen: the greatest offset per journal partition. Opaque to clients; the server merges.
///
/// On the wire: any number of records of 16 bytes (version 1, kind, index, 4 zero bytes, offset). Two tokens put one behind the other are
/// a token, so a client with parallel answers may simply concatenate; the next answer's token is compact again.
package struct SessionToken: Equatable, Sendable {
    /// Sorted by partition, one record each. A node has few partitions, so a scan beats a dictionary.
    package private(set) var offsets: [(partition: PartitionID, offset: JournalOffset)] = []

    /// 64 partitions' records sixty-four times over: a client that concatenates without end is told so.
    package static let maxBytes = 64 * 64 * Self.recordBytes
    private static let recordBytes = 16
    private static let version: UInt8 = 1

    package init() {}

    /// - Throws: `INVALID_ARGUMENT` naming `session_token`.
    package init(_ raw: UnsafeRawBufferPointer) throws(VecraftError) {
        guard raw.count <= Self.maxBytes, raw.count % Self.recordBytes == 0 else {
            throw .invalid("session_token", "not a session token: \(raw.count) bytes")
        }
        var position = 0
        while position < raw.count {
            guard raw[position] == Self.version, let kind = PartitionID.Kind(rawValue: raw[position + 1]) else {
                throw .invalid("session_token", "not a session token, or one of a newer release")
            }
            let index = UInt16(littleEndian: raw.loadUnaligned(fromByteOffset: position + 2, as: UInt16.self))
            let offset = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: position + 8, as: UInt64.self))
            self.merge(PartitionID(kind, index), offset)
            position += Self.recordBytes
        }
    }

    package func offset(of partition: PartitionID) -> JournalOffset {
        for entry in self.offsets where entry.partition == partition { return entry.offset }
        return 0
    }

    package mutating func merge(_ partition: PartitionID, _ offset: JournalOffset) {
        for i in self.offsets.indices {
            if self.offsets[i].partition == partition {
                self.offsets[i].offset = max(self.offsets[i].offset, offset)
                return
            }
            if partition < self.offsets[i].partition {
                self.offsets.insert((partition, offset), at: i)
                return
            }
        }
        self.offsets.append((partition, offset))
    }

    package mutating func merge(_ other: SessionToken) {
        for entry in other.offsets { self.merge(entry.partition, entry.offset) }
    }

    package var encodedSize: Int { self.offsets.count * Self.recordBytes }

    package func encode(into raw: UnsafeMutableRawBufferPointer) {
        var position = 0
        for (partition, offset) in self.offsets {
            raw[position] = Self.version
            raw[position + 1] = partition.kind.rawValue
            raw.storeBytes(of: partition.index.littleEndian, toByteOffset: position + 2, as: UInt16.self)
            raw.storeBytes(of: 0, toByteOffset: position + 4, as: UInt32.self)
            raw.storeBytes(of: offset.littleEndian, toByteOffset: position + 8, as: UInt64.self)
            position += Self.recordBytes
        }
    }

    package var bytes: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: self.encodedSize) { buffer, count in
            self.encode(into: UnsafeMutableRawBufferPointer(buffer))
            count = self.encodedSize
        }
    }

    package static func == (a: SessionToken, b: SessionToken) -> Bool {
        a.offsets.elementsEqual(b.offsets) { $0.partition == $1.partition && $0.offset == $1.offset }
    }
}
