extension JSONReader {
    /// Reads an array of numbers, each rounded once to the nearest `Float`, and appends them.
    ///
    /// - Parameter limit: More elements than this are an error.
    /// - Throws: Also for a number that no finite `Float` is near to.
    package mutating func readFloats(into output: inout [Float], limit: Int = Limits.dimension) throws(VecraftError) {
        try self.beginArray()
        var count = 0
        while try self.nextElement() {
            guard count < limit else { throw self.fault("more than \(limit) numbers") }
            self.skipWhitespace()
            let quick = withUnsafeTemporaryAllocation(of: Float.self, capacity: 128) { chunk in
                let filled = self.quickFloats(chunk, limit: min(chunk.count, limit - count))
                output.append(contentsOf: UnsafeBufferPointer(rebasing: chunk[..<filled]))
                return filled
            }
            if quick == 0 { output.append(try self.scanFloat()) }
            count &+= max(quick, 1)
        }
    }

    /// Reads numbers of the common shape, with a comma and perhaps a space between them, as long as they come.
    ///
    /// - Returns: How many; the reader stands behind the last.
    private mutating func quickFloats(_ output: UnsafeMutableBufferPointer<Float>, limit: Int) -> Int {
        var count = 0
        var end = self.position
        while let value = self.quickFloat() {
            output[count] = value
            count &+= 1
            end = self.position
            guard count < limit, end &+ 2 < self.raw.count, self.raw[end] == UInt8(ascii: ",") else { break }
            let next = end &+ (self.raw[end &+ 1] == 0x20 ? 2 : 1)
            guard self.raw[next] &- 0x2d < 13 else { break }  // '-' to '9'
            self.position = next
        }
        // A comma with something else behind it is left to the careful loop.
        self.position = end
        return count
    }

    /// The common shape only: sign, digits, perhaps a point and digits, 18 at most, not at the buffer's very end.
    /// Nil, and nothing is passed, for every other number and for what is none.
    ///
    /// How many digits come is not foreseeable, so they are counted by a mask and taken at once instead of in a loop that
    /// the branch predictor would get wrong at each number's end.
    @inline(__always)
    private mutating func quickFloat() -> Float? {
        // Room for sign, ten digits, point, two eight-byte loads and three digits: no further bounds to check.
        guard self.position &+ 40 <= self.raw.count else { return nil }
        let sign: UInt32 = self.raw[self.position] == UInt8(ascii: "-") ? 1 : 0
        let start = self.position &+ Int(sign)
        let first = self.raw[start] &- 0x30
        guard first < 10 else { return nil }
        var mantissa = UInt64(first)
        var i = start &+ 1
        if first != 0 {
            while self.raw[i] &- 0x30 < 10, i &- start < 10 {
                mantissa = mantissa &* 10 &+ UInt64(self.raw[i] &- 0x30)
                i &+= 1
            }
        }
        var fraction = 0
        if self.raw[i] == UInt8(ascii: ".") {
            i &+= 1
            let (count, digits) = Self.leadingDigits(self.raw, at: i)
            if count == 0 { return nil }
            mantissa = mantissa &* Self.tens[count] &+ digits
            fraction = count
            if count == 8 {
                let (more, digits) = Self.leadingDigits(self.raw, at: i &+ 8)
                if i &- start &+ more > 12 { return nil }  // beyond 19 digits, which fit
                mantissa = mantissa &* Self.tens[more] &+ digits
                fraction &+= more
                // A double's text has 17 digits, and a zero or two before them.
                while fraction >= 16, fraction < 19, mantissa < 100_000_000_000_000_000, self.raw[i &+ fraction] &- 0x30 < 10 {
                    mantissa = mantissa &* 10 &+ UInt64(self.raw[i &+ fraction] &- 0x30)
                    fraction &+= 1
                }
            }
            i &+= fraction
        }
        let next = self.raw[i]
        if next &- 0x30 < 10 || next | 0x20 == UInt8(ascii: "e") || next == UInt8(ascii: ".") { return nil }
        guard let value = Self.float(mantissa, exponent: 0 &- fraction) else { return nil }
        self.position = i
        return Float(bitPattern: value.bitPattern | sign << 31)
    }

    private static let tens: [UInt64] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]

    /// How many of the eight bytes at `i` are digits before one that is none, and their value.
    @inline(__always)
    private static func leadingDigits(_ raw: UnsafeRawBufferPointer, at i: Int) -> (count: Int, value: UInt64) {
        let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
        let high: UInt64 = 0xf0f0_f0f0_f0f0_f0f0
        let digit: UInt64 = 0x3030_3030_3030_3030
        // A byte is a digit if its high nibble is 3, also after adding 6. A carry only reaches bytes behind a stranger.
        let strangers = (word & high ^ digit) | ((word &+ 0x0606_0606_0606_0606) & high ^ digit)
        let count = strangers.trailingZeroBitCount >> 3
        // Moved up so that zeros come before the digits; no digit at all is a shift by 64, which leaves nothing.
        return (count, Self.eightDigits(word << UInt64(64 &- count &* 8)))
    }

    private mutating func scanFloat() throws(VecraftError) -> Float {
        let start = self.position
        let token = try self.scanDecimal()
        if !token.truncated, let value = JSONReader.float(token.mantissa, exponent: token.exponent) {
            return token.negative ? -value : value
        }
        let text = String(decoding: JSONScanner.slice(self.raw, start, self.position), as: UTF8.self)
        guard let value = Float(text), value.isFinite else { throw self.fault("number out of a float's range", at: start) }
        return value
    }

    /// `mantissa * 10^exponent` as the nearest float, where doubles tell it; nil where they do not.
    ///
    /// At most three roundings (mantissa, power of ten, product), so the double is within three units of its last place.
    /// Rounding it to a float is right unless a midpoint of two floats (bit 28 of the significand, then zeros) lies that
    /// near. Float's subnormals, whose midpoints are elsewhere, are below 1e-22 and never come here. A product takes a
    /// third of the time of a quotient, which would be rounded once less.
    @inline(__always)
    private static func float(_ mantissa: UInt64, exponent: Int) -> Float? {
        if mantissa == 0 { return 0 }
        guard exponent >= -22, exponent <= 22, mantissa < 1 << 63 else { return nil }
        let magnitude = Double(Int64(truncatingIfNeeded: mantissa))
        let value = magnitude * (exponent <= 0 ? DecimalToken.fractions[0 &- exponent] : DecimalToken.powers[exponent])
        let tail = value.bitPattern & 0x1fff_ffff
        return value < 3e38 && tail &- (0x1000_0000 - 4) > 8 ? Float(value) : nil
    }
}
