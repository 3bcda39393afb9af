import Synchronization

/// Ended spans as fields `spans` of OTLP's `ScopeSpans` (opentelemetry/proto/trace/v1), one behind the other.
package struct SpanBatch: Sendable {
    package fileprivate(set) var count = 0
    fileprivate var bytes: [UInt8] = []
    /// Where the first one begins that was not dropped.
    fileprivate var start = 0

    package var encoded: ArraySlice<UInt8> { self.bytes[self.start...] }

    fileprivate mutating func dropFirst() {
        precondition(self.count > 0)
        // A tag of one byte, the length in groups of seven bits, and so many bytes.
        var at = self.start + 1
        var length = 0
        var shift = 0
        while true {
            let byte = self.bytes[at]
            length |= Int(byte & 0x7f) << shift
            at += 1
            shift += 7
            if byte < 0x80 { break }
        }
        self.start = at + length
        self.count -= 1
    }
}

/// Holds ended spans until an exporter takes them. Bounded: when full, the oldest is dropped and counted.
///
/// They are encoded as they end, into the batch that goes out: nothing of a span outlives the request that it is of.
package final class SpanSink: Sendable {
    private struct State {
        /// Oldest first; those behind the first are whole.
        var full: [SpanBatch] = []
        var filling = SpanBatch()
        var count = 0
        /// What a batch came to, so that the next is made large enough at once.
        var usual = 0
    }

    /// For who does not say; a node does (`OTEL_BSP_MAX_QUEUE_SIZE`, `OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    package static let defaultCapacity = 4_096
    package static let defaultBatch = 512

    package let capacity: Int
    private let batch: Int
    private let woken: AsyncStream<Void>.Continuation
    /// An element whenever a batch is full; none are kept beyond one.
    package let fillings: AsyncStream<Void>
    package let finished: Counter
    package let dropped: Counter
    private let state = Mutex(State())

    /// - Parameters:
    ///   - capacity: Spans held at most.
    ///   - batch: Spans that go out together, at most.
    package init(
        capacity: Int = SpanSink.defaultCapacity, batch: Int = SpanSink.defaultBatch, registry: MetricsRegistry
    ) {
        precondition(capacity > 0 && batch > 0)
        self.capacity = capacity
        self.batch = min(batch, capacity)
        (self.fillings, self.woken) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
        self.finished = registry.counter("vecraft_trace_spans_finished_total", help: "Sampled spans that ended.")
        self.dropped = registry.counter(
            "vecraft_trace_spans_dropped_total",
            help: "Sampled spans that were lost: the exporter was late, or the collector did not take them.")
    }

    func append(_ span: FinishedSpan) {
        self.finished.increment()
        let seldom = span.seldomFields
        let size = span.plainSize + span.attributes.encoded.count + seldom.count
        let head = ProtobufWriter.size(delimited: size) - size + span.plainSize
        let (isFull, wakes) = withUnsafeTemporaryAllocation(of: UInt8.self, capacity: head) { room in
            var out = ProtobufWriter(room)
            out.put(2 << 3 | 2)
            out.put(varint: UInt64(size))
            span.putPlain(&out)
            precondition(out.count == head, "\(out.count) bytes instead of \(head)")
            return self.state.withLock { state in
                if state.filling.bytes.isEmpty { state.filling.bytes.reserveCapacity(state.usual) }
                state.filling.bytes.append(contentsOf: UnsafeBufferPointer(room))
                state.filling.bytes += span.attributes.encoded
                state.filling.bytes += seldom
                state.filling.count += 1
                state.count += 1
                let isFull = state.count > self.capacity
                if isFull { Self.dropOldest(&state) }
                let wakes = state.filling.count == self.batch
                if wakes {
                    state.usual = state.filling.bytes.count * 9 / 8
                    state.full.append(state.filling)
                    state.filling = SpanBatch()
                }
                return (isFull, wakes)
            }
        }
        if isFull { self.dropped.increment() }
        if wakes { self.woken.yield() }
    }

    /// Of the first full batch: there is one, for a batch is no larger than all that is held.
    private static func dropOldest(_ state: inout State) {
        state.count -= 1
        state.full[0].dropFirst()
        if state.full[0].count == 0 { state.full.removeFirst() }
    }

    package var count: Int { self.state.withLock { $0.count } }

    /// Takes the oldest out, at most a batch. Nil: there are none.
    package func take() -> SpanBatch? {
        self.state.withLock { state in
            let taken = state.full.isEmpty ? state.filling : state.full.removeFirst()
            guard taken.count > 0 else { return nil }
            if state.full.isEmpty, state.count == taken.count { state.filling = SpanBatch() }
            state.count -= taken.count
            return taken
        }
    }
}
