import Yams

/// A rule of Prometheus, recorded or alerting.
package struct Rule: Sendable, CustomStringConvertible {
    package var group: String
    package var record: String?
    package var alert: String?
    package var expression: String
    package var wait: String?
    package var labels: [String: String]
    package var annotations: [String: String]

    package var name: String { self.alert ?? self.record ?? "" }
    package var description: String { self.name }

    package static let folder = "dashboards/prometheus"

    /// Of `rules.yml` or `alerts.yml`.
    package static func all(_ file: String) throws -> [Rule] {
        guard let root = try Yams.compose(yaml: try ProjectFiles.text("\(Self.folder)/\(file)")) else { return [] }
        var found: [Rule] = []
        for group in root["groups"]?.array() ?? [] {
            let name = group["name"]?.string ?? ""
            for rule in group["rules"]?.array() ?? [] { found.append(Rule(rule, in: name)) }
        }
        return found
    }

    private init(_ node: Node, in group: String) {
        self.group = group
        self.record = node["record"]?.string
        self.alert = node["alert"]?.string
        self.expression = node["expr"]?.scalar?.string ?? ""
        self.wait = node["for"]?.scalar?.string
        self.labels = texts(node["labels"])
        self.annotations = texts(node["annotations"])
    }
}

private func texts(_ node: Node?) -> [String: String] {
    var found: [String: String] = [:]
    for (key, value) in node?.mapping ?? [:] { found[key.string ?? ""] = value.scalar?.string }
    return found
}
