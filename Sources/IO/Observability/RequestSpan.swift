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
    private let traceState: String?
    /// Nanoseconds since 1970.
    private let start: UInt64
    private let sink: SpanSink
    private let ids: TraceIDs
    /// Nil once it has ended.
    private let fields: Mutex<[SpanField]?> = Mutex([])

    init(_ trace: TraceContext, parent: TraceContext?, traceState: String?, sink: SpanSink, ids: TraceIDs) {
        self.trace = trace
        self.parent = parent?.spanID
        self.traceState = traceState
        self.start = SystemTime.nanoseconds
        self.sink = sink
        self.ids = ids
    }

    package func add(_ fields: SpanField...) { self.fields.withLock { $0?.append(contentsOf: fields) } }

    /// - Parameter error: What the request failed with.
    package func end(_ name: String, _ kind: SpanKind, error: VecraftError?, _ more: [SpanField] = []) {
        let known = self.fields.withLock { fields in
            defer { fields = nil }
            return fields
        }
        guard let known else { return }
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: self.trace, parentSpanID: self.parent, traceState: self.traceState,
                start: self.start, end: SystemTime.nanoseconds, attributes: known + more, status: Self.status(error)))
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
        _ fields: [SpanField] = []
    ) {
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: trace, parentSpanID: self.trace.spanID, traceState: self.traceState,
                start: start, end: max(start, SystemTime.nanoseconds), attributes: fields, status: Self.status(error)))
    }

    private static func status(_ error: VecraftError?) -> SpanStatus? {
        error.map { SpanStatus(code: .error, message: $0.message) }
    }
}

extension SpanTracer {
    /// A span of a trace of its own that ends now, for work on behalf of others; recorded because they are.
    /// - Parameters:
    ///   - links: Spans that it belongs to; the first 128 are kept, as OpenTelemetry's specification has it.
    ///   - start: Nanoseconds since 1970.
    package func report(
        _ name: String, _ kind: SpanKind, links: [TraceContext], since start: UInt64, _ fields: [SpanField]
    ) {
        var ids = self.ids
        self.sink.append(
            FinishedSpan(
                name: name, kind: kind, trace: .root(using: &ids, sampled: true), parentSpanID: nil, traceState: nil,
                start: start, end: max(start, SystemTime.nanoseconds), attributes: fields, status: nil,
                links: Array(links.prefix(RecordedSpan.maximumItems))))
    }
}
