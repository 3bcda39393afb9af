package import Primitives
import Synchronization
package import Tracing

/// Traces for swift-distributed-tracing with W3C Trace Context in and out; ended spans go to a ``SpanSink``.
///
/// Unsampled spans carry identifiers, for logs and lineage, and record nothing.
package struct SpanTracer: Tracer {
    package let sink: SpanSink
    /// Draws identifiers; also for code that makes a ``TraceContext`` without a span.
    package let ids: TraceIDs
    let sampler: TraceSampler

    package init(sink: SpanSink, sampler: TraceSampler = .parentBased(root: .always), ids: TraceIDs = TraceIDs()) {
        self.sink = sink
        self.ids = ids
        self.sampler = sampler
    }

    /// Makes this the tracer of every library in the process. Once a process.
    package func bootstrap() { InstrumentationSystem.bootstrap(self) }

    /// Where a new span stands: a new trace, or one span further down its parent's; sampled as the sampler says.
    package func next(_ parent: TraceContext?) -> TraceContext {
        var ids = self.ids
        var trace = parent.map { $0.child(using: &ids) } ?? TraceContext.root(using: &ids)
        trace.sampled = self.sampler.samples(trace, parent: parent)
        return trace
    }

    /// A request that arrives: where it stands, and its span if it is sampled.
    /// - Parameters:
    ///   - parent: The caller's span, if it sent one.
    ///   - state: The caller's `tracestate`; asked for only if it is wanted.
    ///   - name: Of a span that nobody names.
    package func request(
        _ parent: TraceContext?, state: () -> String?, name: @autoclosure () -> String
    ) -> (TraceContext, RequestSpan?) {
        let trace = self.next(parent)
        guard trace.sampled else { return (trace, nil) }
        // Longer than what must be passed on at least is dropped whole (W3C Trace Context, section 3.3.1.5).
        let said = parent == nil ? nil : state().flatMap { $0.isEmpty || $0.utf8.count > 512 ? nil : $0 }
        return (trace, RequestSpan(name(), trace, parent: parent, traceState: said, sink: self.sink, ids: self.ids))
    }

    package func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> RecordedSpan {
        var context = context()
        let parent = context.trace
        let trace = self.next(parent)
        context.trace = trace
        return RecordedSpan(
            name: operationName, kind: kind, context: context, trace: trace, parent: parent?.spanID,
            start: instant().nanosecondsSinceEpoch, sink: trace.sampled ? self.sink : nil)
    }

    /// Nothing to do: spans are in the sink when they end, and the exporter flushes what it takes.
    package func forceFlush() {}

    package func extract<Carrier, Extract: Extractor>(
        _ carrier: Carrier, into context: inout InstrumentationContext, using extractor: Extract
    ) where Extract.Carrier == Carrier {
        // Malformed: as if it were absent, and its tracestate with it (W3C Trace Context, section 4.3).
        guard let parent = extractor.extract(key: "traceparent", from: carrier),
            let trace = TraceContext(traceparent: parent.trimmed)
        else { return }
        context.trace = trace
        // 512 characters is what a tracestate must be passed on at least (section 3.3.1.5); longer is dropped whole.
        if let state = extractor.extract(key: "tracestate", from: carrier), state.utf8.count <= 512 {
            context.traceState = state
        }
    }

    package func inject<Carrier, Inject: Injector>(
        _ context: InstrumentationContext, into carrier: inout Carrier, using injector: Inject
    ) where Inject.Carrier == Carrier {
        guard let trace = context.trace else { return }
        injector.inject(trace.traceparent, forKey: "traceparent", into: &carrier)
        if let state = context.traceState { injector.inject(state, forKey: "tracestate", into: &carrier) }
    }
}

/// A span under way. Ending it a second time does nothing, as does changing it after its end.
package final class RecordedSpan: Tracing.Span {
    private struct State {
        var name: String
        var attributes: SpanAttributes = [:]
        var status: SpanStatus?
        var events: [SpanEvent] = []
        var links: [TraceContext] = []
        var ended = false
    }

    /// Of events and of links a span keeps this many, the limit OpenTelemetry's specification gives as default.
    package static let maximumItems = 128

    package let context: InstrumentationContext
    package let trace: TraceContext
    private let kind: SpanKind
    private let parent: UInt64?
    private let start: UInt64
    private let sink: SpanSink?
    private let state: Mutex<State>

    init(
        name: String, kind: SpanKind, context: InstrumentationContext, trace: TraceContext, parent: UInt64?,
        start: UInt64,
        sink: SpanSink?
    ) {
        self.context = context
        self.trace = trace
        self.kind = kind
        self.parent = parent
        self.start = start
        self.sink = sink
        self.state = Mutex(State(name: name))
    }

    package var isRecording: Bool { self.sink != nil && !self.state.withLock { $0.ended } }

    package var operationName: String {
        get { self.state.withLock { $0.name } }
        set { self.change { $0.name = newValue } }
    }

    package var attributes: SpanAttributes {
        get { self.state.withLock { $0.attributes } }
        set { self.change { $0.attributes = newValue } }
    }

    package func setStatus(_ status: SpanStatus) { self.change { $0.status = status } }

    package func addEvent(_ event: SpanEvent) {
        self.change { if $0.events.count < Self.maximumItems { $0.events.append(event) } }
    }

    package func recordError<Instant: TracerInstant>(
        _ error: any Error, attributes: SpanAttributes, at instant: @autoclosure () -> Instant
    ) {
        var attributes = attributes
        attributes["exception.type"] = "\(type(of: error))"
        attributes["exception.message"] = "\(error)"
        self.addEvent(SpanEvent(name: "exception", at: instant(), attributes: attributes))
    }

    package func addLink(_ link: SpanLink) {
        guard let trace = link.context.trace else { return }
        self.addLink(to: trace)
    }

    /// Links to a span of which only the identifiers are known, as in a journal entry.
    package func addLink(to trace: TraceContext) {
        self.change { if $0.links.count < Self.maximumItems { $0.links.append(trace) } }
    }

    package func end<Instant: TracerInstant>(at instant: @autoclosure () -> Instant) {
        guard let sink = self.sink else { return }
        let end = instant().nanosecondsSinceEpoch
        let finished: FinishedSpan? = self.state.withLock { state in
            if state.ended { return nil }
            state.ended = true
            return FinishedSpan(
                name: state.name, kind: self.kind, trace: self.trace, parentSpanID: self.parent,
                traceState: self.context.traceState, start: self.start, end: max(self.start, end),
                attributes: SpanFields(state.attributes.fields),
                status: state.status, events: state.events, links: state.links)
        }
        if let finished { sink.append(finished) }
    }

    private func change(_ body: (inout sending State) -> Void) {
        guard self.sink != nil else { return }
        self.state.withLock { if !$0.ended { body(&$0) } }
    }
}
