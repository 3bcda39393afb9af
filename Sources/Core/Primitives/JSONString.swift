/// A string of a JSON document, in place: the bytes between its quotes, already checked by ``JSONReader``.
package struct JSONString {
    /// Lives as long as the document's buffer. Escapes are still in it when `isEscaped`.
    package let raw: UnsafeRawBufferPointer
    package let isEscaped: Bool

    @inlinable @inline(__always)
    package init(raw: UnsafeRawBufferPointer, isEscaped: Bool) {
        self.raw = raw
        self.isEscaped = isEscaped
    }

    /// The text; no allocation up to 15 bytes.
    package var string: String {
        if !self.isEscaped { return String(decoding: self.raw, as: UTF8.self) }
        // Unescaping never lengthens: the shortest escape for n bytes of UTF-8 has more than n.
        return String(unsafeUninitializedCapacity: self.raw.count) { output in
            self.unescape(into: UnsafeMutableRawBufferPointer(output))
        }
    }

    /// Calls `body` with the text's UTF-8; copies only if there are escapes.
    @inlinable @inline(__always)
    package func withUTF8<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        if !self.isEscaped { return body(self.raw) }
        return withUnsafeTemporaryAllocation(byteCount: self.raw.count, alignment: 1) { buffer in
            let count = self.unescape(into: buffer)
            return body(UnsafeRawBufferPointer(start: buffer.baseAddress, count: count))
        }
    }

    /// Equality of bytes: no Unicode normalisation, as JSON has it.
    @inlinable
    package func equals(_ utf8: UnsafeRawBufferPointer) -> Bool {
        if self.isEscaped { return self.withUTF8 { RawBytes.equal($0, utf8) } }
        return RawBytes.equal(self.raw, utf8)
    }
    package func equals(_ text: StaticString) -> Bool {
        self.equals(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }
    package func equals(_ text: String) -> Bool {
        var text = text
        return text.withUTF8 { self.equals(UnsafeRawBufferPointer($0)) }
    }

    /// `switch key { case "must": ... }`
    package static func ~= (pattern: StaticString, value: JSONString) -> Bool { value.equals(pattern) }

    /// - Parameter output: At least `raw.count` bytes.
    /// - Returns: Bytes written.
    @discardableResult
    package func unescape(into output: UnsafeMutableRawBufferPointer) -> Int {
        var written = 0
        var i = 0
        while i < self.raw.count {
            if self.raw[i] != 0x5c {
                output[written] = self.raw[i]
                written &+= 1
                i &+= 1
                continue
            }
            // The reader lets no malformed escape through; in a damaged payload one stands for itself.
            guard case .scalar(let value, let length) = JSONScanner.escape(self.raw, at: i),
                let scalar = Unicode.Scalar(value), let utf8 = Unicode.UTF8.encode(scalar)
            else {
                output[written] = 0x5c
                written &+= 1
                i &+= 1
                continue
            }
            for byte in utf8 {
                output[written] = byte
                written &+= 1
            }
            i &+= length
        }
        return written
    }
}

/// Comparison of byte runs.
package enum RawBytes {
    @inlinable
    package static func equal(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
        guard a.count == b.count else { return false }
        var i = 0
        while i &+ 8 <= a.count {
            if a.loadUnaligned(fromByteOffset: i, as: UInt64.self) != b.loadUnaligned(fromByteOffset: i, as: UInt64.self) {
                return false
            }
            i &+= 8
        }
        while i < a.count {
            if a[i] != b[i] { return false }
            i &+= 1
        }
        return true
    }

    /// Below, at or above zero: lexicographic by unsigned byte, a prefix before what it begins.
    @inlinable
    package static func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
        let common = min(a.count, b.count)
        var i = 0
        while i &+ 8 <= common {
            let x = UInt64(bigEndian: a.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            let y = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: i, as: UInt64.self))
            if x != y { return x < y ? -1 : 1 }
            i &+= 8
        }
        while i < common {
            if a[i] != b[i] { return a[i] < b[i] ? -1 : 1 }
            i &+= 1
        }
        return a.count - b.count
    }
}
