/// W3C trace context: where a request stands in its caller's trace.
package struct TraceContext: Hashable, Sendable {
    /// 16 bytes as two big-endian words; never both zero.
    package var traceHigh: UInt64
    package var traceLow: UInt64
    /// Never zero.
    package var spanID: UInt64
    package var sampled: Bool

    package init(traceHigh: UInt64, traceLow: UInt64, spanID: UInt64, sampled: Bool) {
        self.traceHigh = traceHigh
        self.traceLow = traceLow
        self.spanID = spanID
        self.sampled = sampled
    }

    /// A new root; the caller hands in the randomness.
    package static func root(using rng: inout some RandomNumberGenerator, sampled: Bool = true) -> TraceContext {
        TraceContext(
            traceHigh: rng.next() | 1 << 32, traceLow: rng.next(), spanID: rng.next() | 1, sampled: sampled)
    }

    /// The same trace, one span further down.
    package func child(using rng: inout some RandomNumberGenerator) -> TraceContext {
        TraceContext(traceHigh: self.traceHigh, traceLow: self.traceLow, spanID: rng.next() | 1, sampled: self.sampled)
    }

    /// Parses a `traceparent` header (W3C Trace Context level 1, section 3.2). Nil if malformed: start a new root then.
    package init?(traceparent: some StringProtocol) {
        guard
            let parsed = traceparent.utf8.withContiguousStorageIfAvailable(Self.parse)
                ?? Array(traceparent.utf8).withUnsafeBufferPointer(Self.parse)
        else { return nil }
        self = parsed
    }

    /// By place: each request may bring one. Version, trace, span and flags, of 2, 32, 16 and 2 digits, with dashes between; a later
    /// version may have more behind another dash.
    private static func parse(_ text: UnsafeBufferPointer<UInt8>) -> TraceContext? {
        let dash = UInt8(ascii: "-")
        guard text.count >= 55, text[2] == dash, text[35] == dash, text[52] == dash,
            let version = Self.hex(text[0..<2]), version != 0xff,
            text.count == 55 || version != 0 && text[55] == dash,
            let high = Self.hex(text[3..<19]), let low = Self.hex(text[19..<35]), let span = Self.hex(text[36..<52]),
            let flags = Self.hex(text[53..<55]), high | low != 0, span != 0
        else { return nil }
        return TraceContext(traceHigh: high, traceLow: low, spanID: span, sampled: flags & 1 == 1)
    }

    package var traceparent: String { "00-\(self.traceIDHex)-\(self.spanIDHex)-\(self.sampled ? "01" : "00")" }
    package var traceIDHex: String { Self.hex(self.traceHigh) + Self.hex(self.traceLow) }
    package var spanIDHex: String { Self.hex(self.spanID) }

    /// Sixteen lower-case digits.
    package static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }

    /// Lower-case digits only, as the specification demands; nil on anything else.
    package static func hex(_ text: some StringProtocol) -> UInt64? { Self.hex(text.utf8) }

    private static func hex(_ text: some Sequence<UInt8>) -> UInt64? {
        var value: UInt64 = 0
        for byte in text {
            switch byte {
            case 0x30...0x39: value = value << 4 | UInt64(byte - 0x30)
            case 0x61...0x66: value = value << 4 | UInt64(byte - 0x61 + 10)
            default: return nil
            }
        }
        return value
    }
}
