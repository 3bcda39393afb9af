internal import Glibc

/// What standard output or standard error can show: asked once, then handed to whatever writes.
package struct Terminal: Sendable {
    /// Columns; nil when the output is not a terminal, and then nothing is cut to fit.
    package var width: Int?
    package var colour: Bool
    /// The locale's character set is UTF-8.
    package var unicode: Bool

    package init(width: Int?, colour: Bool, unicode: Bool) {
        self.width = width
        self.colour = colour
        self.unicode = unicode
    }

    /// Plain text for files and pipes.
    package static let plain = Terminal(width: nil, colour: false, unicode: true)

    package static let output = Terminal(descriptor: STDOUT_FILENO)
    package static let errors = Terminal(descriptor: STDERR_FILENO)

    package var isInteractive: Bool { self.width != nil }
    package var style: Style { Style(enabled: self.colour) }

    package init(descriptor: Int32) {
        let isTerminal = isatty(descriptor) == 1
        // https://no-color.org: set and not empty means no colour, whatever its value.
        let refused = !(Environment["NO_COLOR"] ?? "").isEmpty || Environment["TERM"] == "dumb"
        self.colour = isTerminal && !refused
        self.width = isTerminal ? Self.columns(descriptor) : nil
        // POSIX: LC_ALL overrides LC_CTYPE overrides LANG. None set is the C locale, which modern terminals show as UTF-8
        // just the same, so only a locale that names another character set turns it off.
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { Environment[$0] }.first { !$0.isEmpty } ?? ""
        self.unicode = !locale.contains(".") || locale.lowercased().contains("utf")
    }

    private static func columns(_ descriptor: Int32) -> Int {
        var size = winsize()
        if ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 { return Int(size.ws_col) }
        return Environment["COLUMNS"].flatMap { Int($0) } ?? 80
    }
}

/// The process environment, read without Foundation.
package enum Environment {
    package static subscript(name: String) -> String? {
        guard let value = getenv(name) else { return nil }
        return String(cString: value)
    }
}

/// ANSI emphasis (ECMA-48, SGR), or nothing at all.
package struct Style: Sendable {
    package var enabled: Bool
    package init(enabled: Bool) { self.enabled = enabled }

    package func bold(_ text: String) -> String { self.wrap(text, "1") }
    package func dim(_ text: String) -> String { self.wrap(text, "2") }
    package func red(_ text: String) -> String { self.wrap(text, "31") }
    package func green(_ text: String) -> String { self.wrap(text, "32") }
    package func yellow(_ text: String) -> String { self.wrap(text, "33") }
    package func cyan(_ text: String) -> String { self.wrap(text, "36") }

    private func wrap(_ text: String, _ code: String) -> String {
        self.enabled && !text.isEmpty ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
    }
}
