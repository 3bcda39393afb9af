package import Primitives

/// A dashboard as it is given to Grafana.
package struct Dashboard: Sendable, CustomStringConvertible {
    package let file: String
    package let json: JSONValue

    package init(file: String, json: JSONValue) {
        self.file = file
        self.json = json
    }

    package var uid: String { self.json["uid"]?.stringValue ?? "" }
    package var description: String { self.file }
    /// Rows apart.
    package var panels: [Panel] {
        (self.json["panels"]?.arrayValue ?? []).map { Panel(board: self.uid, json: $0) }.filter { $0.kind != "row" }
    }
    package var variables: [JSONValue] { self.json["templating"]?["list"]?.arrayValue ?? [] }

    /// All of `dashboards/grafana`.
    package static func all() throws -> [Dashboard] {
        try ProjectFiles.names(in: "dashboards/grafana").filter { $0.hasSuffix(".json") }.map {
            Dashboard(file: $0, json: try JSONValue(parsing: try ProjectFiles.text("dashboards/grafana/\($0)")))
        }
    }

    package struct Panel: Sendable, CustomStringConvertible {
        package let board: String
        package let json: JSONValue

        package var kind: String { self.json["type"]?.stringValue ?? "" }
        package var title: String { self.json["title"]?.stringValue ?? "" }
        package var unit: String { self.json["fieldConfig"]?["defaults"]?["unit"]?.stringValue ?? "" }
        /// What it says to the viewer of itself.
        package var text: String { self.json["description"]?.stringValue ?? "" }
        package var description: String { "\(self.board) / \(self.title)" }
        package var targets: [JSONValue] { self.json["targets"]?.arrayValue ?? [] }
        package var expressions: [String] { self.targets.compactMap { $0["expr"]?.stringValue } }

        /// The colour that its thresholds give to a value: that of the highest step that is not above it.
        package func colour(of value: Double) -> String {
            let steps = self.json["fieldConfig"]?["defaults"]?["thresholds"]?["steps"]?.arrayValue ?? []
            let reached = steps.last { $0["value"]?.doubleValue.map { $0 <= value } ?? true }
            return reached?["color"]?.stringValue ?? ""
        }
    }
}
