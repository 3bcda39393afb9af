import Foundation
import Testing
import vecraft

/// docs/METRICS.md says what the program can show.
@Suite struct MetricsDocumentTests {
    @Test func theDocumentIsWhatTheProgramDeclares() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("docs/METRICS.md")
        let written = try String(contentsOf: file, encoding: .utf8).split(
            separator: "\n", omittingEmptySubsequences: false)
        let declared = MetricsDocument.text.split(separator: "\n", omittingEmptySubsequences: false)
        let stale = Set(declared).symmetricDifference(written).sorted()
        #expect(
            written == declared, "make metrics-docs; these lines differ:\n\(stale.prefix(20).joined(separator: "\n"))")
    }

    @Test func everyFamilyStandsInItOnce() {
        for name in MetricsDocument.names {
            #expect(MetricsDocument.text.components(separatedBy: "| `\(name)` |").count == 2, "\(name)")
        }
    }
}
