import NIOCore
import Primitives

/// The small texts of gRPC over HTTP/2: grpc-message, grpc-timeout.
enum WireText {
    /// Percent-encodes the UTF-8 of a status message: everything but printable ASCII, and "%" itself.
    static func percentEncode(_ text: String) -> String {
        func isPlain(_ byte: UInt8) -> Bool { byte >= 0x20 && byte <= 0x7e && byte != UInt8(ascii: "%") }
        if text.utf8.allSatisfy(isPlain) { return text }
        let digits = Array("0123456789ABCDEF".utf8)
        var encoded: [UInt8] = []
        encoded.reserveCapacity(text.utf8.count * 2)
        for byte in text.utf8 {
            if isPlain(byte) {
                encoded.append(byte)
            } else {
                encoded += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }

    /// The reverse, lenient: a "%" without two hex digits stands for itself, bad UTF-8 is replaced.
    static func percentDecode(_ text: String) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return text }
        let bytes = Array(text.utf8)
        var decoded: [UInt8] = []
        var i = 0
        while i < bytes.count {
            if bytes[i] == UInt8(ascii: "%"), i + 2 < bytes.count, let high = self.hex(bytes[i + 1]),
                let low = self.hex(bytes[i + 2])
            {
                decoded.append(high << 4 | low)
                i += 3
            } else {
                decoded.append(bytes[i])
                i += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private static func hex(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    /// Reads "1 to 8 digits and a unit". A limit beyond a year is no limit anybody waits for, and would overflow.
    static func timeout(_ text: String) -> TimeAmount? {
        let bytes = text.utf8
        guard (2...9).contains(bytes.count), let unit = bytes.last else { return nil }
        var value: Int64 = 0
        for digit in bytes.dropLast() {
            guard digit >= UInt8(ascii: "0"), digit <= UInt8(ascii: "9") else { return nil }
            value = value * 10 + Int64(digit - UInt8(ascii: "0"))
        }
        let nanoseconds: Int64
        switch unit {
        case UInt8(ascii: "H"): nanoseconds = 3_600_000_000_000
        case UInt8(ascii: "M"): nanoseconds = 60_000_000_000
        case UInt8(ascii: "S"): nanoseconds = 1_000_000_000
        case UInt8(ascii: "m"): nanoseconds = 1_000_000
        case UInt8(ascii: "u"): nanoseconds = 1_000
        case UInt8(ascii: "n"): nanoseconds = 1
        default: return nil
        }
        let year: Int64 = 365 * 24 * 3_600_000_000_000
        let (product, overflow) = value.multipliedReportingOverflow(by: nanoseconds)
        return .nanoseconds(overflow ? year : min(product, year))
    }

    /// The finest unit whose 8 digits hold the time; never rounded down to nothing.
    static func timeout(_ amount: TimeAmount) -> String {
        let nanoseconds = max(amount.nanoseconds, 1)
        if nanoseconds < 100_000_000 { return "\(nanoseconds)n" }
        if nanoseconds < 100_000_000_000 { return "\(nanoseconds / 1_000)u" }
        if nanoseconds < 100_000_000_000_000 { return "\(nanoseconds / 1_000_000)m" }
        return "\(min(nanoseconds / 1_000_000_000, 99_999_999))S"
    }
}

extension TimeAmount {
    init(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        // Two centuries: what TimeAmount can hold.
        let clamped = max(min(seconds, 6_000_000_000), -6_000_000_000)
        self = .nanoseconds(clamped * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
