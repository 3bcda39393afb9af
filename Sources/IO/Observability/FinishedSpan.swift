internal import Primitives
internal import Tracing

/// A span that has ended, and its fields as OTLP's `Span` has them (opentelemetry/proto/trace/v1).
///
/// Fields of a message may stand in any order, so one behind the other is one message. By hand, for thousands of spans a second are to
/// cost little beside what they tell of.
struct FinishedSpan {
    let name: String
    let kind: SpanKind
    let trace: TraceContext
    /// Nil for a root.
    let parentSpanID: UInt64?
    let traceState: String?
    /// Nanoseconds since 1970.
    let start: UInt64
    let end: UInt64
    let attributes: SpanFields
    let status: SpanStatus?
    var events: [SpanEvent] = []
    /// Spans of other traces or times that this one belongs to: an apply links to the write it applies.
    var links: [TraceContext] = []
    var droppedLinks = 0

    // MARK: What each span has

    /// Bytes of identifiers, name, kind, times and flags.
    var plainSize: Int {
        18 + 10 + (self.parentSpanID == nil ? 0 : 10) + ProtobufWriter.size(delimited: self.name.utf8.count) + 2 + 9
            + 9 + 6
    }

    func putPlain(_ out: inout ProtobufWriter) {
        out.put(1, self.trace)
        out.put(2, id: self.trace.spanID)
        if let parent = self.parentSpanID { out.put(4, id: parent) }
        out.put(5, self.name, self.name.utf8.count)
        out.put(6 << 3)
        let kind: UInt8 =
            switch self.kind {
            case .internal: 1
            case .server: 2
            case .client: 3
            case .producer: 4
            case .consumer: 5
            }
        out.put(kind)
        out.put(7 << 3 | 1)
        out.put(fixed: self.start)
        out.put(8 << 3 | 1)
        out.put(fixed: self.end)
        out.put(varint: 16 << 3 | 5)
        out.put(flags: self.trace.sampled)
    }

    // MARK: What few have

    /// Trace state, events, links and status; empty for most.
    var seldomFields: [UInt8] {
        if self.traceState == nil, self.status == nil, self.events.isEmpty, self.links.isEmpty { return [] }
        var out: [UInt8] = []
        if let state = self.traceState { out.append(3, Array(state.utf8)) }
        for event in self.events {
            var inner: [UInt8] = [1 << 3 | 1]
            inner.append(fixed: event.nanosecondsSinceEpoch)
            inner.append(2, Array(event.name.utf8))
            inner += SpanFields(event.attributes.fields, as: 3).encoded
            out.append(11, inner)
        }
        for link in self.links {
            out.append(13, size: 33) { inner in
                inner.put(1, link)
                inner.put(2, id: link.spanID)
                inner.put(6 << 3 | 5)
                inner.put(flags: link.sampled)
            }
        }
        if self.droppedLinks > 0 {
            out.append(14 << 3)
            out.append(varint: UInt64(UInt32(clamping: self.droppedLinks)))
        }
        if let status = self.status {
            var inner: [UInt8] = []
            if let message = status.message { inner.append(2, Array(message.utf8)) }
            inner += [3 << 3, status.code == .error ? 2 : 1]
            out.append(15, inner)
        }
        return out
    }
}

extension ProtobufWriter {
    fileprivate mutating func put(_ number: UInt8, _ trace: TraceContext) {
        self.put(number << 3 | 2)
        self.put(16)
        self.put(bigEndian: trace.traceHigh)
        self.put(bigEndian: trace.traceLow)
    }

    fileprivate mutating func put(_ number: UInt8, id: UInt64) {
        self.put(number << 3 | 2)
        self.put(8)
        self.put(bigEndian: id)
    }

    /// The value of a `fixed32`: whether the trace is sampled.
    fileprivate mutating func put(flags isSampled: Bool) {
        self.put(isSampled ? 1 : 0)
        for _ in 0..<3 { self.put(0) }
    }
}

extension [UInt8] {
    /// A field of bytes: text, or a message.
    fileprivate mutating func append(_ number: UInt8, _ content: [UInt8]) {
        self.append(number << 3 | 2)
        self.append(varint: UInt64(content.count))
        self += content
    }

    fileprivate mutating func append(_ number: UInt8, size: Int, _ write: (inout ProtobufWriter) -> Void) {
        self.append(number << 3 | 2)
        self.append(varint: UInt64(size))
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: size) { room in
            var out = ProtobufWriter(room)
            write(&out)
            precondition(out.count == size, "\(out.count) bytes instead of \(size)")
            self.append(contentsOf: UnsafeBufferPointer(room))
        }
    }

    fileprivate mutating func append(fixed value: UInt64) {
        Swift.withUnsafeBytes(of: value.littleEndian) { self.append(contentsOf: $0) }
    }
}
