import DashboardSupport
import Testing

/// Boards and rules ask for what the program declares, and for nothing else.
@Suite struct NameTests {
    /// Of the program, by the texts in its sources.
    static let declared: Result<Set<String>, any Error> = Result {
        var found: Set<String> = []
        for folder in ["Core", "IO", "Engine", "Services", "vecraft"] {
            for text in try ProjectFiles.texts(under: "Sources/\(folder)", ending: ".swift") {
                // Odd pieces are what stands in quotes; cheaper by far than an expression over a megabyte.
                for piece in text.split(separator: "\"", omittingEmptySubsequences: false)
                where piece.hasPrefix("vecraft_") || piece.hasPrefix("process_") {
                    found.insert(String(piece))
                }
            }
        }
        return found
    }

    /// Prometheus's own.
    private static let prometheus: Set = ["up", "ALERTS"]

    @Test func everyMetricAskedForIsDeclared() throws {
        let declared = try Self.declared.get()
        try #require(declared.count > 100)
        let recorded = Set(try Rule.all("rules.yml").map(\.name))
        var askers = try Dashboard.all().flatMap { board in
            board.panels.flatMap { panel in panel.expressions.map { ("\(panel)", $0) } }
        }
        askers += try (Rule.all("rules.yml") + Rule.all("alerts.yml")).map { ("\($0)", $0.expression) }
        var unknown: [String: [String]] = [:]
        for (asker, expression) in askers {
            let names = PromQL.metrics(in: expression)
            #expect(!names.isEmpty, "\(asker) asks for nothing: \(expression)")
            for name in names where !Self.prometheus.contains(name) && !recorded.contains(name) {
                if !declared.contains(PromQL.family(name)), !declared.contains(name) {
                    unknown[name, default: []].append(asker)
                }
            }
        }
        #expect(
            unknown.isEmpty, "not declared: \(unknown.sorted { $0.key < $1.key }.map { "\($0.key) by \($0.value)" })")
    }

    /// Nothing is worked out for nobody.
    @Test func everyRecordedRuleIsUsed() throws {
        let rules = try Rule.all("rules.yml") + Rule.all("alerts.yml")
        let boards = try Dashboard.all().flatMap(\.panels).flatMap(\.expressions)
        let used = Set((rules.map(\.expression) + boards).flatMap(PromQL.metrics(in:)))
        for rule in try Rule.all("rules.yml") { #expect(used.contains(rule.name), "\(rule)") }
    }

    @Test(arguments: [
        ("up", ["up"]),
        (#"sum by (le, tier) (rate(a_bucket{x="y or b", z=~"c|d"}[5m])) / 1e9"#, ["a_bucket"]),
        ("a:b:rate5m > 0.5 and on (job) c == 1 or vector(0)", ["a:b:rate5m", "c"]),
        ("time() - max by (instance) (t_seconds > 0) < 14 * 86400", ["t_seconds"]),
        (#"a{b="\"}c"} unless a offset 5m"#, ["a"]),
        ("a / on (x) group_left (y) b", ["a", "b"]),
    ])
    func namesAreReadFromExpressions(expression: String, names: [String]) {
        #expect(PromQL.metrics(in: expression) == names)
    }

    @Test func selectorsAreReadFromExpressions() {
        #expect(
            PromQL.selectors(in: #"sum by (a) (rate(b_total{c="d", e!="f"}[5m])) / g:h:i"#) == [
                #"b_total{c="d", e!="f"}"#, "g:h:i",
            ])
    }
}
