extension JSONReader {
    @inline(__always)
    mutating func skipWhitespace() {
        var i = self.position
        while i < self.raw.count {
            let byte = self.raw[i]
            if byte > 0x20 || byte != 0x20 && byte != 0x0a && byte != 0x0d && byte != 0x09 { break }
            i &+= 1
        }
        self.position = i
    }

    mutating func open(_ bracket: UInt8, _ expectation: String) throws(VecraftError) {
        self.skipWhitespace()
        guard self.position < self.raw.count, self.raw[self.position] == bracket else { throw self.fault(expectation) }
        guard self.depth < self.maxDepth else { throw self.fault("nested deeper than \(self.maxDepth)") }
        self.position &+= 1
        self.depth &+= 1
        self.isFirst = true
    }

    mutating func nextMember(closing bracket: UInt8) throws(VecraftError) -> Bool {
        precondition(self.depth > 0, "no container is open")
        self.skipWhitespace()
        guard self.position < self.raw.count else { throw self.fault("unexpected end") }
        let byte = self.raw[self.position]
        if byte == bracket {
            self.position &+= 1
            self.depth &-= 1
            self.isFirst = false
            return false
        }
        if self.isFirst {
            self.isFirst = false
            return true
        }
        guard byte == UInt8(ascii: ",") else { throw self.fault("expected ',' or '\(Character(Unicode.Scalar(bracket)))'") }
        self.position &+= 1
        return true
    }

    @inline(__always)
    mutating func readColon() throws(VecraftError) {
        self.skipWhitespace()
        guard self.position < self.raw.count, self.raw[self.position] == UInt8(ascii: ":") else {
            throw self.fault("expected ':'")
        }
        self.position &+= 1
    }

    mutating func scanWord(_ word: StaticString) throws(VecraftError) {
        let count = word.utf8CodeUnitCount
        guard self.raw.count &- self.position >= count,
            RawBytes.equal(
                UnsafeRawBufferPointer(rebasing: self.raw[self.position..<self.position &+ count]),
                UnsafeRawBufferPointer(start: word.utf8Start, count: count))
        else { throw self.fault("expected \(word)") }
        self.position &+= count
    }

    /// Stands on the opening quote; passes the closing one.
    mutating func scanString() throws(VecraftError) -> JSONString {
        let start = self.position &+ 1
        var i = start
        var isEscaped = false
        while true {
            i = JSONScanner.asciiRun(self.raw, from: i)
            guard i < self.raw.count else { throw self.fault("unfinished string", at: start &- 1) }
            let byte = self.raw[i]
            if byte == 0x22 { break }
            if byte >= 0x80 {
                let length = JSONScanner.utf8Sequence(self.raw, at: i)
                guard length > 0 else { throw self.fault("invalid UTF-8", at: i) }
                i &+= length
            } else if byte == 0x5c {
                isEscaped = true
                switch JSONScanner.escape(self.raw, at: i) {
                case .scalar(_, let length): i &+= length
                case .malformed(let what): throw self.fault(what, at: i)
                }
            } else {
                throw self.fault("control character in a string", at: i)
            }
        }
        self.position = i &+ 1
        return JSONString(raw: JSONScanner.slice(self.raw, start, i), isEscaped: isEscaped)
    }

    /// Checks one value without recursion: bit n of `objects` says whether the n-th open container is an object.
    mutating func scanValue() throws(VecraftError) {
        var objects: UInt64 = 0
        var level = 0
        while true {
            self.skipWhitespace()
            guard self.position < self.raw.count else { throw self.fault("unexpected end") }
            switch self.raw[self.position] {
            case 0x22: _ = try self.scanString()
            case UInt8(ascii: "-"), 0x30...0x39: try self.passNumber()
            case UInt8(ascii: "t"): try self.scanWord("true")
            case UInt8(ascii: "f"): try self.scanWord("false")
            case UInt8(ascii: "n"): try self.scanWord("null")
            case let byte where byte == UInt8(ascii: "{") || byte == UInt8(ascii: "["):
                guard self.depth &+ level < self.maxDepth else { throw self.fault("nested deeper than \(self.maxDepth)") }
                self.position &+= 1
                self.skipWhitespace()
                let isObject = byte == UInt8(ascii: "{")
                if self.position < self.raw.count, self.raw[self.position] == byte &+ 2 {  // '}' and ']' are two above
                    self.position &+= 1
                    break
                }
                objects = objects << 1 | (isObject ? 1 : 0)
                level &+= 1
                if isObject { try self.scanKey() }
                continue
            default: throw self.fault("expected a value")
            }
            // A value ended: close what closes here, then go on behind a comma.
            while true {
                if level == 0 { return }
                self.skipWhitespace()
                guard self.position < self.raw.count else { throw self.fault("unexpected end") }
                let byte = self.raw[self.position]
                let isObject = objects & 1 == 1
                if byte == UInt8(ascii: ",") {
                    self.position &+= 1
                    if isObject { try self.scanKey() }
                    break
                }
                guard byte == (isObject ? UInt8(ascii: "}") : UInt8(ascii: "]")) else {
                    throw self.fault(isObject ? "expected ',' or '}'" : "expected ',' or ']'")
                }
                self.position &+= 1
                objects >>= 1
                level &-= 1
            }
        }
    }

    private mutating func scanKey() throws(VecraftError) {
        self.skipWhitespace()
        guard self.position < self.raw.count, self.raw[self.position] == 0x22 else { throw self.fault("expected a key") }
        _ = try self.scanString()
        try self.readColon()
    }
}
