/// Rows under headings, aligned, for people. Programs take `--output json`.
package struct Table: Sendable {
    package struct Column: Sendable {
        package var title: String
        /// Figures stand at the right, so that their digits line up.
        package var right: Bool
        /// May be cut when the terminal is too narrow.
        package var flexible: Bool
        /// Is left out when the terminal is too narrow for it all, the first of them first.
        package var optional: Bool

        package init(_ title: String, right: Bool = false, flexible: Bool = false, optional: Bool = false) {
            self.title = title
            self.right = right
            self.flexible = flexible
            self.optional = optional
        }
    }

    package var columns: [Column]
    package private(set) var rows: [[String]] = []
    private static let gap = "  "
    /// A flexible column is not cut below this: less tells nothing.
    private static let narrowest = 12

    package init(_ columns: [Column]) { self.columns = columns }

    package mutating func add(_ cells: [String]) {
        precondition(cells.count == self.columns.count, "\(cells.count) cells for \(self.columns.count) columns")
        self.rows.append(cells.map(TextWidth.printable))
    }

    /// The table as text, each line ended by a newline; cut to the terminal's width, whole when there is none.
    package func render(_ terminal: Terminal) -> String {
        let (shown, widths) = self.layout(within: terminal.width)
        var text = terminal.style.bold(self.line(self.columns.map(\.title), shown, widths)) + "\n"
        for row in self.rows { text += self.line(row, shown, widths) + "\n" }
        return text
    }

    /// Which columns are shown, and how wide each of all is.
    private func layout(within limit: Int?) -> (shown: [Int], widths: [Int]) {
        var widths = self.columns.indices.map { column in
            self.rows.reduce(TextWidth.of(self.columns[column].title)) { max($0, TextWidth.of($1[column])) }
        }
        var shown = Array(self.columns.indices)
        guard let limit else { return (shown, widths) }
        var excess: Int { shown.reduce(0) { $0 + widths[$1] } + Self.gap.utf8.count * (shown.count - 1) - limit }
        while excess > 0 {
            // The widest flexible column gives way to the next widest, one cell at a time: the columns end up balanced.
            let widest = shown.filter { self.columns[$0].flexible && widths[$0] > Self.narrowest }
                .max { widths[$0] < widths[$1] }
            if let widest {
                widths[widest] -= 1
            } else if let least = shown.first(where: { self.columns[$0].optional }) {
                shown.removeAll { $0 == least }
            } else {
                break
            }
        }
        return (shown, widths)
    }

    private func line(_ cells: [String], _ shown: [Int], _ widths: [Int]) -> String {
        var line = ""
        for column in shown {
            let fitted = TextWidth.fit(cells[column], widths[column])
            let last = column == shown.last
            if column != shown.first { line += Self.gap }
            line +=
                last && !self.columns[column].right
                ? fitted : TextWidth.pad(fitted, widths[column], right: self.columns[column].right)
        }
        // An empty last cell leaves the gap before it.
        while line.last == " " { line.removeLast() }
        return line
    }
}
