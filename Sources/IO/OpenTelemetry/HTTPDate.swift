internal import Glibc

/// A time as HTTP writes it (RFC 9110, section 5.6.7, the preferred form alone).
enum HTTPDate {
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// - Parameter now: Seconds since 1970.
    /// - Returns: Seconds, not negative; nil for what is no such time.
    static func seconds(_ text: String, after now: Int) -> Int? {
        let words = text.split(separator: " ")
        let clock = words.count == 6 ? words[4].split(separator: ":").map { Int32($0) ?? -1 } : []
        guard clock.count == 3, clock.allSatisfy({ (0...60).contains($0) }), words[5] == "GMT", let day = Int32(words[1]), let year = Int32(words[3]),
            let month = Self.months.firstIndex(of: String(words[2]))
        else { return nil }
        var fields = tm()
        (fields.tm_year, fields.tm_mon, fields.tm_mday) = (year &- 1900, Int32(month), day)
        (fields.tm_hour, fields.tm_min, fields.tm_sec) = (clock[0], clock[1], clock[2])
        return max(0, timegm(&fields) - now)
    }
}
