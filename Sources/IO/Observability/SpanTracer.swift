package import Primitives
import Synchronization
package import Tracing

/// Traces for swift-distributed-tracing with W3C Trace Context in and out; ended spans go to a ``SpanSink``.
///
/// Sampling follows the parent; a root is sampled by its identifier at the given ratio, so that all processes would
/// decide alike. Unsampled spans carry identifiers, for logs and lineage, and record nothing.
package struct SpanTracer: Tracer {
    package let sink: SpanSink
    /// Draws identifiers; also for code that makes a ``TraceContext`` without a span.
    package let ids: TraceIDs
    private let threshold: UInt64

    /// - Parameter ratio: Part of new traces that is sampled, 0 to 1.
    package init(sink: SpanSink, ratio: Double = 1, ids: TraceIDs = TraceIDs()) {
        precondition((0...1).contains(ratio), "sampling ratio \(ratio)")
        self.sink = sink
        self.ids = ids
        self.threshold = ratio == 1 ? .max : UInt64(ratio * 0x1p64)
    }

    /// Makes this the tracer of every library in the process. Once a process.
    package func bootstrap() { InstrumentationSystem.bootstrap(self) }

    /// A new trace, sampled or not as the ratio says.
    package func root() -> TraceContext {
        var ids = self.ids
        var root = TraceContext.root(using: &ids)
        root.sampled = self.threshold == .max || root.traceLow < self.threshold
        return root
    }

    /// One span further down the trace.
    package func child(of parent: TraceContext) -> TraceContext {
        var ids = self.ids
        return parent.child(using: &ids)
    }

    package func startSpan<Instant: TracerInstant>(
        _ operationName: String, context: @autoclosure () -> InstrumentationContext, ofKind kind: SpanKind,
        at instant: @autoclosure () -> Instant, function: String, file fileID: String, line: UInt
    ) -> RecordedSpan {
        var context = context()
        let parent = context.trace
        let trace = parent.map(self.child(of:)) ?? self.root()
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
                traceState: self.context.traceState, start: self.start, end: end, attributes: state.attributes,
                status: state.status, events: state.events, links: state.links)
        }
        if let finished { sink.append(finished) }
    }

    private func change(_ body: (inout sending State) -> Void) {
        guard self.sink != nil else { return }
        self.state.withLock { if !$0.ended { body(&$0) } }
    }
}
