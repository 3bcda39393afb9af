internal import CConsole
package import HTTP
internal import NIOCore
internal import Primitives

/// The web console: static files that are part of the program, under `/console/`. What they show they ask from the
/// public API at the same address; nothing is asked from anywhere else, and the headers forbid it.
package enum ConsoleRoutes {
    private struct File: Sendable {
        let type: String
        let body: ByteBuffer
        let tag: String
    }

    /// By name; about 100 KB in all, shared by every answer.
    private static let files: [String: File] = {
        var files: [String: File] = [:]
        for index in 0..<vc_console_file_count() {
            let file = vc_console_file_at(index)
            let bytes = Array(UnsafeRawBufferPointer(start: file.bytes, count: file.size))
            let hash = bytes.withUnsafeBytes { StableHash.of($0) }
            files[String(cString: file.name)] = File(
                type: String(cString: file.type), body: ByteBuffer(bytes: bytes),
                tag: "\"\(TraceContext.hex(hash))\"")
        }
        return files
    }()

    private static let page = "index.html"
    /// No inline script or style, no frame around the page, no other host; a type that is wrong is not guessed at.
    private static let guards: [(name: String, value: String)] = [
        (
            "content-security-policy",
            "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        ("x-content-type-options", "nosniff"), ("referrer-policy", "no-referrer"),
    ]

    package static func routes() -> [HTTPRoute] {
        [
            // Relative, so that it leads there behind a proxy with a path of its own too.
            HTTPRoute(.get, "/console") { _ in HTTPReply(status: 308, headers: [("location", "console/")]) },
            HTTPRoute(.get, "/console/") { call in try self.answer(self.page, call) },
            HTTPRoute(.get, "/console/{file}") { call in try self.answer(call.parameter("file"), call) },
        ]
    }

    private static func answer(_ name: String, _ call: HTTPCall) throws(VecraftError) -> HTTPReply {
        guard let file = self.files[name] else {
            throw VecraftError(.notFound, "the console has no file \"\(name.prefix(64))\"", reason: "ROUTE_NOT_FOUND")
        }
        // Asked again each time, so that a page never runs with the scripts of another version.
        let headers = [("etag", file.tag), ("cache-control", "no-cache")] + self.guards
        let isKnown = call.header("if-none-match").map { self.names($0, file.tag) } ?? false
        return HTTPReply(status: isKnown ? 304 : 200, contentType: file.type, body: file.body, headers: headers)
    }

    /// Weak comparison (RFC 9110, section 13.1.2).
    private static func names(_ header: String, _ tag: String) -> Bool {
        header.split(separator: ",").contains { part in
            let candidate = part.drop { $0 == " " || $0 == "\t" }
            return candidate == "*" || candidate == tag || candidate == "W/" + tag
                || candidate.prefix { $0 != " " } == tag
        }
    }
}
