/// What tests need to know of Prometheus's query language.
package enum PromQL {
    /// Names of the metrics that an expression asks for, and of the recorded ones, in order.
    ///
    /// Text in quotes, labels in braces and the lists behind `by` and its like hold none.
    package static func metrics(in expression: String) -> [String] {
        let bare =
            expression
            .replacing(#/"(\\.|[^"\\])*"/#, with: "")
            .replacing(#/\{[^}]*\}/#, with: " ")
            .replacing(#/\[[^\]]*\]/#, with: " ")
            .replacing(#/\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)/#, with: " ")
        var found: [String] = []
        for match in bare.matches(of: #/[a-zA-Z_:][a-zA-Z0-9_:]*/#) {
            let name = String(match.output)
            // A number such as 1e9 or 5m begins with a digit, and its letters are no name.
            if match.range.lowerBound > bare.startIndex {
                let before = bare[bare.index(before: match.range.lowerBound)]
                if before.isNumber || before == "." { continue }
            }
            let rest = bare[match.range.upperBound...].drop(while: \.isWhitespace)
            if rest.first == "(" || self.words.contains(name) || found.contains(name) { continue }
            found.append(name)
        }
        return found
    }

    /// What an expression asks for, each metric with the braces behind it.
    package static func selectors(in expression: String) -> [String] {
        let names = Set(self.metrics(in: expression))
        return expression.matches(of: #/([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})?/#).filter {
            names.contains(String($0.output.1))
        }.map { String($0.output.0) }
    }

    private static let words: Set = [
        "and", "or", "unless", "bool", "offset", "by", "without", "inf", "Inf", "NaN", "nan",
    ]

    /// The metric that a series belongs to: a histogram has three kinds.
    package static func family(_ series: String) -> String {
        for ending in ["_bucket", "_sum", "_count"] where series.hasSuffix(ending) {
            return String(series.dropLast(ending.count))
        }
        return series
    }

    /// The expression as a viewer sends it who has chosen everything.
    /// - Parameters:
    ///   - rate: In place of `$__rate_interval`.
    ///   - range: In place of `$__range`.
    package static func withEverythingChosen(_ expression: String, rate: String, range: String) -> String {
        expression.replacing("$__rate_interval", with: rate).replacing("$__range", with: range)
            .replacing(#/\$[a-z]+/#, with: ".*")
    }
}
