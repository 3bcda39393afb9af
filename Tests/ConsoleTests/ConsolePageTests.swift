import Foundation
import TestSupport
import Testing

/// The console in a browser, on a real node with the sample data: what a person sees, and what one can do without a mouse.
@Suite("The console in a browser") struct ConsolePageTests {
    struct Report: Decodable {
        struct Collections: Decodable {
            let focus: String
            let facts: [String: String]
            let text: String
        }
        struct Answer: Decodable {
            let status: String?
            let facts: [String: String]?
            let rows: [[String]]
            let sections: [String]?
        }
        struct Search: Decodable {
            let by_id, like, filtered: Answer
            let refused: String
        }
        struct Order: Decodable {
            let controls: Int
            let missed: [String]
            let in_order: Bool
        }
        struct Drawn: Decodable {
            let words: String
            let marks, lanes: [String]
        }
        struct Lineage: Decodable {
            let status, request: String
            let titles: [String]
            let facts: [[String: String]]
            let drawn: [Drawn]
            let receipts: [[String]]
        }
        struct Picture: Decodable {
            let status, label, chosen, clicked, hovered: String
            let ink, rows: Int
            let legend, said, links: [String]
        }
        struct Contrast: Decodable {
            let count: Int
            let least: Double
            let poor: [String]
        }
        struct View: Decodable {
            let current: String
            let order: Order
            let light, dark: Contrast
            let beyond_400, beyond_1400: Int
            let spoken_400, spoken_1400: [String]
        }
        struct Cases: Decodable {
            let count: Int
            let failures: [String]
        }
        struct Hidden: Decodable {
            let while_hidden: Int
            let goes_on: Bool
        }
        let address, language: String
        let cluster: ConsoleMap
        let landmarks: [Int]
        let unlabelled: [String]
        let collections: Collections
        let search: Search
        let lineage: Lineage
        let picture: Picture
        let budgets: [[String]]
        let views: [String: View]
        let themes: [[String]]
        let focus_kept, inline_ran, policy_spoke: Bool
        let cases: Cases
        let complaints, foreign: [String]
        let far_fetch: String
        let hidden: Hidden
        /// After the node's death.
        let gone: ConsoleMap
    }

    /// A node with the 2,500 packages; "3dchess" is written once more, by somebody with a request id of their own.
    private static func serve(_ directory: TemporaryDirectory) async throws -> ServerProcess {
        let server = try await offThePool { try ServerProcess(dataDirectory: directory.file("data")) }
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("data/debian-packages").path
        let address = "127.0.0.1:\(server.grpcPort)"
        for arguments in [
            [
                "collection", "create", "packages", "--dimension", "384", "--index", "section:keyword", "--index",
                "installed_kib:integer",
            ],
            ["import", "packages", root + "/points.jsonl", "--vectors", root + "/vectors.f16.npy"],
        ] {
            let outcome = try await PythonEnvironment.run(
                ServerProcess.binary, arguments + ["--address", address], limit: .seconds(120))
            guard outcome.succeeded else { throw PythonEnvironment.Failure(description: "\(outcome)") }
        }
        let path = "/v1/collections/packages/points"
        let stored = try await http("GET", server.httpPort, path + "/3dchess")
        var point = try #require(try JSONSerialization.jsonObject(with: Data(stored.body.utf8)) as? [String: Any])
        point["version"] = nil
        // Text of a payload is never more than text.
        point["payload"] = [
            "name": "3dchess", "section": "games", "description": "<img src=x onerror=\"window.ran=true\">chess",
        ]
        let body = try JSONSerialization.data(withJSONObject: ["points": [point]])
        let written = try await http(
            "PUT", server.httpPort, path, body: String(decoding: body, as: UTF8.self),
            headers: ["x-request-id": "by-hand"])
        #expect(written.status == 200, "\(written.body)")
        // All of it is replayed, however long that takes here: the page shows a node at rest.
        let applied = try await PythonEnvironment.run(
            ServerProcess.binary,
            ["count", "packages", "--consistency", "strong", "--timeout", "240", "--address", address],
            limit: .seconds(250))
        guard applied.succeeded else { throw PythonEnvironment.Failure(description: "\(applied)") }
        return server
    }

    @Test(.timeLimit(.minutes(12))) func showsANodeAndWhatItHolds() async throws {
        let directory = try TemporaryDirectory()
        let server = try await Self.serve(directory)
        let report: Report = try await ConsolePage.report([
            "node", "http://127.0.0.1:\(server.httpPort)", "\(server.processID)",
        ])

        // The map.
        #expect(report.address == "http://127.0.0.1:\(server.httpPort)/console/")
        #expect(report.cluster.headline == "Everything is as it should be")
        #expect(report.cluster.level == "verdict good" && report.cluster.findings.isEmpty)
        #expect(report.cluster.advice == "One node alone · 4 journal partitions, all led · 1 shard · no replay lag")
        #expect(report.cluster.nodes.count == 1 && report.cluster.nodes.first?[1] == "✓ ready")
        #expect(report.cluster.partitions.map(\.first) == ["data-0", "data-1", "txn-0", "sys-0"])
        #expect(report.cluster.partitions.allSatisfy { $0[1] == "✓ led" && $0[2] == "leader" })
        #expect(report.cluster.copies.first?.last?.hasPrefix("ready; 2,500 points, applied") == true)

        // Collections.
        #expect(report.collections.facts["Points"] == "2,500" && report.collections.facts["Copies"] == "✓ 1 of 1 ready")
        #expect(report.collections.facts["Memory"]?.hasSuffix("iB") == true)
        #expect(report.collections.text.contains("section (keyword), installed_kib (integer)"))
        #expect(report.collections.text.contains("384\tcosine\tauto"))
        #expect(report.collections.focus == "collections-title")

        // Search: by a part of an id, like a point, with a filter.
        #expect(report.search.by_id.rows.contains { $0[0] == "gnuchess" } && report.search.by_id.rows.count == 10)
        #expect(report.search.like.rows.map { $0[0] }.prefix(2) == ["dreamchess", "gnuchess"])
        #expect(report.search.like.rows.count == 5)
        let distances = report.search.like.rows.compactMap { Double($0[1]) }
        #expect(distances.count == 5 && distances == distances.sorted() && distances[0] > 0.1)
        let facts = try #require(report.search.like.facts)
        #expect(facts["Level asked"] == "strong" && facts["Level achieved"] == "strong" && facts["Staleness"] == "none")
        #expect(facts["Index version"]?.contains(/data-[01] at [0-9]+/) == true)
        #expect(facts["Request"]?.hasPrefix("console-") == true)
        #expect(report.search.filtered.sections == ["doc", "doc", "doc"])
        #expect(report.search.filtered.facts?["Level asked"] == "bounded")
        #expect(report.search.refused.hasPrefix("Refused: “games” is no condition"))

        // Lineage: both versions, from the edge to the replica.
        #expect(report.lineage.titles == ["Version 2 of 2: upsert stored now", "Version 1 of 2: upsert"])
        #expect(report.lineage.facts.first?["Request"] == "by-hand" && report.lineage.facts.first?["Principal"] != nil)
        #expect(report.lineage.facts.first?["Trace"]?.count == 32)
        #expect(report.lineage.drawn.count == 2)
        for drawn in report.lineage.drawn {
            #expect(drawn.marks == ["step gateway", "step gateway", "step journal", "step replica"])
            #expect(drawn.lanes.prefix(3) == ["received · gateway", "routed · gateway", "appended · journal"])
            #expect(drawn.words.hasPrefix("From received to the replicas: received on gateway after 0 ms"))
        }
        #expect(report.lineage.receipts.count == 2)
        #expect(report.lineage.request == "1 entry of request by-hand, the newest first")

        // Budgets: what was counted of this very page's searches.
        #expect(report.budgets.map { $0[1] } == ["25 ms", "50 ms", "200 ms", "1.0 s"])
        #expect(report.budgets[1][0].hasPrefix("1 interactive") && report.budgets[1][3].contains(where: \.isNumber))
        #expect(report.budgets[1][5] != "0" && report.budgets[1][6].hasSuffix(" %)"))

        // The picture, and its other ways in.
        #expect(report.picture.status.hasPrefix("The first 2,000 by id of 2,500 points, 384 components"))
        #expect(
            report.picture.label == "Picture of the first 2,000 by id of 2,500 points of packages in two dimensions")
        #expect(report.picture.ink > 10_000 && report.picture.legend.count == 9 && report.picture.rows == 200)
        #expect(Set(report.picture.said).count >= 3, "\(report.picture.said)")
        #expect(report.picture.chosen.hasPrefix("Chosen: ") && report.picture.links.count == 2)
        #expect(report.picture.clicked.hasPrefix("Chosen: "))
        #expect(report.picture.hovered.hasPrefix(report.picture.clicked.dropFirst(8).prefix { $0 != " " }))

        #expect(report.cases.failures == [] && report.cases.count > 40)
        #expect(report.complaints == [])
        #expect(report.foreign == [])
        #expect(!report.inline_ran && report.policy_spoke && report.far_fetch == "TypeError")
        try Self.expectUsable(report)
        #expect(report.hidden.while_hidden == 0 && report.hidden.goes_on)
        // What was known stays, and is called old.
        #expect(report.gone.headline == "This node does not answer" && report.gone.nodes.count == 1)
        try await offThePool { server.kill() }
    }

    /// By keys, by ear, by day and by night, on a phone and on a desk.
    private static func expectUsable(_ report: Report) throws {
        #expect(report.language == "en" && report.landmarks == [1, 1, 1] && report.unlabelled == [])
        #expect(report.views.count == 6)
        for (name, view) in report.views {
            #expect(view.current == name)
            #expect(view.order.missed == [] && view.order.in_order && view.order.controls > 7, "\(name)")
            for contrast in [view.light, view.dark] {
                #expect(contrast.count > 30 && contrast.least >= 4.5, "\(name): \(contrast.poor)")
            }
            for spoken in [view.spoken_400, view.spoken_1400] {
                #expect(
                    Set(["banner", "main", "navigation Views", "region State"]).isSubset(of: spoken),
                    "\(name): \(spoken)")
                #expect(spoken.contains { $0.lowercased().hasPrefix("heading \(name)") }, "\(name): \(spoken)")
            }
            #expect(view.beyond_400 <= 0 && view.beyond_1400 <= 0, "\(name)")
        }
        // Cards on a phone are still a table, and pictures have words.
        for spoken in [report.views["cluster"]?.spoken_400, report.views["cluster"]?.spoken_1400] {
            #expect(spoken?.contains("table Nodes") == true && spoken?.contains("columnheader Replay lag") == true)
            #expect(spoken?.contains { $0.hasPrefix("rowheader ") && $0.hasSuffix("id 1") } == true, "\(spoken ?? [])")
        }
        #expect(report.views["lineage"]?.spoken_400.contains { $0.hasPrefix("image From received") } == true)
        #expect(report.views["picture"]?.spoken_400.contains { $0.hasPrefix("image Picture of the first") } == true)
        #expect(report.themes.map { $0[0] } == ["Theme: light", "Theme: dark", "Theme: system"])
        #expect(report.themes[0][1] != report.themes[1][1] && report.themes[0][1] == report.themes[2][1])
        #expect(report.focus_kept)
    }
}
