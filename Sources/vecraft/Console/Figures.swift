internal import Glibc
package import Primitives

/// Figures as people read them.
package enum Figures {
    /// "25,000"
    package static func count(_ value: some BinaryInteger) -> String {
        var text = ""
        let digits = String(value.magnitude)
        for (position, digit) in digits.enumerated() {
            if position > 0, (digits.utf8.count - position) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return value < 0 ? "-" + text : text
    }

    /// "3 points", "1 point", "2 entries"
    package static func count(_ value: some BinaryInteger, _ noun: String, _ plural: String? = nil) -> String {
        "\(Self.count(value)) \(value == 1 ? noun : plural ?? noun + "s")"
    }

    /// "1.8 MiB"; binary units, one decimal above a KiB.
    package static func bytes(_ value: UInt64) -> String {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"]
        var amount = Double(value)
        var unit = 0
        while amount >= 1024, unit < units.count - 1 {
            amount /= 1024
            unit += 1
        }
        return unit == 0 ? "\(value) B" : "\(Self.decimal(amount, 1)) \(units[unit])"
    }

    /// "0.4231"
    package static func decimal(_ value: Double, _ places: Int) -> String {
        guard value.isFinite else { return "\(value)" }
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        let scaled = (value * scale).rounded()
        guard abs(scaled) < 9e15 else { return "\(value)" }
        let whole = Int64(scaled)
        let digits = String(whole.magnitude)
        let padded = String(repeating: "0", count: max(0, places + 1 - digits.utf8.count)) + digits
        let sign = whole < 0 ? "-" : ""
        return places == 0 ? sign + padded : "\(sign)\(padded.dropLast(places)).\(padded.suffix(places))"
    }

    /// Milliseconds with as many decimals as say something: "0.42 ms", "3.1 ms", "120 ms".
    package static func milliseconds(_ value: Double) -> String {
        "\(Self.decimal(value, value < 1 ? 2 : value < 10 ? 1 : 0)) ms"
    }

    /// "0:07", "12:31", "1:02:00"
    package static func clock(_ duration: Duration) -> String {
        let seconds = max(0, duration.components.seconds)
        func two(_ value: Int64) -> String { value < 10 ? "0\(value)" : "\(value)" }
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60)
        return hours > 0 ? "\(hours):\(two(minutes)):\(two(seconds % 60))" : "\(minutes):\(two(seconds % 60))"
    }

    /// "3 days 4 h", "5 h 12 min", "3 min 20 s", "12.4 s", "120 ms": two units at most.
    package static func duration(_ duration: Duration) -> String {
        let total = duration.seconds
        switch total {
        case ..<1: return Self.milliseconds(total * 1000)
        case ..<60: return "\(Self.decimal(total, 1)) s"
        case ..<3600: return "\(Int(total) / 60) min \(Int(total) % 60) s"
        case ..<86_400: return "\(Int(total) / 3600) h \(Int(total) / 60 % 60) min"
        default: return "\(Self.count(Int(total) / 86_400, "day")) \(Int(total) / 3600 % 24) h"
        }
    }

    /// The physical part of a hybrid logical clock: "2026-11-22 20:15:03.123 UTC".
    package static func time(_ hlc: HLCTimestamp) -> String {
        var seconds = time_t(hlc.milliseconds / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func fill(_ value: some BinaryInteger, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
        }
        let date = "\(fill(parts.tm_year + 1900, 4))-\(fill(parts.tm_mon + 1, 2))-\(fill(parts.tm_mday, 2))"
        let time = "\(fill(parts.tm_hour, 2)):\(fill(parts.tm_min, 2)):\(fill(parts.tm_sec, 2))"
        return "\(date) \(time).\(fill(hlc.milliseconds % 1000, 3)) UTC"
    }
}

extension Duration {
    /// The whole as seconds.
    package var seconds: Double { Double(self.components.seconds) + Double(self.components.attoseconds) * 1e-18 }
}
