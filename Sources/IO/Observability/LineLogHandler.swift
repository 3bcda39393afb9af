import Glibc
package import Logging
import Primitives

/// Writes each event as one line: constant text first, then what belongs to it, so that lines can be searched for and
/// counted.
package struct LineLogHandler: LogHandler {
    /// Longest metadata value kept; a line then stays well below what a collector takes. Bytes.
    package static let maximumValueBytes = 4_096

    private let label: String
    private let control: LogControl
    private var ownLevel: Logger.Level?
    package var metadata: Logger.Metadata = [:]
    package var metadataProvider: Logger.MetadataProvider?

    package init(label: String, control: LogControl, metadataProvider: Logger.MetadataProvider? = nil) {
        self.label = label
        self.control = control
        self.metadataProvider = metadataProvider
    }

    /// The process's level, unless this logger was given one of its own.
    package var logLevel: Logger.Level {
        get { self.ownLevel ?? self.control.level }
        set { self.ownLevel = newValue }
    }

    package subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    package func log(event: LogEvent) {
        var fields = self.metadata
        if let provided = self.metadataProvider?.get() { fields.merge(provided) { $1 } }
        if let given = event.metadata { fields.merge(given) { $1 } }
        if let error = event.error { fields["error"] = "\(error)" }
        let sorted = fields.sorted { $0.key < $1.key }.map { ($0.key, Self.bounded("\($0.value)")) }
        let time = Self.timestamp(nanoseconds: SystemTime.nanoseconds)
        let message = Self.bounded(event.message.description)
        var line: [UInt8]
        switch self.control.format {
        case .text:
            let level = event.level.rawValue
            line = Array(
                "\(time) \(level)\(String(repeating: " ", count: max(0, 8 - level.count))) \(self.label): ".utf8)
            line += Self.printable(message).utf8
            for (key, value) in sorted { line += " \(Self.printable(key))=\(Self.quotedIfNeeded(value))".utf8 }
        case .json:
            var json = JSONWriter()
            json.beginObject()
            for (key, value) in [
                ("time", time), ("level", event.level.rawValue), ("logger", self.label), ("message", message),
            ] {
                json.key(key)
                json.string(value)
            }
            if !sorted.isEmpty {
                json.key("metadata")
                json.beginObject()
                for (key, value) in sorted {
                    json.key(key)
                    json.string(value)
                }
                json.endObject()
            }
            json.endObject()
            line = json.bytes
        }
        line.append(0x0a)
        self.control.write(line, level: event.level)
    }

    private static func bounded(_ text: String) -> String {
        guard text.utf8.count > Self.maximumValueBytes else { return text }
        return String(decoding: text.utf8.prefix(Self.maximumValueBytes), as: UTF8.self) + "...[cut]"
    }

    /// Without control characters: a value must not be able to forge a line or steer a terminal.
    private static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: Self.isControl) else { return text }
        var printable = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": printable += "\\n"
            case "\t": printable += "\\t"
            case _ where Self.isControl(scalar): printable += "\\u{\(String(scalar.value, radix: 16))}"
            default: printable.unicodeScalars.append(scalar)
            }
        }
        return printable
    }

    /// C0, DEL and C1: terminals take U+009B for an escape sequence as well.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value)
    }

    private static func quotedIfNeeded(_ text: String) -> String {
        let plain = !text.isEmpty && text.utf8.allSatisfy { $0 != 0x20 && $0 != 0x22 && $0 != 0x3d }
        let printable = Self.printable(text)
        if plain, printable == text { return text }
        return "\"" + printable.replacing("\"", with: "\\\"") + "\""
    }

    /// RFC 3339 in UTC with milliseconds.
    static func timestamp(nanoseconds: UInt64) -> String {
        var seconds = time_t(nanoseconds / 1_000_000_000)
        var fields = tm()
        gmtime_r(&seconds, &fields)
        func padded(_ value: Int, _ width: Int) -> String {
            let digits = String(value)
            return String(repeating: "0", count: max(0, width - digits.count)) + digits
        }
        let date =
            "\(padded(Int(fields.tm_year) + 1900, 4))-\(padded(Int(fields.tm_mon) + 1, 2))-\(padded(Int(fields.tm_mday), 2))"
        let time = "\(padded(Int(fields.tm_hour), 2)):\(padded(Int(fields.tm_min), 2)):\(padded(Int(fields.tm_sec), 2))"
        return "\(date)T\(time).\(padded(Int(nanoseconds / 1_000_000 % 1_000), 3))Z"
    }
}

/// The process's standard error.
package enum StandardError {
    /// Writes all of it. A line goes out in one call, so lines of several threads do not mix in a pipe or file.
    @Sendable package static func write(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { raw in
            var done = 0
            while done < raw.count {
                let count = Glibc.write(STDERR_FILENO, raw.baseAddress! + done, raw.count - done)
                if count < 0, errno == EINTR { continue }
                // A closed or full standard error has nobody to be told of it.
                guard count > 0 else { return }
                done += count
            }
        }
    }
}
