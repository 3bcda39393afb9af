package import Primitives

// The body of an upsert, little-endian:
//
//     u32 points, u32 0, then for each point, 8-byte aligned:
//         u32 bytes of this point   u16 bytes of id   u8 vectors   u8 flags (1: has a payload)   u32 bytes of payload   u32 0
//         id, payload, zeroes to the next multiple of 4
//         for each vector: u16 bytes of name, u16 0, u32 components, name, zeroes to the next multiple of 4, float32 components
//         zeroes to the next multiple of 8
//
// Components are 4-byte aligned in an entry, so they are used where they lie.

enum UpsertLayout {
    static let headBytes = 8
    static let pointBytes = 16
    static let vectorBytes = 8
    static let hasPayload: UInt8 = 1
    @inline(__always) static func aligned4(_ bytes: Int) -> Int { (bytes &+ 3) & ~3 }
}

/// Sums the exact size of an upsert's body. Say of each point what ``UpsertWriter`` will be told, in any order of vectors.
package struct UpsertSizer: Sendable {
    package private(set) var points = 0
    private var closed = UpsertLayout.headBytes
    private var open = 0

    package init() {}

    /// Bytes of the body with all points so far.
    package var bytes: Int { self.closed + EntryLayout.aligned(self.open) }

    /// - Parameter payloadBytes: Nil for none.
    package mutating func point(idBytes: Int, payloadBytes: Int?) {
        self.closed = self.bytes
        self.open = UpsertLayout.pointBytes + UpsertLayout.aligned4(idBytes + (payloadBytes ?? 0))
        self.points += 1
    }

    package mutating func vector(nameBytes: Int, dimension: Int) {
        self.open += UpsertLayout.vectorBytes + UpsertLayout.aligned4(nameBytes) + dimension * 4
    }
}

/// Writes an upsert's body into its exact place. Saying more or less than was sized is a bug and traps.
package struct UpsertWriter {
    private let raw: UnsafeMutableRawBufferPointer
    private var position = UpsertLayout.headBytes
    private var pointStart = 0
    private var points: UInt32 = 0
    private var vectorsLeft = 0

    fileprivate init(_ raw: UnsafeMutableRawBufferPointer) {
        self.raw = raw
    }

    /// Begins a point. Exactly `vectors` calls of ``vector(name:values:)`` follow.
    package mutating func point(id: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?, vectors: Int) {
        self.endPoint()
        self.pointStart = self.position
        let payloadBytes = payload?.count ?? 0
        precondition(self.raw.count - self.position >= UpsertLayout.pointBytes, "an upsert larger than it was sized")
        self.raw.store(UInt16(id.count), at: self.position + 4)
        self.raw.store(UInt8(vectors), at: self.position + 6)
        self.raw.store(payload == nil ? 0 : UpsertLayout.hasPayload, at: self.position + 7)
        self.raw.store(UInt32(payloadBytes), at: self.position + 8)
        self.raw.store(UInt32(0), at: self.position + 12)
        self.position += UpsertLayout.pointBytes
        self.copy(id)
        if let payload { self.copy(payload) }
        self.pad(to: 4)
        self.vectorsLeft = vectors
        self.points += 1
    }

    package mutating func vector(name: UnsafeRawBufferPointer, values: UnsafeBufferPointer<Float>) {
        self.vector(name: name, packed: UnsafeRawBufferPointer(values))
    }

    /// - Parameter packed: Little-endian float32, in memory of any alignment; a multiple of 4 bytes.
    package mutating func vector(name: UnsafeRawBufferPointer, packed: UnsafeRawBufferPointer) {
        precondition(self.vectorsLeft > 0, "more vectors than the point announced")
        precondition(self.raw.count - self.position >= UpsertLayout.vectorBytes, "an upsert larger than it was sized")
        self.vectorsLeft -= 1
        self.raw.store(UInt16(name.count), at: self.position)
        self.raw.store(UInt16(0), at: self.position + 2)
        self.raw.store(UInt32(packed.count / 4), at: self.position + 4)
        self.position += UpsertLayout.vectorBytes
        self.copy(name)
        self.pad(to: 4)
        self.copy(packed)
    }

    fileprivate mutating func finish() {
        self.endPoint()
        precondition(self.position == self.raw.count, "an upsert smaller than it was sized")
        self.raw.store(self.points, at: 0)
        self.raw.store(UInt32(0), at: 4)
    }

    private mutating func endPoint() {
        precondition(self.vectorsLeft == 0, "\(self.vectorsLeft) vectors missing of a point")
        guard self.points > 0 else { return }
        self.pad(to: 8)
        self.raw.store(UInt32(self.position - self.pointStart), at: self.pointStart)
    }

    private mutating func copy(_ bytes: UnsafeRawBufferPointer) {
        precondition(self.raw.count - self.position >= bytes.count, "an upsert larger than it was sized")
        if bytes.count > 0 {
            (self.raw.baseAddress! + self.position).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
        }
        self.position += bytes.count
    }

    private mutating func pad(to alignment: Int) {
        while self.position % alignment != 0 {
            precondition(self.position < self.raw.count, "an upsert larger than it was sized")
            self.raw[self.position] = 0
            self.position += 1
        }
    }
}

extension EncodedEntry {
    /// Encodes an upsert. `header.operation` must be `.upsert`.
    ///
    /// - Parameters:
    ///   - size: Told of every point before.
    ///   - body: Tells the writer the same points.
    package static func upsert<E: Error>(
        header: EntryHeader, requestHash: UInt64? = nil, size: UpsertSizer, body: (inout UpsertWriter) throws(E) -> Void
    ) throws(E) -> EncodedEntry {
        precondition(header.operation == .upsert)
        return try EncodedEntry(header: header, requestHash: requestHash, bodyBytes: size.bytes) { (raw) throws(E) in
            var writer = UpsertWriter(raw)
            try body(&writer)
            writer.finish()
        }
    }
}

/// One point of an upsert, in place. Valid while the entry's bytes are.
package struct PointView {
    /// Its position among the points of the entry.
    package let index: Int
    package let id: UnsafeRawBufferPointer
    /// A JSON object's bytes; nil for none.
    package let payload: UnsafeRawBufferPointer?
    package let vectorCount: Int
    let vectorBytes: UnsafeRawBufferPointer

    /// Name and components of each vector, in the order written. The bounds were checked when this view was made.
    @inline(__always)
    package func forEachVector<E: Error>(
        _ body: (_ name: UnsafeRawBufferPointer, _ values: UnsafeBufferPointer<Float>) throws(E) -> Void
    ) throws(E) {
        var position = 0
        for _ in 0..<self.vectorCount {
            let nameBytes = Int(self.vectorBytes.integer(at: position, as: UInt16.self))
            let dimension = Int(self.vectorBytes.integer(at: position &+ 4, as: UInt32.self))
            let name = UnsafeRawBufferPointer(
                rebasing: self.vectorBytes[position &+ UpsertLayout.vectorBytes..<position &+ UpsertLayout.vectorBytes &+ nameBytes])
            position &+= UpsertLayout.vectorBytes &+ UpsertLayout.aligned4(nameBytes)
            let values = UnsafeRawBufferPointer(rebasing: self.vectorBytes[position..<position &+ dimension &* 4])
            try body(name, values.assumingMemoryBound(to: Float.self))
            position &+= dimension &* 4
        }
    }

    /// The vector of one name; nil if the point lacks it.
    package func vector(named name: UnsafeRawBufferPointer) -> UnsafeBufferPointer<Float>? {
        var found: UnsafeBufferPointer<Float>?
        self.forEachVector { candidate, values in
            if candidate.elementsEqual(name) { found = values }
        }
        return found
    }
}

/// Reads an upsert's body point by point.
package struct UpsertBody {
    /// Points in the entry.
    package let count: Int
    private let raw: UnsafeRawBufferPointer
    private var position = UpsertLayout.headBytes
    private var index = 0

    /// - Parameter raw: ``EntryView/body``: 8-byte aligned.
    package init(_ raw: UnsafeRawBufferPointer) throws(DecodingFault) {
        guard UInt(bitPattern: raw.baseAddress) % 4 == 0 else {
            throw DecodingFault(position: 0, what: "an upsert body in memory that is not 4-byte aligned")
        }
        guard raw.count >= UpsertLayout.headBytes else { throw DecodingFault(position: raw.count, what: "truncated upsert") }
        self.raw = raw
        self.count = Int(raw.integer(at: 0, as: UInt32.self))
    }

    package mutating func next() throws(DecodingFault) -> PointView? {
        guard self.index < self.count else {
            guard self.position == self.raw.count else { throw self.fault("bytes behind the last point") }
            return nil
        }
        let start = self.position
        guard self.raw.count - start >= UpsertLayout.pointBytes else { throw self.fault("truncated upsert") }
        let total = Int(self.raw.integer(at: start, as: UInt32.self))
        guard total >= UpsertLayout.pointBytes, total % 8 == 0, total <= self.raw.count - start else {
            throw self.fault("a point of \(total) bytes")
        }
        let raw = UnsafeRawBufferPointer(rebasing: self.raw[start..<start + total])
        let idBytes = Int(raw.integer(at: 4, as: UInt16.self))
        let vectors = Int(raw.integer(at: 6, as: UInt8.self))
        let hasPayload = raw.integer(at: 7, as: UInt8.self) & UpsertLayout.hasPayload != 0
        let payloadBytes = Int(raw.integer(at: 8, as: UInt32.self))
        let vectorsStart = UpsertLayout.pointBytes + UpsertLayout.aligned4(idBytes + payloadBytes)
        guard vectorsStart <= total else { throw self.fault("a point whose id and payload exceed it") }
        try self.checkVectors(vectors, in: raw, from: vectorsStart)
        let id = UnsafeRawBufferPointer(rebasing: raw[UpsertLayout.pointBytes..<UpsertLayout.pointBytes + idBytes])
        let payloadStart = UpsertLayout.pointBytes + idBytes
        let point = PointView(
            index: self.index, id: id,
            payload: hasPayload ? UnsafeRawBufferPointer(rebasing: raw[payloadStart..<payloadStart + payloadBytes]) : nil,
            vectorCount: vectors, vectorBytes: UnsafeRawBufferPointer(rebasing: raw[vectorsStart...]))
        self.position = start + total
        self.index += 1
        return point
    }

    private func checkVectors(_ count: Int, in raw: UnsafeRawBufferPointer, from start: Int) throws(DecodingFault) {
        var position = start
        for _ in 0..<count {
            guard raw.count - position >= UpsertLayout.vectorBytes else { throw self.fault("a point whose vectors exceed it") }
            let nameBytes = Int(raw.integer(at: position, as: UInt16.self))
            let dimension = Int(raw.integer(at: position + 4, as: UInt32.self))
            position += UpsertLayout.vectorBytes + UpsertLayout.aligned4(nameBytes) + dimension * 4
            guard position <= raw.count else { throw self.fault("a point whose vectors exceed it") }
        }
    }

    private func fault(_ what: String) -> DecodingFault { DecodingFault(position: self.position, what: what) }
}
