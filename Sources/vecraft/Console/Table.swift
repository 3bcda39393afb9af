/// Rows under headings, aligned, for people. Programs take `--output json`.
package struct Table: Sendable {
    package struct Column: Sendable {
        package var title: String
        /// Figures stand at the right, so that their digits line up.
        package var right: Bool
        /// May be cut when the terminal is too narrow.
        package var flexible: Bool

        package init(_ title: String, right: Bool = false, flexible: Bool = false) {
            self.title = title
            self.right = right
            self.flexible = flexible
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
        let widths = self.widths(within: terminal.width)
        var text = terminal.style.bold(self.line(self.columns.map(\.title), widths)) + "\n"
        for row in self.rows { text += self.line(row, widths) + "\n" }
        return text
    }

    private func widths(within limit: Int?) -> [Int] {
        var widths = self.columns.indices.map { column in
            self.rows.reduce(TextWidth.of(self.columns[column].title)) { max($0, TextWidth.of($1[column])) }
        }
        guard let limit else { return widths }
        var excess = widths.reduce(0, +) + Self.gap.utf8.count * (widths.count - 1) - limit
        while excess > 0 {
            // The widest flexible column gives way to the next widest, one cell at a time: the columns end up balanced.
            guard
                let widest = self.columns.indices.filter({ self.columns[$0].flexible && widths[$0] > Self.narrowest })
                    .max(by: { widths[$0] < widths[$1] })
            else { break }
            widths[widest] -= 1
            excess -= 1
        }
        return widths
    }

    private func line(_ cells: [String], _ widths: [Int]) -> String {
        var line = ""
        for (column, cell) in cells.enumerated() {
            let fitted = TextWidth.fit(cell, widths[column])
            let last = column == cells.count - 1
            if column > 0 { line += Self.gap }
            line +=
                last && !self.columns[column].right
                ? fitted : TextWidth.pad(fitted, widths[column], right: self.columns[column].right)
        }
        // An empty last cell leaves the gap before it.
        while line.last == " " { line.removeLast() }
        return line
    }
}
