package import HTTPTypes
package import NIOCore
package import Primitives

/// One request, read whole.
package struct HTTPCall: Sendable {
    /// Of the request; GET for a HEAD, whose body is then not sent.
    package let verb: HTTPVerb
    /// As sent, without the query.
    package let path: String
    /// The pattern of the route that answers: bounded, so fit for a label.
    package let route: String
    /// Without the `?`, as sent.
    package let queryText: String
    package let headers: HTTPFields
    package let body: ByteBuffer
    /// The caller's `x-request-id`, or one made here; goes back in the answer and into the journal.
    package let requestID: String
    /// The caller's span, from `traceparent`. Nil if absent or malformed: then this request begins a trace.
    package let trace: TraceContext?
    /// `tracestate` as it came.
    package let traceState: String?
    /// "127.0.0.1:51234"; nil if unknown.
    package let peer: String?
    /// Monotonic nanoseconds when the request's head was read.
    package let receivedAt: UInt64
    private let parameters: [String: String]

    init(
        verb: HTTPVerb, path: String, route: String, queryText: String, headers: HTTPFields, body: ByteBuffer,
        requestID: String,
        trace: TraceContext?, traceState: String?, peer: String?, receivedAt: UInt64, parameters: [String: String]
    ) {
        self.verb = verb
        self.path = path
        self.route = route
        self.queryText = queryText
        self.headers = headers
        self.body = body
        self.requestID = requestID
        self.trace = trace
        self.traceState = traceState
        self.peer = peer
        self.receivedAt = receivedAt
        self.parameters = parameters
    }

    /// A parameter of the route's pattern, percent-decoded and never empty. Asking for one that the pattern lacks is a
    /// bug and traps.
    package func parameter(_ name: String) -> String {
        guard let value = self.parameters[name] else { preconditionFailure("\(self.route) has no parameter \(name)") }
        return value
    }

    /// A parameter that only some of the patterns of a handler have (`{tenant}`).
    package func optionalParameter(_ name: String) -> String? { self.parameters[name] }

    /// The first value of a header, by name in any case; nil if absent.
    package func header(_ name: String) -> String? {
        guard let name = HTTPField.Name(name) else { return nil }
        return self.headers[values: name].first
    }

    /// All parameters of the query, decoded, in order.
    /// - Throws: `.invalidArgument` on a malformed escape.
    package func query() throws(VecraftError) -> [(name: String, value: String)] {
        var pairs: [(name: String, value: String)] = []
        for pair in self.queryText.split(separator: "&") {
            let halves = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard let name = PercentCoding.decode(halves[0], plusIsSpace: true),
                let value = halves.count == 2 ? PercentCoding.decode(halves[1], plusIsSpace: true) : ""
            else { throw .invalid("query", "malformed percent-encoding in \"\(pair.prefix(64))\"") }
            pairs.append((name, value))
        }
        return pairs
    }

    /// The first value of one parameter of the query; nil if absent.
    package func query(_ name: String) throws(VecraftError) -> String? {
        try self.query().first { $0.name == name }?.value
    }

    /// The body in place.
    package func withBody<T, Failure: Error>(
        _ read: (UnsafeRawBufferPointer) throws(Failure) -> T
    ) throws(Failure) -> T {
        // `ByteBuffer` only rethrows untyped errors, so the outcome is carried through it.
        let outcome: Result<T, Failure> = self.body.withUnsafeReadableBytes { raw in
            do throws(Failure) { return .success(try read(raw)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }
}
