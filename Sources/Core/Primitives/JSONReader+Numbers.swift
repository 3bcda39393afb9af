/// The text of a number, taken apart: `(-1)^negative * mantissa * 10^exponent`, exact unless digits were dropped.
struct DecimalToken {
    var negative = false
    /// The first 19 significant digits; they always fit.
    var mantissa: UInt64 = 0
    var exponent = 0
    /// More than 19 significant digits.
    var truncated = false
    /// No point and no exponent.
    var integral = true

    /// 10^0 to 10^22: all that a double holds exactly.
    static let powers: [Double] = [
        1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
        1e21, 1e22,
    ]

    /// The doubles nearest to 10^0 to 10^-22.
    static let fractions: [Double] = [
        1e0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-11, 1e-12, 1e-13, 1e-14, 1e-15, 1e-16, 1e-17,
        1e-18, 1e-19, 1e-20, 1e-21, 1e-22,
    ]

    /// The value if it is an integer by spelling and fits.
    var integer: Int64? {
        guard self.integral, !self.truncated, self.exponent == 0 else { return nil }
        if self.negative {
            return self.mantissa <= 1 << 63 ? Int64(truncatingIfNeeded: 0 &- self.mantissa) : nil
        }
        return Int64(exactly: self.mantissa)
    }

    /// The nearest double, when one correctly rounded operation on two exact doubles gives it
    /// (Clinger, "How to read floating point numbers accurately", 1990).
    var quickDouble: Double? {
        guard !self.truncated, self.mantissa <= 1 << 53, abs(self.exponent) <= 22 else {
            return self.mantissa == 0 ? (self.negative ? -0.0 : 0) : nil
        }
        let magnitude = Double(self.mantissa)
        let value = self.exponent < 0 ? magnitude / Self.powers[-self.exponent] : magnitude * Self.powers[self.exponent]
        return self.negative ? -value : value
    }
}

extension JSONReader {
    mutating func scanNumber() throws(VecraftError) -> JSONNumber {
        let start = self.position
        let token = try self.scanDecimal()
        if let integer = token.integer { return .integer(integer) }
        if let double = token.quickDouble { return .double(double) }
        return .double(try self.slowDouble(start))
    }

    /// Checks a number; its value is looked at only where it might not be finite.
    mutating func passNumber() throws(VecraftError) {
        let start = self.position
        let token = try self.scanDecimal()
        if token.exponent > 280, token.mantissa != 0 { _ = try self.slowDouble(start) }
    }

    private func slowDouble(_ start: Int) throws(VecraftError) -> Double {
        let text = String(decoding: UnsafeRawBufferPointer(rebasing: self.raw[start..<self.position]), as: UTF8.self)
        guard let value = Double(text), value.isFinite else { throw self.fault("number out of range", at: start) }
        return value
    }

    /// Passes a number by the grammar of RFC 8259 section 6 and takes it apart.
    @inline(__always)
    mutating func scanDecimal() throws(VecraftError) -> DecimalToken {
        var token = DecimalToken()
        var i = self.position
        let end = self.raw.count
        if i < end, self.raw[i] == UInt8(ascii: "-") {
            token.negative = true
            i &+= 1
        }
        guard i < end, self.raw[i] &- 0x30 < 10 else {
            throw self.fault(token.negative ? "expected a digit" : "expected a number", at: i)
        }
        var digits = 0
        if self.raw[i] == 0x30 {
            i &+= 1
            if i < end, self.raw[i] &- 0x30 < 10 { throw self.fault("leading zero", at: i &- 1) }
        } else {
            i = self.scanDigits(from: i, &token, &digits, fraction: false)
        }
        if i < end, self.raw[i] == UInt8(ascii: ".") {
            token.integral = false
            let first = i &+ 1
            i = self.scanDigits(from: first, &token, &digits, fraction: true)
            if i == first { throw self.fault("expected a digit after the point", at: i) }
        }
        if i < end, self.raw[i] | 0x20 == UInt8(ascii: "e") {
            token.integral = false
            i = try self.scanExponent(from: i &+ 1, &token)
        }
        self.position = i
        return token
    }

    @inline(__always)
    private func scanDigits(from start: Int, _ token: inout DecimalToken, _ digits: inout Int, fraction: Bool) -> Int {
        var i = start
        var mantissa = token.mantissa
        // Eight digits at a time while they surely fit.
        while digits &+ 8 <= 19, i &+ 8 <= self.raw.count, let eight = Self.eightDigits(self.raw, at: i) {
            // Leading zeros of a fraction are not significant.
            if mantissa != 0 || eight != 0 { digits &+= 8 }
            mantissa = mantissa &* 100_000_000 &+ eight
            i &+= 8
        }
        while i < self.raw.count {
            let digit = self.raw[i] &- 0x30
            if digit >= 10 { break }
            if digits < 19 {
                mantissa = mantissa &* 10 &+ UInt64(digit)
                if mantissa != 0 { digits &+= 1 }
            } else {
                token.truncated = token.truncated || digit != 0
                token.exponent &+= 1
            }
            i &+= 1
        }
        token.mantissa = mantissa
        if fraction { token.exponent &-= i &- start }
        return i
    }

    /// The value of eight bytes, if all are digits. The caller knows that they are in the buffer.
    @inline(__always)
    static func eightDigits(_ raw: UnsafeRawBufferPointer, at i: Int) -> UInt64? {
        let word = UInt64(littleEndian: raw.loadUnaligned(fromByteOffset: i, as: UInt64.self))
        let high = word & 0xf0f0_f0f0_f0f0_f0f0
        let carry = (word &+ 0x0606_0606_0606_0606) & 0xf0f0_f0f0_f0f0_f0f0
        guard high == 0x3030_3030_3030_3030, carry == high else { return nil }
        return self.eightDigits(word)
    }

    /// The value of eight digits (or zero bytes, which count as 0), the first in the lowest byte: digits to pairs, pairs to
    /// fours, fours to eight, each by a multiplication by 10^n * 2^k + 1 and a shift.
    @inline(__always)
    static func eightDigits(_ word: UInt64) -> UInt64 {
        let pairs = ((word & 0x0f0f_0f0f_0f0f_0f0f) &* 2561) >> 8
        let fours = ((pairs & 0x00ff_00ff_00ff_00ff) &* 6_553_601) >> 16
        return ((fours & 0x0000_ffff_0000_ffff) &* 42_949_672_960_001) >> 32
    }

    private func scanExponent(from start: Int, _ token: inout DecimalToken) throws(VecraftError) -> Int {
        var i = start
        var negative = false
        if i < self.raw.count, self.raw[i] == UInt8(ascii: "-") || self.raw[i] == UInt8(ascii: "+") {
            negative = self.raw[i] == UInt8(ascii: "-")
            i &+= 1
        }
        let first = i
        var value = 0
        while i < self.raw.count, self.raw[i] &- 0x30 < 10 {
            // Beyond this every finite text is zero or out of range; the cap keeps the sum from overflowing.
            if value < 1_000_000_000 { value = value &* 10 &+ Int(self.raw[i] &- 0x30) }
            i &+= 1
        }
        if i == first { throw self.fault("expected a digit of the exponent", at: i) }
        token.exponent &+= negative ? -value : value
        return i
    }
}
