internal import Observability
internal import Primitives
internal import Tracing
internal import Wire

/// Spans as OTLP's protobuf.
///
/// Fields of a message may stand in any order, so one behind the other is one message. What each span has is written here, its
/// attributes as they became known (``SpanFields``); what few have, by protobuf-c, which measures a message anew for each level it lies
/// in: of thousands of spans a second that was most of the cost.
struct SpanEncoding: Sendable {
    /// Encoded `Resource` and `InstrumentationScope`, as fields.
    private let resource: [UInt8]
    private let scope: [UInt8]

    init(resource: [TraceExportSettings.Header], scope: String, version: String) {
        let attributes = resource.map {
            OTLPCommonV1.KeyValue(key: $0.name, value: .init(value: .stringValue($0.value)))
        }
        self.resource = Self.field(1, OTLPResourceV1.Resource(attributes: attributes).encode())
        self.scope = Self.field(1, OTLPCommonV1.InstrumentationScope(name: scope, version: version).encode())
    }

    /// An `ExportTraceServiceRequest` of one `ResourceSpans` of one `ScopeSpans`.
    func request(_ spans: [FinishedSpan]) -> [UInt8] {
        var body = self.scope
        body.reserveCapacity(body.count + spans.count * 512)
        ArenaPool.shared.withArena { arena in
            for i in spans.indices {
                let name = spans[i].name.utf8.count
                let plain = Self.plainSize(spans[i], name)
                let attributes = spans[i].attributes.encoded
                if spans[i].isPlain {
                    Self.append(plain, to: &body, size: plain + attributes.count) { Self.put(spans[i], name, &$0) }
                } else {
                    let seldom = OTLPTraceV1.Span.Builder(in: arena)
                    Self.fill(seldom, spans[i])
                    let bytes = seldom.encodedSize
                    Self.append(plain, to: &body, size: plain + attributes.count + bytes) {
                        Self.put(spans[i], name, &$0)
                    }
                    withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 1) { raw in
                        seldom.encode(into: raw, size: bytes)
                        body.append(contentsOf: raw)
                    }
                    arena.reset()
                }
                body += attributes
            }
        }
        return Self.field(1, self.resource + Self.field(2, body))
    }

    /// A field that is a message (protobuf's encoding, "Length-Delimited Records").
    private static func field(_ number: UInt8, _ message: [UInt8]) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(message.count + 11)
        Self.append(number, message, to: &out)
        return out
    }

    private static func append(_ number: UInt8, _ message: [UInt8], to out: inout [UInt8]) {
        out.append(number << 3 | 2)
        out.append(varint: UInt64(message.count))
        out += message
    }

    /// Begins field 2, a span of `size` bytes, with its first `count`.
    private static func append(
        _ count: Int, to body: inout [UInt8], size: Int, _ write: (inout ProtobufWriter) -> Void
    ) {
        body.append(2 << 3 | 2)
        body.append(varint: UInt64(size))
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: count) { room in
            var out = ProtobufWriter(room)
            write(&out)
            precondition(out.count == count, "\(out.count) bytes instead of \(count)")
            body.append(contentsOf: UnsafeBufferPointer(room))
        }
    }

    /// - Parameter name: Bytes of its name.
    private static func plainSize(_ span: borrowing FinishedSpan, _ name: Int) -> Int {
        18 + 10 + (span.parentSpanID == nil ? 0 : 10) + ProtobufWriter.size(delimited: name) + 2 + 9 + 9 + 6
    }

    /// Identifiers, name, kind, times and flags: fields of opentelemetry/proto/trace/v1.
    private static func put(_ span: borrowing FinishedSpan, _ name: Int, _ out: inout ProtobufWriter) {
        out.put(1 << 3 | 2)
        out.put(16)
        out.put(bigEndian: span.trace.traceHigh)
        out.put(bigEndian: span.trace.traceLow)
        out.put(2 << 3 | 2)
        out.put(8)
        out.put(bigEndian: span.trace.spanID)
        if let parent = span.parentSpanID {
            out.put(4 << 3 | 2)
            out.put(8)
            out.put(bigEndian: parent)
        }
        out.put(5, span.name, name)
        let kind: OTLPTraceV1.Span.SpanKind =
            switch span.kind {
            case .internal: .internal
            case .server: .server
            case .client: .client
            case .producer: .producer
            case .consumer: .consumer
            }
        out.put(6 << 3)
        out.put(UInt8(truncatingIfNeeded: kind.rawValue))
        out.put(7 << 3 | 1)
        out.put(fixed: span.start)
        out.put(8 << 3 | 1)
        out.put(fixed: span.end)
        out.put(varint: 16 << 3 | 5)
        out.put(span.trace.sampled ? 1 : 0)
        for _ in 0..<3 { out.put(0) }
    }

    /// What few spans have.
    private static func fill(_ out: OTLPTraceV1.Span.Builder, _ span: borrowing FinishedSpan) {
        if let state = span.traceState { out.traceState.set(state) }
        if !span.events.isEmpty {
            let events = out.events.make(span.events.count)
            for (i, event) in span.events.enumerated() {
                events[i].timeUnixNano = event.nanosecondsSinceEpoch
                events[i].name.set(event.name)
                Self.fill(events[i].attributes, event.attributes.fields)
            }
        }
        if !span.links.isEmpty {
            let links = out.links.make(span.links.count)
            for (i, link) in span.links.enumerated() {
                Self.set(links[i].traceID, traceOf: link)
                Self.set(links[i].spanID, link.spanID)
                links[i].flags = link.sampled ? 1 : 0
            }
            out.droppedLinksCount = UInt32(clamping: span.droppedLinks)
        }
        guard let status = span.status else { return }
        let said = out.status.make()
        said.code = status.code == .error ? .error : .ok
        if let message = status.message { said.message.set(message) }
    }

    private static func fill(_ slot: RepeatedSlot<OTLPCommonV1.KeyValue.Builder>, _ fields: [SpanField]) {
        guard !fields.isEmpty else { return }
        let out = slot.make(fields.count)
        for i in fields.indices {
            out[i].key.set(fields[i].key)
            Self.fill(out[i].value.make(), fields[i].value)
        }
    }

    private static func fill(_ out: OTLPCommonV1.AnyValue.Builder, _ value: SpanField.Value) {
        switch value {
        case .text(let text): out.stringValue.set(text)
        case .flag(let flag): out.boolValue = flag
        case .integer(let number): out.intValue = number
        case .number(let number): out.doubleValue = number
        case .list(let values):
            let out = out.arrayValue.make().values.make(values.count)
            for (i, value) in values.enumerated() { Self.fill(out[i], value) }
        }
    }

    private static func set(_ slot: BytesSlot, traceOf trace: TraceContext) {
        withUnsafeBytes(of: (trace.traceHigh.bigEndian, trace.traceLow.bigEndian)) { slot.set(copying: $0) }
    }
    private static func set(_ slot: BytesSlot, _ word: UInt64) {
        withUnsafeBytes(of: word.bigEndian) { slot.set(copying: $0) }
    }
}
