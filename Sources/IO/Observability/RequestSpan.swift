package import Primitives
internal import Synchronization
package import Tracing

/// The span of a sampled request, made where it arrives and ended where it is answered; those between add what they know.
///
/// For paths that no task runs along, where the tracer's task-local context does not reach. Any thread. What comes after the end is
/// dropped, as is a second end.
package final class RequestSpan: Sendable {
    package let trace: TraceContext
    private let parent: UInt64?
    package let traceState: String?
    /// Nanoseconds since 1970.
    private let start: UInt64
    private let sink: SpanSink
    private let ids: TraceIDs
    /// Nil once it has ended.
    private let fields: Mutex<SpanFields?>
    /// What a search says of itself, and a little more: most spans never grow. Bytes.
    private static let usual = 512

    /// What it is called if nobody ends it.
    private let fallback: String

    init(
        _ fallback: String, _ trace: TraceContext, parent: TraceContext?, traceState: String?, sink: SpanSink,
        ids: TraceIDs
    ) {
        self.fallback = fallback
        self.trace = trace
        self.parent = parent?.spanID
        self.traceState = traceState
        self.start = SystemTime.nanoseconds
        self.fields = Mutex(SpanFields(reserving: Self.usual))
        self.sink = sink
        self.ids = ids
    }

    /// A request that was refused before anybody counted it, or a stream: it ends when nobody holds it.
    deinit { self.end(self.fallback, .server, error: nil) }

    /// Adds fields in place; `body` runs under the span's lock, if it has not ended.
    package func add(_ body: (inout SpanFields) -> Void) {
        self.fields.withLock { fields in
            guard fields != nil else { return }
            body(&fields!)
        }
    }

    /// - Parameters:
    ///   - error: What the request failed with.
    ///   - body: Adds the last fields.
    package func end(
        _ name: String, _ kind: SpanKind, error: VecraftError?, _ body: (inout SpanFields) -> Void = { _ in }
    ) {
        let known = self.fields.withLock { fields -> SpanFields? in
            guard fields != nil else { return nil }
            body(&fields!)
            defer { fields = nil }
            return fields
        }
        guard let known else { return }
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: self.trace, parentSpanID: self.parent, traceState: self.traceState,
                start: self.start, end: max(self.start, SystemTime.nanoseconds), attributes: known,
                status: Self.status(error, kind)))
    }

    // MARK: What happens on its behalf

    /// The identity of a span below this one, to be handed on.
    package func child() -> TraceContext {
        var ids = self.ids
        return self.trace.child(using: &ids)
    }

    /// A span below this one that ends now.
    /// - Parameter start: Nanoseconds since 1970.
    package func report(
        _ name: String, _ kind: SpanKind, as trace: TraceContext, since start: UInt64, error: VecraftError? = nil,
        _ fields: SpanFields = []
    ) {
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: trace, parentSpanID: self.trace.spanID, traceState: self.traceState,
                start: start, end: max(start, SystemTime.nanoseconds), attributes: fields,
                status: Self.status(error, kind)))
    }

    /// Longest message of a status kept: an error may repeat what a caller sent. Unicode scalars, for a character may be of any length.
    private static let statusScalars = 512

    private static func status(_ error: VecraftError?, _ kind: SpanKind) -> SpanStatus? {
        guard let error else { return nil }
        if kind == .server {
            // A caller's mistake is no error of the server (OpenTelemetry, semantic conventions for gRPC, "Server").
            switch error.code {
            case .unknown, .deadlineExceeded, .unimplemented, .internalError, .unavailable, .dataLoss: break
            default: return nil
            }
        }
        return SpanStatus(
            code: .error,
            message: String(String.UnicodeScalarView(error.message.unicodeScalars.prefix(Self.statusScalars))))
    }
}

extension SpanTracer {
    /// Whether work on behalf of sampled spans is recorded: not where nothing that begins here is.
    package var recordsWork: Bool {
        switch self.sampler {
        case .never, .parentBased(root: .never): false
        default: true
        }
    }

    /// A span of a trace of its own that ends now, for work on behalf of others; recorded because they are.
    /// - Parameters:
    ///   - links: Spans that it belongs to; the first 128 are kept, as OpenTelemetry's specification has it.
    ///   - start: Nanoseconds since 1970.
    package func report(
        _ name: String, _ kind: SpanKind, links: [TraceContext], since start: UInt64, _ fields: SpanFields
    ) {
        var ids = self.ids
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: .root(using: &ids, sampled: true), parentSpanID: nil, traceState: nil,
                start: start, end: max(start, SystemTime.nanoseconds), attributes: fields, status: nil,
                links: Array(links.prefix(RecordedSpan.maximumItems)),
                droppedLinks: max(0, links.count - RecordedSpan.maximumItems)))
    }
}
