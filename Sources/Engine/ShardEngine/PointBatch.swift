package import Primitives

/// Points copied out of a shard: one allocation for all the bytes, one for all the floats.
///
/// The bytes are the shard's own: UTF-8 ids, payloads as they were written. A cosine vector is the normalised one.
package struct PointBatch: Sendable {
    package struct Record: Sendable {
        /// HLC of the entry that wrote the point last.
        package var version: HLCTimestamp
        var idStart: Int
        var idCount: Int
        var payloadStart: Int
        /// -1: no payload, or not asked for.
        var payloadCount: Int
        var firstVector: Int
        var vectorCount: Int
    }
    struct VectorRecord: Sendable {
        /// Position in the schema's `vectors`.
        var field: Int
        var start: Int
        var count: Int
    }

    var bytes: [UInt8] = []
    var floats: [Float] = []
    var vectors: [VectorRecord] = []
    var names: [String] = []
    package private(set) var records: [Record] = []

    package var count: Int { self.records.count }
    package var isEmpty: Bool { self.records.isEmpty }

    package func version(_ i: Int) -> HLCTimestamp { self.records[i].version }

    package func id(_ i: Int) -> String {
        self.withID(i) { String(decoding: $0, as: UTF8.self) }
    }

    /// The id's UTF-8, in place.
    @inline(__always)
    package func withID<R>(_ i: Int, _ body: (UnsafeRawBufferPointer) throws -> R) rethrows -> R {
        let record = self.records[i]
        return try self.bytes.withUnsafeBytes {
            try body(UnsafeRawBufferPointer(rebasing: $0[record.idStart..<record.idStart + record.idCount]))
        }
    }

    package func hasPayload(_ i: Int) -> Bool { self.records[i].payloadCount >= 0 }

    /// The payload's JSON, in place; nil if the point has none or it was not asked for.
    @inline(__always)
    package func withPayload<R>(_ i: Int, _ body: (UnsafeRawBufferPointer?) throws -> R) rethrows -> R {
        let record = self.records[i]
        guard record.payloadCount >= 0 else { return try body(nil) }
        return try self.bytes.withUnsafeBytes {
            try body(UnsafeRawBufferPointer(rebasing: $0[record.payloadStart..<record.payloadStart + record.payloadCount]))
        }
    }

    package func payload(_ i: Int) -> [UInt8]? {
        self.withPayload(i) { $0.map { [UInt8]($0) } }
    }

    /// The point's vectors, in the order of their names, in place; none when they were not asked for.
    package func forEachVector(_ i: Int, _ body: (String, UnsafeBufferPointer<Float>) throws -> Void) rethrows {
        let record = self.records[i]
        for v in record.firstVector..<record.firstVector + record.vectorCount {
            let vector = self.vectors[v]
            try self.floats.withUnsafeBufferPointer {
                try body(
                    self.names[vector.field],
                    UnsafeBufferPointer(rebasing: $0[vector.start..<vector.start + vector.count]))
            }
        }
    }

    package func vector(_ i: Int, _ name: String) -> [Float]? {
        var found: [Float]?
        self.forEachVector(i) { if $0 == name { found = [Float]($1) } }
        return found
    }

    package init() {}

    mutating func reserve(points: Int) { self.records.reserveCapacity(points) }

    /// Copies a row. Under the shard's lock.
    /// - Parameter columns: Whose vectors are copied too.
    mutating func append(_ segment: Segment, _ row: Int, _ columns: Range<Int>?, withPayload: Bool) {
        let storage = segment.storage
        let stored = storage.rows[row]
        let id = storage.id(row)
        var record = Record(
            version: HLCTimestamp(rawValue: stored.version), idStart: self.bytes.count, idCount: id.count,
            payloadStart: self.bytes.count + id.count, payloadCount: -1, firstVector: self.vectors.count, vectorCount: 0)
        // Id and payload are neighbours.
        if withPayload, let payload = storage.payload(row) {
            record.payloadCount = payload.count
            self.bytes.append(contentsOf: UnsafeRawBufferPointer(start: id.baseAddress, count: id.count + payload.count))
        } else {
            self.bytes.append(contentsOf: id)
        }
        if let columns {
            if self.names.isEmpty { self.names = segment.shape.columns.map(\.name) }
            for index in columns where stored.present >> UInt16(index) & 1 == 1 {
                let column = segment.shape.columns[index]
                let vector = storage.vector(index, row, stride: column.stride)
                self.vectors.append(VectorRecord(field: index, start: self.floats.count, count: column.dimension))
                self.floats.append(contentsOf: UnsafeBufferPointer(start: vector, count: column.dimension))
                record.vectorCount += 1
            }
        }
        self.records.append(record)
    }
}
