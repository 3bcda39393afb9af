package import Primitives
import Synchronization
package import Tracing

/// A span that has ended, as an exporter sees it.
///
/// What most spans have not lies elsewhere: thousands of them are copied and let go each second.
package struct FinishedSpan: Sendable {
    private final class Seldom: Sendable {
        let traceState: String?
        let status: SpanStatus?
        let events: [SpanEvent]
        let links: [TraceContext]
        let droppedLinks: Int

        init(
            _ traceState: String?, _ status: SpanStatus?, _ events: [SpanEvent], _ links: [TraceContext],
            _ droppedLinks: Int
        ) {
            (self.traceState, self.status, self.events) = (traceState, status, events)
            (self.links, self.droppedLinks) = (links, droppedLinks)
        }
    }

    package let name: String
    package let kind: SpanKind
    package let trace: TraceContext
    /// Nil for a root.
    package let parentSpanID: UInt64?
    /// Nanoseconds since 1970.
    package let start: UInt64
    package let end: UInt64
    package let attributes: SpanFields
    private let seldom: Seldom?

    init(
        name: String, kind: SpanKind, trace: TraceContext, parentSpanID: UInt64?, traceState: String?, start: UInt64,
        end: UInt64, attributes: SpanFields, status: SpanStatus?, events: [SpanEvent] = [], links: [TraceContext] = [],
        droppedLinks: Int = 0
    ) {
        (self.name, self.kind, self.trace, self.parentSpanID) = (name, kind, trace, parentSpanID)
        (self.start, self.end, self.attributes) = (start, end, attributes)
        let isPlain = traceState == nil && status == nil && events.isEmpty && links.isEmpty
        self.seldom = isPlain ? nil : Seldom(traceState, status, events, links, droppedLinks)
    }

    /// Nothing but what stands in it: no state, status, events or links.
    package var isPlain: Bool { self.seldom == nil }
    package var traceState: String? { self.seldom?.traceState }
    package var status: SpanStatus? { self.seldom?.status }
    package var events: [SpanEvent] { self.seldom?.events ?? [] }
    /// Spans of other traces or times that this one belongs to: an apply links to the write it applies.
    package var links: [TraceContext] { self.seldom?.links ?? [] }
    package var droppedLinks: Int { self.seldom?.droppedLinks ?? 0 }
}

/// Holds ended spans until an exporter takes them. Bounded: when full, the oldest is dropped and counted.
package final class SpanSink: Sendable {
    private struct State {
        /// A ring, once it has grown to its capacity; `head` is the oldest.
        var spans: [FinishedSpan?] = []
        var head = 0
        var count = 0
    }

    /// For who does not say; a node does (`OTEL_BSP_MAX_QUEUE_SIZE`).
    package static let defaultCapacity = 4_096

    package let capacity: Int
    /// Spans held at which the exporter is woken, before its time.
    private let wakeAt: Int
    private let woken: AsyncStream<Void>.Continuation
    /// An element whenever enough spans are held to be worth a request; none are kept beyond one.
    package let fillings: AsyncStream<Void>
    package let finished: Counter
    package let dropped: Counter
    private let state = Mutex(State())

    /// - Parameter wakeAt: Spans held at which ``fillings`` says so.
    package init(capacity: Int = SpanSink.defaultCapacity, wakeAt: Int = .max, registry: MetricsRegistry) {
        precondition(capacity > 0)
        self.capacity = capacity
        self.wakeAt = wakeAt
        (self.fillings, self.woken) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        self.finished = registry.counter("vecraft_trace_spans_finished_total", help: "Sampled spans that ended.")
        self.dropped = registry.counter(
            "vecraft_trace_spans_dropped_total",
            help: "Sampled spans that were lost: the exporter was late, or the collector did not take them.")
    }

    package func append(_ span: FinishedSpan) {
        self.finished.increment()
        let (full, wakes) = self.state.withLock { state in
            if state.spans.count < self.capacity, state.head == 0, state.count == state.spans.count {
                state.spans.append(span)
                state.count += 1
                return (false, state.count == self.wakeAt)
            }
            state.spans[(state.head + state.count) % state.spans.count] = span
            if state.count < state.spans.count {
                state.count += 1
                return (false, state.count == self.wakeAt)
            }
            state.head = (state.head + 1) % state.spans.count
            return (true, false)
        }
        if full { self.dropped.increment() }
        if wakes { self.woken.yield() }
    }

    package var count: Int { self.state.withLock { $0.count } }

    /// Takes up to `maximum` spans out, oldest first.
    package func take(_ maximum: Int) -> [FinishedSpan] {
        self.state.withLock { state in
            var taken: [FinishedSpan] = []
            while taken.count < maximum, state.count > 0 {
                if let span = state.spans[state.head] { taken.append(span) }
                state.spans[state.head] = nil
                state.head = (state.head + 1) % state.spans.count
                state.count -= 1
            }
            return taken
        }
    }
}
