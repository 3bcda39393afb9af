import Primitives

/// Arrays of plain integers on disk: `u64 count`, then the elements, both 8-byte aligned; little-endian, copied in bulk.
extension ByteWriter {
    mutating func writeArray<T: FixedWidthInteger>(_ array: [T]) {
        self.pad(to: 8)
        self.write(UInt64(array.count))
        #if _endian(little)
            array.withUnsafeBytes { self.write($0) }
        #else
            for element in array { self.write(element) }
        #endif
        self.pad(to: 8)
    }
}

extension ByteReader {
    mutating func readArray<T: FixedWidthInteger>(of _: T.Type = T.self) throws(DecodingFault) -> [T] {
        try self.skipPadding(to: 8)
        let declared = try self.read(UInt64.self)
        guard declared <= UInt64(self.remaining / MemoryLayout<T>.stride) else { throw self.truncated() }
        let count = Int(declared)
        let raw = try self.bytes(count * MemoryLayout<T>.stride)
        try self.skipPadding(to: 8)
        let array = [T](unsafeUninitializedCapacity: count) { buffer, filled in
            UnsafeMutableRawBufferPointer(buffer).copyMemory(from: raw)
            filled = count
        }
        #if _endian(little)
            return array
        #else
            return array.map { T(littleEndian: $0) }
        #endif
    }
}
