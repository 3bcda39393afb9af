import Filter
package import Primitives

/// The payload index of one segment: which rows satisfy a filter. Its answers are always those of ``Filter/matches(id:payload:)``.
///
/// Growing: rows are prepared (parsed, hashed) by anyone at any time and committed in ascending order; every row is
/// answered for as soon as it is committed. Sealed: more compact, faster on ranges, no more rows. A row whose payload was
/// replaced is marked stale and from then on answered for by reading its payload; when `staleCount` gets large, build the
/// index anew.
///
/// Threads: `commit`, `seal` and `markStale` need exclusive access (the shard's write lock); everything else may run on
/// many threads at once, but not beside those. `prepare` touches only what never changes and may run at any time.
package final class SegmentPayloadIndex: @unchecked Sendable {
    // Unchecked: mutable state is guarded by the owner's reader-writer lock, as said above; a lock of its own would be
    // taken once a point and once a query for nothing.

    package let fields: [PayloadIndexField]
    /// Equal for equal field lists: lets a compiled filter be used on every segment of a collection.
    let fingerprint: UInt64
    private let tree: FieldTree
    /// In the order of `fields`. Classes, so that a column changes in place.
    private(set) var columns: [PayloadColumn]
    /// One more than the last row committed.
    package private(set) var rowCount = 0
    package private(set) var isSealed = false
    /// Rows whose payload is not what was committed.
    private(set) var stale = Bitmap()
    package private(set) var staleCount = 0

    /// - Parameter fields: At most ``Limits/payloadIndexes``; paths valid. The same path may be there once per type.
    package init(fields: [PayloadIndexField]) {
        precondition(fields.count <= Limits.payloadIndexes, "\(fields.count) payload indexes")
        self.fields = fields
        self.fingerprint = Self.fingerprint(of: fields)
        self.tree = FieldTree(fields.map { FieldPath($0.path).components })
        self.columns = fields.map { PayloadColumn(growing: $0.type) }
    }

    static func fingerprint(of fields: [PayloadIndexField]) -> UInt64 {
        var hash = StableHash()
        for field in fields {
            hash.combine(StableHash.of(field.path))
            hash.combine(UInt64(field.type.rawValue))
        }
        return hash.finish()
    }

    // MARK: Rows

    /// Takes out of a payload what the index needs, as one more row of `prepared`.
    ///
    /// - Parameter payload: A valid JSON object, or nil. Not kept.
    package func prepare(_ payload: UnsafeRawBufferPointer?, into prepared: inout PreparedRows) {
        if let payload, !self.fields.isEmpty {
            self.tree.walk(payload) { column, position in
                var value = JSONSkimmer(payload, at: position)
                let before = prepared.values.count
                let type = self.fields[Int(column)].type
                let isPresent = PayloadScalars.forEach(&value) { scalar in
                    prepared.append(scalar, column: column, type: type)
                    return true
                }
                if isPresent, prepared.values.count == before { prepared.append(present: column) }
            }
        }
        prepared.ends.append(prepared.values.count)
    }

    package func prepare(_ payload: UnsafeRawBufferPointer?) -> PreparedRows {
        var prepared = PreparedRows()
        self.prepare(payload, into: &prepared)
        return prepared
    }

    /// Adds a row that was prepared by an index of the same fields.
    ///
    /// - Parameters:
    ///   - row: Above all rows committed; rows left out count as having no payload.
    ///   - index: Which of the rows in `prepared`.
    package func commit(row: UInt32, _ prepared: borrowing PreparedRows, at index: Int = 0) {
        precondition(!self.isSealed && Int(row) >= self.rowCount, "row \(row) after \(self.rowCount), sealed: \(self.isSealed)")
        self.rowCount = Int(row) + 1
        let start = index == 0 ? 0 : prepared.ends[index - 1]
        prepared.text.withUnsafeBytes { text in
            prepared.values.withUnsafeBufferPointer { values in
                for i in start..<prepared.ends[index] { self.columns[Int(values[i].column)].add(values[i], text, row: row) }
            }
        }
    }

    /// `prepare` and `commit` in one.
    package func add(row: UInt32, payload: UnsafeRawBufferPointer?) {
        self.commit(row: row, self.prepare(payload))
    }

    /// Says that the row's payload was replaced. Also of a row that was never committed.
    package func markStale(_ row: UInt32) {
        self.stale.grow(to: Int(row) + 1)
        guard !self.stale.test(row) else { return }
        self.stale.set(row)
        self.staleCount += 1
        self.rowCount = max(self.rowCount, Int(row) + 1)
    }

    // MARK: Sealing

    /// Ends growth and sorts what is there, in place.
    package func seal() {
        if self.isSealed { return }
        self.columns = self.columns.map { $0.sealed(rows: self.rowCount) }
        self.isSealed = true
    }

    /// A sealed copy; this index stays as it is. Only reads, so the long part needs no exclusive access.
    package func sealed() -> SegmentPayloadIndex {
        let copy = SegmentPayloadIndex(fields: self.fields)
        copy.columns = self.isSealed ? self.columns : self.columns.map { $0.sealed(rows: self.rowCount) }
        copy.rowCount = self.rowCount
        copy.stale = self.stale
        copy.staleCount = self.staleCount
        copy.isSealed = true
        return copy
    }

    /// Bytes of memory held, by capacity.
    package var memoryBytes: Int {
        self.columns.reduce(self.stale.memoryBytes) { $0 + $1.memoryBytes }
    }

    // MARK: Coding

    /// Version 1: `u16 version`, `u16 fields` and each `path`, `u8 type`, `u64 rows`, the stale rows as words, then each column.
    private static let codingVersion: UInt16 = 1

    /// The sealed form as bytes. A checksum is the file's affair.
    package func serialised() -> [UInt8] {
        let sealed = self.isSealed ? self : self.sealed()
        var writer = ByteWriter(reserving: sealed.memoryBytes + 4096)
        writer.write(Self.codingVersion)
        writer.write(UInt16(sealed.fields.count))
        for field in sealed.fields {
            writer.writeShort(field.path)
            writer.write(field.type.rawValue)
        }
        writer.write(UInt64(sealed.rowCount))
        var stale = sealed.stale
        stale.grow(to: sealed.rowCount)
        writer.writeArray(stale.withUnsafeWords(Array.init))
        for column in sealed.columns { column.encode(into: &writer) }
        return writer.bytes
    }

    /// Reads what `serialised` wrote; copies it, so `raw` may go. The result is sealed.
    ///
    /// - Throws: What is wrong with the bytes. Whatever they are, the index never reads outside itself.
    package convenience init(deserialising raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        var reader = ByteReader(raw)
        let version = try reader.read(UInt16.self)
        guard version == Self.codingVersion else {
            throw DecodingFault(position: 0, what: "payload index of format \(version); this release reads 1")
        }
        var fields: [PayloadIndexField] = []
        let count = try reader.read(UInt16.self)
        guard count <= Limits.payloadIndexes else { throw DecodingFault(position: 2, what: "\(count) payload indexes") }
        for _ in 0..<count {
            let path = try reader.readShort()
            guard let type = PayloadFieldType(rawValue: try reader.read()) else {
                throw DecodingFault(position: reader.position, what: "unknown payload field type")
            }
            fields.append(PayloadIndexField(path: path, type: type))
        }
        let rows = try reader.read(UInt64.self)
        guard rows <= UInt64(UInt32.max) else { throw DecodingFault(position: reader.position, what: "\(rows) rows") }
        self.init(fields: fields)
        self.rowCount = Int(rows)
        self.stale = try PayloadColumn.bitmap(&reader, self.rowCount)
        self.staleCount = self.stale.count()
        for (index, field) in fields.enumerated() {
            self.columns[index] = try PayloadColumn(decoding: &reader, type: field.type, rows: self.rowCount)
        }
        self.isSealed = true
    }
}
