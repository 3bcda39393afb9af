/// Writes fields of a message into room that has been measured before (protobuf, "Encoding").
package struct ProtobufWriter {
    private let room: UnsafeMutableBufferPointer<UInt8>
    package private(set) var count = 0

    /// Bytes, 1 to 10 (section "Base 128 Varints").
    package static func size(varint value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }
    /// A field with so many bytes of content: a tag of one byte, their number, and they.
    package static func size(delimited count: Int) -> Int { 1 + Self.size(varint: UInt64(count)) + count }

    package init(_ room: UnsafeMutableBufferPointer<UInt8>) { self.room = room }

    package mutating func put(_ byte: UInt8) {
        self.room[self.count] = byte
        self.count += 1
    }

    package mutating func put(varint value: UInt64) {
        var rest = value
        while rest > 0x7f {
            self.put(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        self.put(UInt8(rest))
    }

    package mutating func put(fixed value: UInt64) {
        for shift in stride(from: 0 as UInt64, to: 64, by: 8) { self.put(UInt8(truncatingIfNeeded: value >> shift)) }
    }

    package mutating func put(bigEndian value: UInt64) {
        for shift in stride(from: 56 as UInt64, through: 0, by: -8) {
            self.put(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    /// - Parameter count: Bytes of the text.
    package mutating func put(_ number: UInt8, _ text: String, _ count: Int) {
        self.put(number << 3 | 2)
        self.put(varint: UInt64(count))
        let rest = UnsafeMutableBufferPointer(rebasing: self.room[self.count...])
        let isWhole: Void? = text.utf8.withContiguousStorageIfAvailable { bytes in
            precondition(bytes.count == count)
            _ = rest.update(fromContentsOf: bytes)
        }
        if isWhole == nil { for (i, byte) in text.utf8.enumerated() { rest[i] = byte } }
        self.count += count
    }
}

extension [UInt8] {
    /// A number as protobuf has it ("Encoding", section "Base 128 Varints"): 1 to 10 bytes.
    package mutating func append(varint value: UInt64) {
        var rest = value
        while rest > 0x7f {
            self.append(UInt8(rest & 0x7f) | 0x80)
            rest >>= 7
        }
        self.append(UInt8(rest))
    }
}
