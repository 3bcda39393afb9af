import Foundation
import ServiceHost
import TestSupport
import Testing
import Yams

/// A node that is ready gives probes and scrapes what they ask for.
@Suite struct ServedPathsTests {
    @Test func aNodeServesWhatProbesAndScrapesAskFor() async throws {
        let workload = try #require(try Manifest.all("StatefulSet").first { $0.name == "vecraft" })
        let container = try #require(workload.containers.first)
        func path(_ probe: String) -> String { container[probe]?["httpGet"]?["path"]?.string ?? "" }
        let scrape = workload.template?["metadata"]?["annotations"]?["prometheus.io/path"]?.string ?? ""
        #expect(path("livenessProbe") == path("startupProbe"))
        // A node that replays lives and is not ready: with one path for both it would be restarted for it.
        #expect(path("livenessProbe") != path("readinessProbe"))
        let directory = try TemporaryDirectory()
        let node = try await offThePool { try ServerProcess(dataDirectory: directory.file("data")) }
        for path in [path("livenessProbe"), path("readinessProbe"), scrape] {
            #expect(try await http("GET", node.httpPort, path).status == 200, "\(path)")
        }
        #expect(try await http("GET", node.httpPort, "/no-such-path").status == 404)
        for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
            #expect(container[probe]?["httpGet"]?["port"]?.string == "http", "\(probe)")
        }
        #expect(try await offThePool { node.terminate() } == 0)
    }
}
