/// The byte level of JSON (RFC 8259): runs of text, UTF-8, escapes, and validation of a whole document.
package enum JSONScanner {
    /// Checks that `raw` is exactly one JSON object: grammar, UTF-8, no unpaired surrogate escapes, finite numbers.
    ///
    /// - Parameter maxDepth: Containers that may enclose one another; `{"a":{}}` has depth 2.
    /// - Throws: `.invalidArgument`, reason `INVALID_JSON`, naming the byte.
    package static func validateObject(
        _ raw: UnsafeRawBufferPointer, maxDepth: Int = Limits.payloadDepth
    ) throws(VecraftError) {
        var reader = JSONReader(raw, maxDepth: maxDepth)
        guard try reader.peek() == .object else { throw reader.fault("expected an object") }
        _ = try reader.skipValue()
        try reader.finish()
    }

    /// Checks that `raw` is exactly one JSON value of any kind.
    package static func validate(
        _ raw: UnsafeRawBufferPointer, maxDepth: Int = Limits.payloadDepth
    ) throws(VecraftError) {
        var reader = JSONReader(raw, maxDepth: maxDepth)
        _ = try reader.skipValue()
        try reader.finish()
    }

    // MARK: Runs. Eight bytes at a time (Mycroft's zero-byte test: the lowest flagged byte is exact, higher ones may be false).
    // The standard library's SIMD masks come out as sixteen scalar comparisons here and are many times slower.

    /// First index at or after `start` of a quote, backslash or control character; `raw.count` if there is none.
    static func plainRun(_ raw: UnsafeRawBufferPointer, from start: Int) -> Int {
        var i = start
        while i &+ 8 <= raw.count {
            let flags = Self.specials(Self.word(raw, i))
            if flags != 0 { return i &+ flags.trailingZeroBitCount >> 3 }
            i &+= 8
        }
        while i < raw.count, raw[i] >= 0x20, raw[i] != 0x22, raw[i] != 0x5c { i &+= 1 }
        return i
    }

    /// Like ``plainRun(_:from:)`` but stops at bytes that are not ASCII, too.
    @inline(__always)
    static func asciiRun(_ raw: UnsafeRawBufferPointer, from start: Int) -> Int {
        var i = start
        while i &+ 8 <= raw.count {
            let word = Self.word(raw, i)
            let flags = Self.specials(word) | word & 0x8080_8080_8080_8080
            if flags != 0 { return i &+ flags.trailingZeroBitCount >> 3 }
            i &+= 8
        }
        while i < raw.count, raw[i] >= 0x20, raw[i] < 0x80, raw[i] != 0x22, raw[i] != 0x5c { i &+= 1 }
        return i
    }

    /// First index at or after `start` of a quote or backslash; `raw.count` if there is none.
    @inlinable @inline(__always)
    package static func quoteOrBackslash(_ raw: UnsafeRawBufferPointer, from start: Int) -> Int {
        var i = start
        while i &+ 8 <= raw.count {
            let flags = Self.quotes(Self.word(raw, i))
            if flags != 0 { return i &+ flags.trailingZeroBitCount >> 3 }
            i &+= 8
        }
        while i < raw.count, raw[i] != 0x22, raw[i] != 0x5c { i &+= 1 }
        return i
    }

    @inlinable @inline(__always)
    static func word(_ raw: UnsafeRawBufferPointer, _ i: Int) -> UInt64 {
        UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
    }

    /// High bit of each byte that is a quote or a backslash.
    @inlinable @inline(__always)
    static func quotes(_ word: UInt64) -> UInt64 {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quote = word ^ 0x2222_2222_2222_2222
        let slash = word ^ 0x5c5c_5c5c_5c5c_5c5c
        return ((quote &- ones) & ~quote | (slash &- ones) & ~slash) & 0x8080_8080_8080_8080
    }

    /// Of those and of control characters.
    @inline(__always)
    private static func specials(_ word: UInt64) -> UInt64 {
        Self.quotes(word) | (word &- 0x2020_2020_2020_2020) & ~word & 0x8080_8080_8080_8080
    }

    /// Bytes `start ..< end`; unlike a rebased slice without checks, for bounds that a scan has just found.
    @inlinable @inline(__always)
    package static func slice(_ raw: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> UnsafeRawBufferPointer {
        assert(0 <= start && start <= end && end <= raw.count)
        return UnsafeRawBufferPointer(start: raw.baseAddress.map { $0 + start }, count: end &- start)
    }

    // MARK: UTF-8

    /// Length of the well-formed multi-byte sequence at `i`, or 0 (Unicode 15, table 3-7).
    static func utf8Sequence(_ raw: UnsafeRawBufferPointer, at i: Int) -> Int {
        let lead = raw[i]
        let left = raw.count &- i
        @inline(__always) func tail(_ offset: Int) -> Bool { raw[i &+ offset] & 0xc0 == 0x80 }
        switch lead {
        case 0xc2...0xdf:
            return left >= 2 && tail(1) ? 2 : 0
        case 0xe0...0xef:
            guard left >= 3, tail(1), tail(2) else { return 0 }
            let second = raw[i &+ 1]
            if lead == 0xe0 && second < 0xa0 || lead == 0xed && second > 0x9f { return 0 }
            return 3
        case 0xf0...0xf4:
            guard left >= 4, tail(1), tail(2), tail(3) else { return 0 }
            let second = raw[i &+ 1]
            if lead == 0xf0 && second < 0x90 || lead == 0xf4 && second > 0x8f { return 0 }
            return 4
        default:
            return 0
        }
    }

    /// Index of the first byte that is not well-formed UTF-8; nil if all is.
    package static func firstInvalidUTF8(_ raw: UnsafeRawBufferPointer) -> Int? {
        var i = 0
        while i < raw.count {
            if i &+ 8 <= raw.count, raw.loadUnaligned(fromByteOffset: i, as: UInt64.self) & 0x8080_8080_8080_8080 == 0 {
                i &+= 8
            } else if raw[i] < 0x80 {
                i &+= 1
            } else {
                let length = Self.utf8Sequence(raw, at: i)
                if length == 0 { return i }
                i &+= length
            }
        }
        return nil
    }

    // MARK: Escapes

    /// One escape sequence at `i` (a backslash): the scalar it stands for and its length, or why it is malformed.
    enum Escape {
        case scalar(UInt32, length: Int)
        case malformed(String)
    }

    static func escape(_ raw: UnsafeRawBufferPointer, at i: Int) -> Escape {
        guard i + 1 < raw.count else { return .malformed("unfinished escape") }
        switch raw[i + 1] {
        case 0x22: return .scalar(0x22, length: 2)
        case 0x5c: return .scalar(0x5c, length: 2)
        case 0x2f: return .scalar(0x2f, length: 2)
        case UInt8(ascii: "b"): return .scalar(0x08, length: 2)
        case UInt8(ascii: "f"): return .scalar(0x0c, length: 2)
        case UInt8(ascii: "n"): return .scalar(0x0a, length: 2)
        case UInt8(ascii: "r"): return .scalar(0x0d, length: 2)
        case UInt8(ascii: "t"): return .scalar(0x09, length: 2)
        case UInt8(ascii: "u"): break
        default: return .malformed("unknown escape")
        }
        guard let unit = Self.hex4(raw, at: i + 2) else { return .malformed("malformed \\u escape") }
        if unit & 0xf800 != 0xd800 { return .scalar(unit, length: 6) }
        // A high surrogate must be followed by an escaped low one.
        guard unit < 0xdc00, i + 7 < raw.count, raw[i + 6] == 0x5c, raw[i + 7] == UInt8(ascii: "u"),
            let low = Self.hex4(raw, at: i + 8), low & 0xfc00 == 0xdc00
        else { return .malformed("unpaired surrogate") }
        return .scalar(0x10000 + (unit & 0x3ff) << 10 + (low & 0x3ff), length: 12)
    }

    private static func hex4(_ raw: UnsafeRawBufferPointer, at i: Int) -> UInt32? {
        guard i + 4 <= raw.count else { return nil }
        var value: UInt32 = 0
        for byte in raw[i..<i + 4] {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt32(byte - 0x30)
            case 0x41...0x46: value = value << 4 | UInt32(byte - 0x41 + 10)
            case 0x61...0x66: value = value << 4 | UInt32(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }
}
