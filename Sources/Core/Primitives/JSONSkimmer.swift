/// Passes over JSON that was validated when it was accepted, several times faster than ``JSONReader``.
///
/// It trusts the grammar but never reads outside the buffer; on damaged text it stops early (`isDamaged`).
package struct JSONSkimmer {
    package let raw: UnsafeRawBufferPointer
    package var position: Int
    package var isDamaged = false

    @inlinable @inline(__always)
    package init(_ raw: UnsafeRawBufferPointer, at position: Int = 0) {
        self.raw = raw
        self.position = position
    }

    /// First byte of the value that comes next; 0 at the end.
    @inlinable @inline(__always)
    package mutating func peek() -> UInt8 {
        var i = self.position
        while i < self.raw.count {
            let byte = self.raw[i]
            if byte > 0x20 {
                self.position = i
                return byte
            }
            i &+= 1
        }
        self.position = i
        return 0
    }

    /// Steps into the object or array that comes next; false, and nothing is passed, if there is none.
    @inlinable @inline(__always)
    package mutating func enter(_ bracket: UInt8) -> Bool {
        guard self.peek() == bracket else { return false }
        self.position &+= 1
        return true
    }

    /// In an object: the next key, standing before its value. Nil at the end, which is passed.
    @inlinable
    package mutating func nextKey() -> JSONString? {
        var byte = self.peek()
        if byte == UInt8(ascii: ",") {
            self.position &+= 1
            byte = self.peek()
        }
        guard byte == 0x22 else {
            if byte == UInt8(ascii: "}") { self.position &+= 1 } else { self.isDamaged = true }
            return nil
        }
        let key = self.readString()
        guard self.peek() == UInt8(ascii: ":"), !self.isDamaged else {
            self.isDamaged = true
            return nil
        }
        self.position &+= 1
        return key
    }

    /// In an array: whether another element comes. At the end, which is passed, false.
    @inlinable
    package mutating func nextElement() -> Bool {
        var byte = self.peek()
        if byte == UInt8(ascii: ",") {
            self.position &+= 1
            byte = self.peek()
        }
        if byte != 0, byte != UInt8(ascii: "]") { return !self.isDamaged }
        if byte == 0 { self.isDamaged = true } else { self.position &+= 1 }
        return false
    }

    /// - Precondition: `peek()` is a quote.
    @inlinable
    package mutating func readString() -> JSONString {
        let start = self.position &+ 1
        var isEscaped = false
        var i = start
        while true {
            i = JSONScanner.quoteOrBackslash(self.raw, from: i)
            if i >= self.raw.count {
                self.isDamaged = true
                self.position = self.raw.count
                return JSONString(raw: JSONScanner.slice(self.raw, self.raw.count, self.raw.count), isEscaped: false)
            }
            if self.raw[i] == 0x22 { break }
            isEscaped = true
            i = min(i &+ 2, self.raw.count)
        }
        self.position = i &+ 1
        return JSONString(raw: JSONScanner.slice(self.raw, start, i), isEscaped: isEscaped)
    }

    /// - Precondition: `peek()` is a digit or a minus.
    package mutating func readNumber() -> JSONNumber {
        var reader = JSONReader(self.raw, at: self.position)
        guard let number = try? reader.readNumber() else {
            self.isDamaged = true
            self.position = self.raw.count
            return .integer(0)
        }
        self.position = reader.position
        return number
    }

    @inlinable
    package mutating func skipValue() {
        switch self.peek() {
        case 0x22: _ = self.readString()
        case UInt8(ascii: "{"), UInt8(ascii: "["): self.skipContainer()
        case 0: self.isDamaged = true
        default:
            // A number or a word ends where structure or white space begins.
            var i = self.position &+ 1
            while i < self.raw.count {
                let byte = self.raw[i]
                if byte <= 0x20 || byte == 0x2c || byte == 0x5d || byte == 0x7d { break }
                i &+= 1
            }
            self.position = i
        }
    }

    package mutating func skipContainer() {
        var depth = 0
        while self.position < self.raw.count {
            switch self.raw[self.position] {
            case 0x22:
                _ = self.readString()
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth &+= 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"): depth &-= 1
            default: break
            }
            self.position &+= 1
            if depth == 0 { return }
        }
        self.isDamaged = true
    }
}
