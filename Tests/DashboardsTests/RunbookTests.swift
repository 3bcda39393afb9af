import DashboardSupport
import Foundation
import TestSupport
import Testing

/// Whoever is woken up finds a section that says what to do, with commands that exist.
@Suite struct RunbookTests {
    private struct Section {
        let file: String
        let title: String
        let text: String
    }

    private static func sections() throws -> [Section] {
        try ProjectFiles.names(in: "docs/runbooks").filter { $0.hasSuffix(".md") && $0 != "README.md" }.flatMap {
            file in
            try ProjectFiles.text("docs/runbooks/\(file)").split(separator: "\n## ").dropFirst().map { part in
                let lines = part.split(separator: "\n", maxSplits: 1, omittingEmptySubsequences: false)
                return Section(file: file, title: String(lines[0]), text: lines.count > 1 ? String(lines[1]) : "")
            }
        }
    }

    @Test func everyAlertHasItsSectionAndEverySectionItsAlert() throws {
        let sections = try Self.sections()
        let alerts = try Rule.all("alerts.yml")
        #expect(sections.map(\.title).sorted() == alerts.map(\.name).sorted())
        for alert in alerts {
            let section = try #require(sections.first { $0.title == alert.name })
            let link = alert.annotations["runbook_url"] ?? ""
            // As Markdown's readers make an anchor of a heading of one word.
            #expect(
                link == "{{ $externalLabels.runbooks_url }}/docs/runbooks/\(section.file)#\(alert.name.lowercased())")
            #expect(
                try ProjectFiles.text("docs/runbooks/README.md").contains(
                    "(\(section.file)#\(alert.name.lowercased()))"))
        }
    }

    @Test func everySectionSaysWhatIsNeeded() throws {
        let declared = try NameTests.declared.get()
        let recorded = Set(try Rule.all("rules.yml").flatMap { $0.name.split(separator: ":").map(String.init) })
        for section in try Self.sections() {
            var rest = section.text[...]
            for part in ["Symptom", "Metric", "Action", "Verification"] {
                let found = try #require(
                    rest.firstRange(of: "**\(part).**"), "\(section.title) has no \(part), or not in its place")
                rest = rest[found.upperBound...]
                let own = rest.firstRange(of: "\n**").map { rest[..<$0.lowerBound] } ?? rest
                #expect(own.count > 20, "\(section.title): \(part) says nothing")
            }
            let names = section.text.matches(of: #/`[^`]*?(vecraft_[a-z0-9_]+)/#).map { String($0.output.1) }
            #expect(!names.isEmpty, "\(section.title) names no metric")
            for name in names {
                #expect(declared.contains(PromQL.family(name)) || recorded.contains(name), "\(section.title): \(name)")
            }
        }
    }

    @Test func thePanelsTheyNameAreThere() throws {
        let titles = Set(try Dashboard.all().flatMap(\.panels).map(\.title))
        var named: Set<String> = []
        for section in try Self.sections() {
            // Slanted: what stands between single stars, code and bold apart.
            let text = section.text.replacing(#/```[^`]*```|`[^`]*`/#, with: "").replacing("**", with: "")
            for match in text.matches(of: #/\*([^*]+)\*/#) {
                let name = match.output.1.split(whereSeparator: \.isWhitespace).joined(separator: " ")
                named.insert(name)
                #expect(titles.contains(name), "\(section.title): \(name)")
            }
        }
        #expect(named.count > 20)
    }

    /// Commands in the runbooks and in what boards say, each without its arguments.
    private static func commands() throws -> [[String]] {
        let boards = try Dashboard.all().flatMap(\.panels).map(\.text)
        let texts = try self.sections().map(\.text) + boards
        let spans = texts.flatMap { text in
            text.matches(of: #/(?m)(?:^|`)(vecraft [^`\n]*)/#).map { String($0.output.1) }
        }
        let found = Set(
            spans.map { span in
                span.split(separator: " ").dropFirst().prefix { $0.wholeMatch(of: #/[a-z][a-z-]*/#) != nil }.prefix(2)
                    .map(String.init)
            })
        return found.sorted { $0.joined(separator: " ") < $1.joined(separator: " ") }
    }

    @Test func theirCommandsExist() async throws {
        let commands = try Self.commands()
        #expect(commands.count > 10)
        for command in commands {
            let outcome = try await PythonEnvironment.run(
                ServerProcess.binary, command + ["--help"], limit: .seconds(60))
            // A command that is none is taken as an argument of the one above, whose help it then is.
            let usage = outcome.output.firstMatch(of: #/USAGE: vecraft ([a-z -]+?) *(?:<|\[|\n|$)/#).map {
                String($0.output.1)
            }
            #expect(outcome.succeeded && usage == command.joined(separator: " "), "vecraft \(command): \(usage ?? "")")
        }
    }

    @Test func theirSettingsExist() async throws {
        let boards = try Dashboard.all().flatMap(\.panels).map(\.text)
        let texts = try Self.sections().map(\.text) + boards
        let outcome = try await PythonEnvironment.run(ServerProcess.binary, ["config", "print"], limit: .seconds(60))
        try #require(outcome.succeeded, "\(outcome)")
        let known = outcome.output
        let named = Set(
            texts.flatMap {
                $0.matches(of: #/`((?:journal|cluster|storage|query|grpc|http|tls|log|node)\.([a-z_]+))`/#).map {
                    String($0.output.2)
                }
            })
        #expect(!named.isEmpty)
        for name in named { #expect(known.contains("\(name):"), "\(name)") }
    }
}
