import Foundation
import TestSupport
import Testing

/// The console's files as HTTP serves them.
@Suite("The console's files") struct ConsoleFileTests {
    /// What the page is made of, from its own text.
    private static func parts(_ port: Int) async throws -> [String] {
        let page = try await http("GET", port, "/console/")
        var found = page.body.matches(of: #/(?:src|href)="([^"#]+)"/#).map { String($0.1) }
        var rest = found.filter { $0.hasSuffix(".js") }
        while let script = rest.popLast() {
            let text = try await http("GET", port, "/console/\(script)").body
            for match in text.matches(of: #/from "\.\/([^"]+)"/#) where !found.contains(String(match.1)) {
                found.append(String(match.1))
                rest.append(String(match.1))
            }
        }
        return found
    }

    @Test func areServedWholeGuardedAndKnownAgain() async throws {
        let directory = try TemporaryDirectory()
        let server = try await offThePool { try ServerProcess(dataDirectory: directory.file("data")) }
        let port = server.httpPort
        let parts = try await Self.parts(port)
        #expect(parts.count >= 15, "\(parts)")
        let types = ["js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"]
        for part in parts + [""] {
            let reply = try await http("GET", port, "/console/\(part)")
            #expect(reply.status == 200, "\(part)")
            #expect(
                reply.headers["content-type"]
                    == (part.isEmpty
                        ? "text/html; charset=utf-8" : types[String(part.split(separator: ".").last ?? "")]),
                "\(part)")
            #expect(reply.headers["cache-control"] == "no-cache")
            #expect(reply.headers["content-security-policy"]?.hasPrefix("default-src 'self';") == true)
            #expect(reply.headers["x-content-type-options"] == "nosniff")
            let tag = try #require(reply.headers["etag"])
            for known in [tag, "\"other\", W/\(tag)", "*"] {
                let again = try await http("GET", port, "/console/\(part)", headers: ["if-none-match": known])
                #expect(again.status == 304 && again.body.isEmpty && again.headers["etag"] == tag, "\(part) \(known)")
            }
            #expect(
                try await http("GET", port, "/console/\(part)", headers: ["if-none-match": "\"other\""]).status == 200)
            let head = try await http("HEAD", port, "/console/\(part)")
            #expect(head.status == 200 && head.body.isEmpty)
            #expect(head.headers["content-length"] == "\(reply.body.utf8.count)")
        }
        // No address of anybody else, but for names of namespaces.
        for part in parts {
            let text = try await http("GET", port, "/console/\(part)").body
            let foreign = text.matches(of: #/https?:\/\/[^"'`\s<]*/#).map { String($0.output) }.filter {
                !$0.hasPrefix("http://www.w3.org/")
            }
            #expect(foreign.isEmpty, "\(part)")
        }
        #expect(await end(server) == 0)
    }

    @Test func theFolderHasItsSlashAndNothingElse() async throws {
        let directory = try TemporaryDirectory()
        let server = try await offThePool { try ServerProcess(dataDirectory: directory.file("data")) }
        let port = server.httpPort
        let moved = try await http("GET", port, "/console")
        #expect(moved.status == 308 && moved.headers["location"] == "console/")
        for path in ["/console/nothing.js", "/console/..%2fmain.js", "/console/a/b", "/console/index.html/"] {
            let reply = try await http("GET", port, path)
            #expect(reply.status == 404 && reply.headers["content-type"] == "application/problem+json", "\(path)")
            #expect(reply.body.contains("ROUTE_NOT_FOUND"))
        }
        let wrong = try await http("POST", port, "/console/", body: "{}")
        #expect(wrong.status == 405 && wrong.headers["allow"] == "GET, HEAD, OPTIONS")
        #expect(await end(server) == 0)
    }

    @Test func isNotThereWhereSettingsSaySo() async throws {
        let directory = try TemporaryDirectory()
        let server = try await offThePool {
            try ServerProcess(dataDirectory: directory.file("data"), settings: ["gateway.console=false"])
        }
        for path in ["/console", "/console/", "/console/main.js"] {
            #expect(try await http("GET", server.httpPort, path).status == 404)
        }
        // What it would ask is there all the same.
        let cluster = try await http("GET", server.httpPort, "/v1/cluster")
        #expect(cluster.status == 200 && cluster.headers["content-type"] == "application/json")
        let known = try #require(try JSONSerialization.jsonObject(with: Data(cluster.body.utf8)) as? [String: Any])
        let nodes = try #require(known["nodes"] as? [[String: Any]])
        #expect(known["cluster_id"] as? String == "" && nodes.count == 1)
        #expect(nodes.first?["condition"] as? String == "ready")
        #expect((known["partitions"] as? [[String: Any]])?.allSatisfy { $0["leader"] as? String == "1" } == true)
        #expect(try await http("GET", server.httpPort, "/v1/cluster?x=1").status == 400)
        #expect(await end(server) == 0)
    }

    private func end(_ server: ServerProcess) async -> Int32 {
        (try? await offThePool { server.terminate() }) ?? -1
    }
}
