import DashboardSupport
import Primitives
import Testing

@Suite struct BoardTests {
    @Test func theBoardsAreThere() throws {
        let boards = try Dashboard.all()
        #expect(
            Set(boards.map(\.uid)) == [
                "vecraft-overview", "vecraft-journal", "vecraft-storage", "vecraft-query", "vecraft-slo",
                "vecraft-lineage",
                "vecraft-control",
            ])
        #expect(Set(boards.compactMap { $0.json["title"]?.stringValue }).count == boards.count)
    }

    @Test(arguments: try Dashboard.all()) func keepsToTheConventions(board: Dashboard) {
        #expect(BoardConventions(board).findings == [])
    }

    /// Each convention is really asked for: one change to a board that is well, and what is said to it.
    @Test(arguments: [
        (#""id": null"#, #""id": 7"#, "id is not null"),
        (#""uid": "vecraft-storage""#, #""uid": "Vecraft DB / Storage""#, "uid 'Vecraft"),
        (#""vecraft""#, #""other""#, "tag vecraft"),
        (#""schemaVersion": 39"#, #""schemaVersion": 35"#, "schemaVersion"),
        (#""uid": "${datasource}""#, #""uid": "prometheus""#, "hard-wired uid"),
        (#""name": "job""#, #""name": "work""#, "variables"),
        (#""allValue": ".*""#, #""allValue": "", "x": 0"#, "All of cluster"),
        (#""multi": true"#, #""multi": false"#, "without All or multi"),
        (#""unit": "s""#, #""unit": """#, "no unit"),
        (#""showLegend": true"#, #""showLegend": false"#, "no legend"),
        (#""legendFormat": "{{instance}}""#, #""legendFormat": """#, "without legend"),
        (#""w": 8"#, #""w": 9"#, "lies on"),
        (#""w": 24"#, #""w": 25"#, "beside the grid"),
        ("[$__rate_interval]", "[5m]", "does not fit the zoom"),
        (#"job=~\"$job\", "#, "", "not of what was chosen"),
    ])
    func aBreachIsFound(from: String, to: String, finding: String) throws {
        let text = try ProjectFiles.text("dashboards/grafana/vecraft-storage.json")
        let broken = text.replacing(from, with: to)
        try #require(broken != text)
        let board = Dashboard(file: "vecraft-storage.json", json: try JSONValue(parsing: broken))
        let findings = BoardConventions(board).findings
        #expect(findings.contains { $0.contains(finding) }, "\(findings)")
    }
}
