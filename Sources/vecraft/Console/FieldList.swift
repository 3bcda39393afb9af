/// Names and values of one thing, one a line, the values aligned.
package struct FieldList {
    private let terminal: Terminal
    private var lines: [(name: String, value: String)] = []
    private var heading = ""
    private static let margin = "  "

    package init(_ terminal: Terminal) { self.terminal = terminal }

    package mutating func title(_ title: String, note: String = "") {
        let style = self.terminal.style
        self.heading =
            style.bold(TextWidth.printable(title)) + (note.isEmpty ? "" : "  " + style.dim(TextWidth.printable(note)))
    }

    /// An empty value is not shown.
    package mutating func add(_ name: String, _ value: String) {
        if !value.isEmpty { self.lines.append((TextWidth.printable(name), TextWidth.printable(value))) }
    }

    /// Each line ended by a newline; long values go on under their beginning.
    package var text: String {
        let width = self.lines.reduce(0) { max($0, TextWidth.of($1.name)) }
        let room = self.terminal.width.map { max(20, $0 - width - 2 * Self.margin.utf8.count) } ?? Int.max
        var text = self.heading.isEmpty ? "" : self.heading + "\n"
        for (name, value) in self.lines {
            let pieces = TextWidth.of(value) <= room ? [value] : TextWidth.wrap(value, room)
            for (number, piece) in pieces.enumerated() {
                let label = TextWidth.pad(number == 0 ? name : "", width)
                text += Self.margin + self.terminal.style.dim(label) + Self.margin + piece + "\n"
            }
        }
        return text
    }
}
