internal import JournalFormat
package import JournalService
internal import JournalStore
package import Metadata
package import Primitives
internal import Synchronization

/// The catalog's copy in a metadata store, trusted only as far as it proves itself.
///
/// `sys-0` is the truth; the copy saves a start from replaying it. Each collection is a value with a checksum over its key
/// and bytes, and one more value, the seal, says which offset and entry of `sys-0` the copy is true for and holds the count
/// and a checksum of all values. Whatever does not fit is a doubt, and a doubtful copy is never used: it is rebuilt.
///
///     catalog/<id>:   u32 crc32c of the key and the rest, the schema's own encoding
///     catalog-seal:   u32 crc32c of the key and the rest, u8 1 whole or 0 being changed, u64 applied, u64 HLC of that entry,
///                     u32 values, u32 crc32c of their checksums in the order of their keys
package final class CatalogCopy: Sendable {
    private let store: any MetadataStore
    /// The values as they are in the store; only who saves touches them.
    private let held: Mutex<[String: [UInt8]]>
    /// What the copy holds; nil if there is none that can be used.
    let catalog: Catalog?

    private static let prefix = "/vecraft/v1/catalog/"
    private static let sealKey = "/vecraft/v1/catalog-seal"

    /// Reads the copy and holds it against `sys-0`.
    /// - Throws: `.dataLoss`, reason ``MetadataDamage/reason``, if it cannot be trusted; what the store or the journal throws.
    package init(_ store: any MetadataStore, journal: any JournalClient) async throws(VecraftError) {
        self.store = store
        var held: [String: [UInt8]] = [:]
        let listing = try await store.list(prefix: Self.prefix)
        for entry in listing.entries { held[entry.key] = entry.value }
        self.held = Mutex(held)
        guard let seal = try await store.get(Self.sealKey) else {
            guard held.isEmpty else { throw Self.doubt("its seal is missing") }
            self.catalog = nil
            return
        }
        guard let seal = Seal(decoding: Checked.open(seal.value, key: Self.sealKey)) else {
            throw Self.doubt("its seal is damaged")
        }
        // A process that was killed while it changed the copy; nothing is wrong, but nothing is sure either.
        guard seal.isWhole else {
            self.catalog = nil
            return
        }
        let schemas = try Self.schemas(listing.entries)
        guard schemas.count == seal.count, Self.checksum(held) == seal.checksum else {
            throw Self.doubt("its values are not those it was sealed with")
        }
        guard try Self.hlc(of: seal.applied, in: journal) == seal.hlc else {
            throw Self.doubt("it says to be true for sys-0 through \(seal.applied), which sys-0 does not bear out")
        }
        self.catalog = Catalog(schemas, applied: seal.applied)
    }

    /// Writes what changed since it was last saved. A copy that was not finished is not used.
    func save(_ catalog: Catalog, journal: any JournalClient) async throws(VecraftError) {
        guard let hlc = try Self.hlc(of: catalog.applied, in: journal) else {
            throw VecraftError(.internalError, "the catalog is ahead of sys-0, at \(catalog.applied)")
        }
        var wanted: [String: [UInt8]] = [:]
        for (id, schema) in catalog.byID {
            let key = Self.prefix + "\(id)"
            wanted[key] = Checked.seal(key: key) { schema.encode(into: &$0) }
        }
        try await self.put(Seal(isWhole: false, applied: catalog.applied, hlc: hlc, count: 0, checksum: 0))
        for (key, value) in wanted where self.held.withLock({ $0[key] != value }) {
            _ = try await self.store.put(key, value)
            self.held.withLock { $0[key] = value }
        }
        for key in self.held.withLock({ Array($0.keys) }) where wanted[key] == nil {
            _ = try await self.store.delete(key)
            self.held.withLock { $0[key] = nil }
        }
        try await self.put(
            Seal(
                isWhole: true, applied: catalog.applied, hlc: hlc, count: UInt32(wanted.count),
                checksum: Self.checksum(wanted)))
    }

    private func put(_ seal: Seal) async throws(VecraftError) {
        _ = try await self.store.put(Self.sealKey, Checked.seal(key: Self.sealKey) { seal.encode(into: &$0) })
    }

    // MARK: Proof

    private static func schemas(_ entries: [MetadataEntry]) throws(VecraftError) -> [CollectionSchema] {
        var schemas: [CollectionSchema] = []
        for entry in entries {
            let schema = Checked.open(entry.value, key: entry.key).flatMap { body in
                try? body.withUnsafeBufferPointer { (buffer) throws(DecodingFault) in
                    var reader = ByteReader(UnsafeRawBufferPointer(buffer))
                    return try CollectionSchema(decoding: &reader)
                }
            }
            guard let schema, Self.prefix + "\(schema.id)" == entry.key else {
                throw Self.doubt("its value \(entry.key) is damaged")
            }
            schemas.append(schema)
        }
        return schemas
    }

    private static func checksum(_ values: [String: [UInt8]]) -> UInt32 {
        var all = ByteWriter(reserving: values.count * 4)
        for (_, value) in values.sorted(by: { $0.key < $1.key }) { all.write(Array(value.prefix(4))) }
        return Checked.crc(all.bytes)
    }

    /// The HLC that an offset has in `sys-0`; zero for 0, nil if there is no such entry.
    private static func hlc(of offset: JournalOffset, in journal: any JournalClient) throws(VecraftError) -> UInt64? {
        guard offset > 0 else { return 0 }
        let position = try journal.position(.sys)
        guard offset <= position.committed else { return nil }
        // What lies before the journal's beginning cannot be asked any more; only its order can be relied on.
        guard offset >= position.first else { return nil }
        let batch = try journal.read(.sys, from: offset, maxBytes: 1)
        return withExtendedLifetime(batch) { batch.views.first?.hlc.rawValue }
    }

    private static func doubt(_ what: String) -> VecraftError {
        VecraftError(.dataLoss, "the copy of the catalog cannot be trusted: \(what)", reason: MetadataDamage.reason)
    }

    fileprivate struct Seal {
        var isWhole: Bool
        var applied: JournalOffset
        var hlc: UInt64
        var count: UInt32
        var checksum: UInt32

        func encode(into writer: inout ByteWriter) {
            writer.write(UInt8(self.isWhole ? 1 : 0))
            writer.write(self.applied)
            writer.write(self.hlc)
            writer.write(self.count)
            writer.write(self.checksum)
        }
    }
}

extension CatalogCopy.Seal {
    fileprivate init?(decoding body: [UInt8]?) {
        guard let body, body.count == 25, body[0] <= 1 else { return nil }
        let read = try? body.withUnsafeBufferPointer { (buffer) throws(DecodingFault) in
            var reader = ByteReader(UnsafeRawBufferPointer(buffer), at: 1)
            return (
                applied: try reader.read(UInt64.self), hlc: try reader.read(UInt64.self),
                count: try reader.read(UInt32.self), checksum: try reader.read(UInt32.self)
            )
        }
        guard let read else { return nil }
        self.init(
            isWhole: body[0] == 1, applied: read.applied, hlc: read.hlc, count: read.count, checksum: read.checksum)
    }
}

/// A value behind the checksum of its key and itself, so that it cannot be another key's either.
private enum Checked {
    static func seal(key: String, _ encode: (inout ByteWriter) -> Void) -> [UInt8] {
        var writer = ByteWriter()
        writer.write(UInt32(0))
        encode(&writer)
        writer.patch(Self.crc(Array(key.utf8) + writer.bytes[4...]), at: 0)
        return writer.bytes
    }

    /// - Returns: The value without its checksum; nil if that does not fit.
    static func open(_ bytes: [UInt8], key: String) -> [UInt8]? {
        guard bytes.count >= 4 else { return nil }
        let stored = bytes.withUnsafeBytes { UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self)) }
        return Self.crc(Array(key.utf8) + bytes[4...]) == stored ? Array(bytes[4...]) : nil
    }

    static func crc(_ bytes: [UInt8]) -> UInt32 { bytes.withUnsafeBytes { CRC32C.of($0) } }
}
