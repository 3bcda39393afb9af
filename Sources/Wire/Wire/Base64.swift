/// Base64 (RFC 4648): the standard alphabet is written, with padding; that and the one for URLs are read, padded or not.
package enum Base64 {
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
    /// Value of each byte; 255 for those outside both alphabets.
    private static let values: [UInt8] = {
        var values = [UInt8](repeating: 255, count: 256)
        for (value, byte) in Self.alphabet.enumerated() { values[Int(byte)] = UInt8(value) }
        values[Int(UInt8(ascii: "-"))] = 62
        values[Int(UInt8(ascii: "_"))] = 63
        return values
    }()

    package static func encode(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
        [UInt8](unsafeUninitializedCapacity: (bytes.count + 2) / 3 * 4) { output, count in
            Self.alphabet.withUnsafeBufferPointer { alphabet in
                var i = 0
                while i < bytes.count {
                    let left = bytes.count - i
                    let word =
                        UInt32(bytes[i]) << 16 | (left > 1 ? UInt32(bytes[i + 1]) << 8 : 0)
                        | (left > 2 ? UInt32(bytes[i + 2]) : 0)
                    output[count] = alphabet[Int(word >> 18)]
                    output[count + 1] = alphabet[Int(word >> 12 & 63)]
                    output[count + 2] = left > 1 ? alphabet[Int(word >> 6 & 63)] : UInt8(ascii: "=")
                    output[count + 3] = left > 2 ? alphabet[Int(word & 63)] : UInt8(ascii: "=")
                    count += 4
                    i += 3
                }
            }
        }
    }

    /// - Parameter output: At least three bytes for each four of `text`, and three more.
    /// - Returns: Bytes written; nil if `text` is not base64.
    package static func decode(_ text: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer) -> Int? {
        var length = text.count
        if length % 4 == 0, length > 0, text[length - 1] == UInt8(ascii: "=") {
            length -= text[length - 2] == UInt8(ascii: "=") ? 2 : 1
        }
        guard length % 4 != 1 else { return nil }
        return Self.values.withUnsafeBufferPointer { values -> Int? in
            var i = 0, written = 0
            while i < length {
                let left = min(4, length - i)
                var word: UInt32 = 0
                var bad: UInt8 = 0
                for k in 0..<4 {
                    let value = k < left ? values[Int(text[i + k])] : 0
                    bad |= value
                    word = word << 6 | UInt32(value & 63)
                }
                if bad > 63 { return nil }
                output[written] = UInt8(truncatingIfNeeded: word >> 16)
                if left > 2 { output[written + 1] = UInt8(truncatingIfNeeded: word >> 8) }
                if left > 3 { output[written + 2] = UInt8(truncatingIfNeeded: word) }
                written += left - 1
                i += 4
            }
            return written
        }
    }
}
