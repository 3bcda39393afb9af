package import Primitives

/// An idempotency key and what was appended under it, as it is kept beside a sealed segment, and travels with a log that is sent as a
/// whole: the entry itself may have been trimmed.
package struct KeyRecord: Equatable, Sendable {
    package let tenant: String
    package let key: String
    package let shard: UInt32
    package let bodyHash: UInt64
    package let offset: JournalOffset
    package let hlc: HLCTimestamp
    package let term: UInt64

    /// Nil for an entry without a key.
    package init?(_ view: EntryView) {
        let key = view.idempotencyKey
        guard !key.isEmpty else { return nil }
        self.tenant = String(decoding: view.tenant, as: UTF8.self)
        self.key = String(decoding: key, as: UTF8.self)
        self.shard = view.shard
        self.bodyHash = view.bodyHash
        self.offset = view.offset
        self.hlc = view.hlc
        self.term = view.term
    }

    package init(
        tenant: String, key: String, shard: UInt32, bodyHash: UInt64, offset: JournalOffset, hlc: HLCTimestamp, term: UInt64
    ) {
        self.tenant = tenant
        self.key = key
        self.shard = shard
        self.bodyHash = bodyHash
        self.offset = offset
        self.hlc = hlc
        self.term = term
    }

    package func encode(into writer: inout ByteWriter) {
        writer.writeShort(self.tenant)
        writer.writeShort(self.key)
        writer.write(self.shard)
        writer.write(self.bodyHash)
        writer.write(self.offset)
        writer.write(self.hlc.rawValue)
        writer.write(self.term)
    }

    package init(decoding reader: inout ByteReader) throws(DecodingFault) {
        self.tenant = try reader.readShort()
        self.key = try reader.readShort()
        self.shard = try reader.read()
        self.bodyHash = try reader.read()
        self.offset = try reader.read()
        self.hlc = HLCTimestamp(rawValue: try reader.read())
        self.term = try reader.read()
    }
}
