/// How text looks in a terminal's cells.
package enum TextWidth {
    /// Columns that `text` takes; it holds no control characters (see ``printable(_:)``).
    package static func of(_ text: String) -> Int {
        var width = 0
        for character in text { width += Self.of(character) }
        return width
    }

    /// `text` cut to at most `columns`, ending in an ellipsis if anything was lost.
    package static func fit(_ text: String, _ columns: Int) -> String {
        guard columns > 0 else { return "" }
        var width = 0
        var kept = text.startIndex  // the end of what fits beside an ellipsis
        for index in text.indices {
            width += Self.of(text[index])
            if width > columns { return text[..<kept] + "…" }
            if width < columns { kept = text.index(after: index) }
        }
        return text
    }

    /// `text` filled with spaces to `columns`.
    package static func pad(_ text: String, _ columns: Int, right: Bool = false) -> String {
        let space = String(repeating: " ", count: max(0, columns - Self.of(text)))
        return right ? space + text : text + space
    }

    /// `text` in lines of at most `columns`, broken at spaces; a longer word stands on its own line.
    package static func wrap(_ text: String, _ columns: Int) -> [String] {
        var lines: [String] = []
        var line = ""
        for word in text.split(separator: " ") {
            if !line.isEmpty, Self.of(line) + 1 + Self.of(String(word)) > columns {
                lines.append(line)
                line = ""
            }
            line += line.isEmpty ? String(word) : " " + word
        }
        return line.isEmpty ? lines : lines + [line]
    }

    /// Stored text may hold anything, escape sequences included, and must not drive the reader's terminal: control
    /// characters are shown as escapes.
    package static func printable(_ text: String) -> String {
        guard text.unicodeScalars.contains(where: Self.isControl) else { return text }
        var shown = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\n": shown += "\\n"
            case "\t": shown += "\\t"
            case "\r": shown += "\\r"
            case let scalar where Self.isControl(scalar): shown += "\\u{\(String(scalar.value, radix: 16))}"
            default: shown.unicodeScalars.append(scalar)
            }
        }
        return shown
    }

    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        // Format characters include the bidirectional overrides, which can make one text look like another.
        case .control, .lineSeparator, .paragraphSeparator: true
        case .format: (0x202A...0x202E).contains(scalar.value) || (0x2066...0x2069).contains(scalar.value)
        default: false
        }
    }

    private static func of(_ character: Character) -> Int {
        // One grapheme is drawn in the cells of its first scalar; marks and joiners add none.
        guard let scalar = character.unicodeScalars.first else { return 0 }
        if scalar.value < 0x300 { return 1 }
        if scalar.properties.generalCategory == .nonspacingMark || scalar.properties.generalCategory == .format {
            return 0
        }
        return Self.wide.contains { $0.contains(scalar.value) } || scalar.properties.isEmojiPresentation ? 2 : 1
    }

    /// The blocks whose characters are wide or full-width (Unicode Standard Annex 11).
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0x33FF, 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xA000...0xA4CF,
        0xA960...0xA97F, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F, 0xFF00...0xFF60, 0xFFE0...0xFFE6,
        0x20000...0x3FFFD,
    ]
}
