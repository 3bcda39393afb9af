import Primitives

extension MetricDeclaration {
    /// Traps on a name, label or help text that breaks the conventions of Prometheus ("Metric and label naming").
    func check() {
        precondition(Self.isName(self.name, colons: true), "metric name \(self.name)")
        precondition(!self.help.isEmpty, "metric \(self.name) has no help text")
        precondition(Set(self.labels).count == self.labels.count, "metric \(self.name) repeats a label")
        for label in self.labels {
            precondition(
                Self.isName(label, colons: false) && !label.hasPrefix("__") && label != "le" && label != "quantile",
                "metric \(self.name) has a label named \(label)")
        }
        switch self.kind {
        case .counter: precondition(self.name.hasSuffix("_total"), "counter \(self.name) does not end in _total")
        case .gauge, .histogram:
            for suffix in ["_total", "_bucket", "_count", "_sum"] {
                precondition(!self.name.hasSuffix(suffix), "\(self.kind) \(self.name) ends in \(suffix)")
            }
        }
    }

    private static func isName(_ text: String, colons: Bool) -> Bool {
        guard let first = text.utf8.first, !(0x30...0x39).contains(first) else { return false }
        return text.utf8.allSatisfy {
            (0x61...0x7a).contains($0) || (0x30...0x39).contains($0) || $0 == 0x5f || (colons && $0 == 0x3a)
        }
    }

    /// One JSON array with an object per declaration: name, type, help, labels and, for histograms, buckets.
    package static func json(_ declarations: [MetricDeclaration]) -> String {
        var json = JSONWriter(reserving: 16 << 10)
        json.beginArray()
        for declaration in declarations {
            json.beginObject()
            json.key("name")
            json.string(declaration.name)
            json.key("type")
            json.string(declaration.kind.rawValue)
            json.key("help")
            json.string(declaration.help)
            json.key("labels")
            json.beginArray()
            for label in declaration.labels { json.string(label) }
            json.endArray()
            if !declaration.buckets.isEmpty {
                json.key("buckets")
                json.beginArray()
                for bound in declaration.buckets { json.double(bound) }
                json.endArray()
            }
            json.endObject()
        }
        json.endArray()
        return json.text
    }
}
