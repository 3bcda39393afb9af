import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Observability
import Primitives
import Synchronization

/// Takes a request from Hummingbird, finds its route, reads its body within the limits, and turns whatever happens into
/// an answer.
final class HTTPDispatcher: HTTPResponder {
    /// What Hummingbird knows of a request beside the request.
    struct Context: InitializableFromSource {
        let peer: String?
        init(source: ApplicationRequestContextSource) {
            self.peer = source.channel.remoteAddress.flatMap { address in
                address.ipAddress.map { "\($0):\(address.port ?? 0)" }
            }
        }
    }

    private struct Table {
        var routes: [HTTPRoute]
        var router: HTTPRouter
        /// More routes are to come.
        var isStarting: Bool
    }
    private let table: Mutex<Table>
    private let settings: HTTPServerSettings
    private let metrics: HTTPMetrics
    private let ids: TraceIDs
    private let logger: Logger
    /// Bytes of bodies held now, by all requests.
    private let buffered = Atomic<Int>(0)

    init(
        _ routes: [HTTPRoute], isStarting: Bool, settings: HTTPServerSettings, metrics: HTTPMetrics, ids: TraceIDs,
        logger: Logger
    ) {
        self.table = Mutex(Table(routes: routes, router: HTTPRouter(routes), isStarting: isStarting))
        self.settings = settings
        self.metrics = metrics
        self.ids = ids
        self.logger = logger
    }

    func complete(with routes: [HTTPRoute]) {
        self.table.withLock { table in
            table.routes += routes
            table.router = HTTPRouter(table.routes)
            table.isStarting = false
        }
    }

    func respond(to request: Request, context: Context) async throws -> Response {
        let receivedAt = SystemTime.monotonicNanoseconds
        self.metrics.inFlight.add(1)
        defer { self.metrics.inFlight.add(-1) }
        let requestID = self.requestID(request.headers)
        let target = request.head.path ?? "/"
        let cut = target.firstIndex(of: "?")
        let path = String(cut.map { target[..<$0] } ?? target[...])
        let queryText = cut.map { String(target[target.index(after: $0)...]) } ?? ""
        let isHead = request.method == .head
        let verb = isHead ? HTTPVerb.get : HTTPVerb(rawValue: request.method.rawValue)

        var route = "unmatched"
        var closing = false
        var reply: HTTPReply
        let (router, isStarting) = self.table.withLock { ($0.router, $0.isStarting) }
        switch router.match(verb, path: path) {
        case .found(let found, let parameters):
            route = found.pattern
            var held = 0
            defer { self.release(held) }
            do {
                let body = try await self.collect(request, held: &held)
                reply = try await found.handler(
                    HTTPCall(
                        verb: found.verb, path: path, route: found.pattern, queryText: queryText,
                        headers: request.headers,
                        body: body, requestID: requestID, trace: self.trace(request.headers),
                        traceState: Self.first(request.headers, "tracestate"), peer: context.peer,
                        receivedAt: receivedAt,
                        parameters: parameters))
            } catch let refusal as BodyRefusal {
                closing = refusal.closing
                reply = HTTPProblem.reply(refusal.error, instance: path, requestID: requestID)
            } catch {
                reply = HTTPProblem.reply(self.describe(error, route, requestID), instance: path, requestID: requestID)
            }
        case .otherMethods(let verbs):
            let allow = Self.allow(verbs)
            if request.method == .options {
                reply = HTTPReply.empty.adding("allow", allow)
            } else {
                let error = VecraftError(
                    .unimplemented, "\(request.method.rawValue) is not a method of \(path); allowed: \(allow)",
                    reason: HTTPProblem.Reason.methodNotAllowed)
                reply = HTTPProblem.reply(error, instance: path, requestID: requestID).adding("allow", allow)
            }
        case .unknown:
            let error =
                isStarting
                ? VecraftError(
                    .unavailable, "the node is starting; /readyz says how far it is", reason: "STARTING",
                    retryAfter: .seconds(1))
                : VecraftError(.notFound, "nothing is served at \(path)", reason: "ROUTE_NOT_FOUND")
            reply = HTTPProblem.reply(error, instance: path, requestID: requestID)
        }
        let method = verb == nil ? "other" : request.method.rawValue
        self.metrics.requests.with(route, method, String(reply.status)).increment()
        self.metrics.duration.with(route, method).observe(nanoseconds: SystemTime.monotonicNanoseconds &- receivedAt)
        return Self.response(reply, requestID: requestID, isHead: isHead, closing: closing)
    }

    // MARK: Reading

    /// A body that is not read to its end.
    private struct BodyRefusal: Error {
        let error: VecraftError
        /// True if bytes are still to come, so the connection cannot be used again.
        let closing: Bool
    }

    /// - Parameter held: Bytes taken from the common budget, to be given back when the request is over.
    private func collect(_ request: Request, held: inout Int) async throws -> ByteBuffer {
        do {
            return try await self.read(request, &held)
        } catch let refusal as BodyRefusal {
            throw refusal
        } catch is CancellationError {
            throw CancellationError()
        } catch {
            // The client stopped in the middle, or its framing makes no sense: nothing that this side could mend.
            self.logger.debug("a request body broke off", metadata: ["error": "\(error)"])
            let broken = VecraftError(
                .invalidArgument, "the request body broke off before its end", reason: "BODY_INCOMPLETE")
            throw BodyRefusal(error: broken, closing: true)
        }
    }

    private func read(_ request: Request, _ held: inout Int) async throws -> ByteBuffer {
        let limit = self.settings.maximumBodyBytes
        let tooLarge = VecraftError(
            .resourceExhausted, "the request body is larger than \(limit) bytes",
            reason: HTTPProblem.Reason.bodyTooLarge)
        let declared = request.headers[.contentLength].flatMap { Int($0) }
        // Past the limit, as much again is read and dropped, so that a client that is merely wrong gets its answer on a
        // live connection; one that sends without end is cut off.
        if let declared, declared > 2 * limit { throw BodyRefusal(error: tooLarge, closing: true) }
        var body = ByteBuffer()
        var received = 0
        for try await var chunk in request.body {
            let count = chunk.readableBytes
            received += count
            if received > limit {
                body = ByteBuffer()
                if received > 2 * limit { throw BodyRefusal(error: tooLarge, closing: true) }
                continue
            }
            guard self.reserve(count) else {
                let full = VecraftError(
                    .unavailable, "request bodies fill the memory set aside for them", reason: "HTTP_BODIES_FULL",
                    retryAfter: .seconds(1))
                throw BodyRefusal(error: full, closing: true)
            }
            held += count
            if body.readableBytes == 0 {
                body = chunk
                // Room for the rest at once, but never more than was promised and is allowed.
                if let declared, declared > count { body.reserveCapacity(min(declared, limit)) }
            } else {
                body.writeBuffer(&chunk)
            }
        }
        if received > limit { throw BodyRefusal(error: tooLarge, closing: false) }
        return body
    }

    private func reserve(_ count: Int) -> Bool {
        let after = self.buffered.wrappingAdd(count, ordering: .relaxed).newValue
        if after > self.settings.maximumBufferedBytes {
            self.buffered.wrappingSubtract(count, ordering: .relaxed)
            return false
        }
        self.metrics.bufferedBytes.set(after)
        return true
    }

    private func release(_ count: Int) {
        if count == 0 { return }
        self.metrics.bufferedBytes.set(self.buffered.wrappingSubtract(count, ordering: .relaxed).newValue)
    }

    /// The caller's id when it is fit for a header and a log: visible ASCII within the limit.
    private func requestID(_ headers: HTTPFields) -> String {
        if let given = Self.first(headers, "x-request-id"), (1...Limits.requestIDBytes).contains(given.utf8.count),
            given.utf8.allSatisfy({ (0x21...0x7e).contains($0) })
        {
            return given
        }
        var ids = self.ids
        return TraceContext.hex(ids.next()) + TraceContext.hex(ids.next())
    }

    private func trace(_ headers: HTTPFields) -> TraceContext? {
        Self.first(headers, "traceparent").flatMap { TraceContext(traceparent: $0) }
    }

    private static func first(_ headers: HTTPFields, _ name: String) -> String? {
        HTTPField.Name(name).flatMap { headers[values: $0].first }
    }

    // MARK: Answering

    /// What the client is told of an error. Only a `VecraftError` is written for its eyes.
    private func describe(_ error: any Error, _ route: String, _ requestID: String) -> VecraftError {
        switch error {
        case let error as VecraftError: return error
        case is CancellationError: return VecraftError(.cancelled, "the request was cancelled")
        default:
            self.logger.error(
                "request failed unexpectedly",
                metadata: ["route": "\(route)", "request_id": "\(requestID)", "error": "\(error)"])
            return VecraftError(.internalError, "internal error; the log has it under this request id")
        }
    }

    private static func allow(_ verbs: [HTTPVerb]) -> String {
        var names = verbs.map(\.rawValue)
        if verbs.contains(.get) { names.append("HEAD") }
        return (names + ["OPTIONS"]).sorted().joined(separator: ", ")
    }

    private static func response(_ reply: HTTPReply, requestID: String, isHead: Bool, closing: Bool) -> Response {
        var headers = HTTPFields()
        if let type = reply.contentType { headers[.contentType] = type }
        for (name, value) in reply.headers {
            guard let name = HTTPField.Name(name) else { preconditionFailure("\(name) is no header name") }
            headers.append(HTTPField(name: name, value: value))
        }
        if let name = HTTPField.Name("x-request-id") { headers[name] = requestID }
        let status = HTTPResponse.Status(code: reply.status, reasonPhrase: "")
        let body = reply.body
        if closing {
            headers[.connection] = "close"
            return Response(
                status: status, headers: headers,
                body: ResponseBody(contentLength: isHead ? 0 : body.readableBytes) { writer in
                    if !isHead { try await writer.write(body) }
                    try await writer.finish(nil)
                    // Hummingbird keeps a connection unless something fails.
                    throw ConnectionFinished()
                })
        }
        let response = Response(status: status, headers: headers, body: ResponseBody(byteBuffer: body))
        // A 304 tells the length of what it stands for, and does not send it (RFC 9110, section 15.4.5).
        return isHead || reply.status == 304 ? response.createHeadResponse() : response
    }

    private struct ConnectionFinished: Error {}
}
