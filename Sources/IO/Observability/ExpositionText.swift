/// Which text format a scraper gets.
package enum ExpositionFormat: Sendable, Equatable {
    /// Prometheus text format 0.0.4.
    case text
    /// OpenMetrics 1.0, which alone carries exemplars.
    case openMetrics

    package var contentType: String {
        switch self {
        case .text: "text/plain; version=0.0.4; charset=utf-8"
        case .openMetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8"
        }
    }

    /// Chooses by an `Accept` header: OpenMetrics when it is wanted at least as much as plain text.
    package init(accept: String?) {
        var openMetrics = 0.0
        var text = 0.0
        for range in (accept ?? "").split(separator: ",") {
            let parts = range.split(separator: ";").map { $0.trimmed.lowercased() }
            guard let type = parts.first else { continue }
            let weight = parts.dropFirst().first { $0.hasPrefix("q=") }.flatMap { Double($0.dropFirst(2)) } ?? 1
            switch type {
            case "application/openmetrics-text": openMetrics = max(openMetrics, weight)
            case "text/plain", "text/*": text = max(text, weight)
            default: break
            }
        }
        self = openMetrics > 0 && openMetrics >= text ? .openMetrics : .text
    }
}

/// The page a scraper reads, as it is written.
///
/// Sources: "Exposition formats" of the Prometheus documentation, and the OpenMetrics specification 1.0.0.
package struct ExpositionText: Sendable {
    package let format: ExpositionFormat
    package private(set) var bytes: [UInt8] = []

    package init(_ format: ExpositionFormat) {
        self.format = format
        self.bytes.reserveCapacity(64 << 10)
    }

    mutating func header(_ family: MetricDeclaration) {
        var name = family.name
        // OpenMetrics names the family without the suffix that its samples carry.
        if self.format == .openMetrics, family.kind == .counter { name.removeLast("_total".count) }
        self.write("# HELP \(name) \(Self.escape(family.help, quotes: self.format == .openMetrics))\n")
        self.write("# TYPE \(name) \(family.kind.rawValue)\n")
    }

    package mutating func sample(_ name: String, labels: String, value: Double) {
        self.series(name, labels)
        // Whole numbers without a point: both formats allow it for values, and people read counts more easily.
        if let whole = Int64(exactly: value), abs(value) < 1e15 {
            self.write(String(whole))
        } else {
            self.write(Self.number(value))
        }
        self.write("\n")
    }

    package mutating func sample(_ name: String, labels: String, value: UInt64) {
        self.series(name, labels)
        self.write(String(value))
        self.write("\n")
    }

    mutating func bucket(_ name: String, labels: String, bound: Double, count: UInt64, exemplar: Histogram.Exemplar?) {
        let le = "le=\"\(Self.number(bound))\""
        self.series(name + "_bucket", labels.isEmpty ? le : "\(labels),\(le)")
        self.write(String(count))
        if self.format == .openMetrics, let exemplar {
            let trace = Self.hex(exemplar.traceHigh) + Self.hex(exemplar.traceLow)
            let seconds = Double(exemplar.milliseconds) / 1_000
            self.write(" # {trace_id=\"\(trace)\"} \(Self.number(exemplar.value)) \(Self.number(seconds))")
        }
        self.write("\n")
    }

    mutating func end() {
        if self.format == .openMetrics { self.write("# EOF\n") }
    }

    private mutating func series(_ name: String, _ labels: String) {
        self.write(name)
        if !labels.isEmpty { self.write("{\(labels)}") }
        self.write(" ")
    }

    private mutating func write(_ text: String) { self.bytes.append(contentsOf: text.utf8) }

    /// `a="x",b="y"`, escaped.
    static func labels(_ names: [String], _ values: [String]) -> String {
        zip(names, values).map { "\($0)=\"\(Self.escape($1, quotes: true))\"" }.joined(separator: ",")
    }

    private static func escape(_ text: String, quotes: Bool) -> String {
        var escaped = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": escaped += "\\\\"
            case "\n": escaped += "\\n"
            case "\"" where quotes: escaped += "\\\""
            default: escaped.unicodeScalars.append(scalar)
            }
        }
        return escaped
    }

    /// The shortest text that reads back as the same number.
    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
        return value.description
    }

    private static func hex(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.utf8.count) + digits
    }
}

extension StringProtocol {
    /// Without spaces and tabs at either end.
    package var trimmed: String {
        var rest = self[...]
        while let first = rest.first, first == " " || first == "\t" { rest.removeFirst() }
        while let last = rest.last, last == " " || last == "\t" { rest.removeLast() }
        return String(rest)
    }
}
