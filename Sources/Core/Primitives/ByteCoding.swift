/// Appends little-endian integers and length-prefixed bytes. Every format on disk is written through this.
package struct ByteWriter: Sendable {
    package var bytes: [UInt8]

    package init(reserving capacity: Int = 256) {
        self.bytes = []
        self.bytes.reserveCapacity(capacity)
    }

    @inlinable package var count: Int { self.bytes.count }

    @inlinable package mutating func write<T: FixedWidthInteger>(_ value: T) {
        withUnsafeBytes(of: value.littleEndian) { self.bytes.append(contentsOf: $0) }
    }
    @inlinable package mutating func write(_ raw: UnsafeRawBufferPointer) { self.bytes.append(contentsOf: raw) }
    @inlinable package mutating func write(_ raw: [UInt8]) { self.bytes.append(contentsOf: raw) }

    /// UTF-8 behind a 16-bit length. Longer text is the caller's bug: limits are checked at the edge.
    package mutating func writeShort(_ text: String) {
        let utf8 = text.utf8
        precondition(utf8.count <= UInt16.max, "a short string of \(utf8.count) bytes")
        self.write(UInt16(utf8.count))
        self.bytes.append(contentsOf: utf8)
    }

    /// Bytes behind a 32-bit length.
    package mutating func writeLong(_ raw: UnsafeRawBufferPointer) {
        precondition(raw.count <= UInt32.max)
        self.write(UInt32(raw.count))
        self.write(raw)
    }

    /// Zeroes up to the next multiple of `alignment`.
    package mutating func pad(to alignment: Int) {
        while self.bytes.count % alignment != 0 { self.bytes.append(0) }
    }

    /// Overwrites at a position written before.
    @inlinable package mutating func patch<T: FixedWidthInteger>(_ value: T, at position: Int) {
        withUnsafeBytes(of: value.littleEndian) { raw in
            for i in 0..<raw.count { self.bytes[position + i] = raw[i] }
        }
    }
}

/// Why bytes could not be read: truncated, or not what they claim to be.
package struct DecodingFault: Error, Sendable, Equatable, CustomStringConvertible {
    package let position: Int
    package let what: String
    package init(position: Int, what: String) {
        self.position = position
        self.what = what
    }
    package var description: String { "\(self.what) at byte \(self.position)" }
}

/// Reads what ``ByteWriter`` wrote; every read checks the bounds.
package struct ByteReader {
    package let base: UnsafeRawBufferPointer
    package var position: Int

    @inlinable package init(_ base: UnsafeRawBufferPointer, at position: Int = 0) {
        self.base = base
        self.position = position
    }

    @inlinable package var remaining: Int { self.base.count - self.position }

    @inlinable package mutating func read<T: FixedWidthInteger>(_: T.Type = T.self) throws(DecodingFault) -> T {
        guard self.remaining >= MemoryLayout<T>.size else { throw self.truncated() }
        defer { self.position += MemoryLayout<T>.size }
        return T(littleEndian: self.base.loadUnaligned(fromByteOffset: self.position, as: T.self))
    }

    @inlinable package mutating func bytes(_ count: Int) throws(DecodingFault) -> UnsafeRawBufferPointer {
        guard count >= 0, self.remaining >= count else { throw self.truncated() }
        defer { self.position += count }
        return UnsafeRawBufferPointer(rebasing: self.base[self.position..<self.position + count])
    }

    package mutating func readShort() throws(DecodingFault) -> String {
        let count = Int(try self.read(UInt16.self))
        return String(decoding: try self.bytes(count), as: UTF8.self)
    }

    @inlinable package mutating func readLong() throws(DecodingFault) -> UnsafeRawBufferPointer {
        try self.bytes(Int(try self.read(UInt32.self)))
    }

    package mutating func skipPadding(to alignment: Int) throws(DecodingFault) {
        let rest = self.position % alignment
        if rest != 0 { _ = try self.bytes(alignment - rest) }
    }

    @usableFromInline package func truncated() -> DecodingFault {
        DecodingFault(position: self.position, what: "truncated")
    }
}
