internal import FileStore
package import JournalFormat
internal import Primitives
package import Raft

/// What a replica must never forget beside its log (`docs/RAFT.md`, "durable state"), in one small file of the partition's folder,
/// replaced atomically. Little-endian:
///
///     u32 magic "VJRS", u32 crc32c of the rest, u16 format, u16 0, u32 generation of the log's folder
///     u64 replica, u64 term, u8 has voted, u8 recovering, u16 0, u32 incarnation, u64 voted for
///     u64 log start: index, u64 term, then the members there, as a configuration entry's body has them
struct ReplicaStateFile: Equatable, Sendable {
    static let name = "replica-state"
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x5352_4A56

    let replica: ReplicaID
    var hard = HardState()
    var start: LogStart
    /// Counts logs that came as a whole: 0 lies in the partition's folder itself, n in its folder `log-n`.
    var generation: UInt32 = 0

    init(replica: ReplicaID, start: LogStart) {
        self.replica = replica
        self.start = start
    }

    /// Nil if there is none.
    static func load(directory: String, files: any FileStore) throws(VecraftError) -> ReplicaStateFile? {
        let path = Paths.join(directory, Self.name)
        guard files.exists(path) else { return nil }
        let bytes = try onDisk { () throws(FileFault) in try files.readWhole(path) }
        // Without term and vote it must not take part as itself: thesis, 3.8.
        guard bytes.count >= 16, let state = try Self.decode(bytes, path) else {
            throw .damaged(path, byte: 0, "term and vote are lost; remove this replica from its group and add one under another id")
        }
        return state
    }

    private static func decode(_ bytes: [UInt8], _ path: String) throws(VecraftError) -> ReplicaStateFile? {
        try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
            let raw = UnsafeRawBufferPointer(buffer)
            guard raw.integer(at: 0, as: UInt32.self) == Self.magic,
                CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
            else { return nil }
            let format = raw.integer(at: 8, as: UInt16.self)
            guard format == Self.format else { throw .formatTooNew(path, "replica state", format, reads: Self.format) }
            var reader = ByteReader(raw, at: 12)
            return try? Self.fields(&reader)
        }
    }

    private static func fields(_ reader: inout ByteReader) throws(DecodingFault) -> ReplicaStateFile {
        let generation = try reader.read(UInt32.self)
        let replica = ReplicaID(try reader.read())
        let term = try reader.read(UInt64.self)
        let hasVoted = try reader.read(UInt8.self) != 0
        let isRecovering = try reader.read(UInt8.self) != 0
        _ = try reader.read(UInt16.self)
        let incarnation = try reader.read(UInt32.self)
        let vote = ReplicaID(try reader.read())
        let position = LogPosition(index: try reader.read(), term: try reader.read())
        let members = try ConfigurationBody(decoding: &reader)
        var state = ReplicaStateFile(
            replica: replica, start: LogStart(position: position, membership: Membership(members)))
        state.hard = HardState(
            term: term, votedFor: hasVoted ? vote : nil, incarnation: incarnation, isRecovering: isRecovering)
        state.generation = generation
        return state
    }

    func store(directory: String, files: any FileStore) throws(FileFault) {
        var writer = ByteWriter(reserving: 256)
        writer.write(Self.magic)
        writer.write(UInt32(0))
        writer.write(Self.format)
        writer.write(UInt16(0))
        writer.write(self.generation)
        writer.write(self.replica.rawValue)
        writer.write(self.hard.term)
        writer.write(UInt8(self.hard.votedFor == nil ? 0 : 1))
        writer.write(UInt8(self.hard.isRecovering ? 1 : 0))
        writer.write(UInt16(0))
        writer.write(self.hard.incarnation)
        writer.write(self.hard.votedFor?.rawValue ?? 0)
        writer.write(self.start.position.index)
        writer.write(self.start.position.term)
        ConfigurationBody(self.start.membership).encode(into: &writer)
        writer.patch(writer.bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }, at: 4)
        try AtomicFile.replace(Paths.join(directory, Self.name), with: writer.bytes, in: files)
    }
}

extension Membership {
    package init(_ body: ConfigurationBody) {
        self.init(
            members: body.members.map { Member(id: ReplicaID($0.id), isVoter: $0.isVoter, isOutgoing: $0.isOutgoing) })
    }
}

extension ConfigurationBody {
    /// - Parameter address: "host:port" of a member's gRPC; "" if it is not known.
    package init(_ membership: Membership, address: (ReplicaID) -> String = { _ in "" }) {
        self.init(
            members: membership.members.map {
                Member(id: $0.id.rawValue, isVoter: $0.isVoter, isOutgoing: $0.isOutgoing, address: address($0.id))
            })
    }
}
