/// Methods a route can answer. HEAD is answered by GET, OPTIONS by the table of routes.
package enum HTTPVerb: String, Sendable, CaseIterable {
    case get = "GET"
    case put = "PUT"
    case post = "POST"
    case patch = "PATCH"
    case delete = "DELETE"
}

/// What answers one method of one path.
package struct HTTPRoute: Sendable {
    package typealias Handler = @Sendable (HTTPCall) async throws -> HTTPReply

    package let verb: HTTPVerb
    /// Segments are literal (`collections`, `points:search`), a parameter (`{collection}`), or a parameter with a colon
    /// verb (`{collection}:restore`).
    package let pattern: String
    package let handler: Handler

    /// - Parameter handler: A `VecraftError` becomes a problem document; anything else thrown is logged and answered as
    ///   INTERNAL.
    package init(_ verb: HTTPVerb, _ pattern: String, _ handler: @escaping Handler) {
        self.verb = verb
        self.pattern = pattern
        self.handler = handler
    }
}
