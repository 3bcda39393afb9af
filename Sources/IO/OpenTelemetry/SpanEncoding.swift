internal import Observability
internal import Primitives
internal import Tracing
internal import Wire

/// Spans as OTLP's protobuf.
///
/// protobuf-c measures a message anew for each level it lies in, and most of a span are attributes two levels deep: so what is around a
/// span is put together here, its attributes as they became known (``SpanFields``), the span itself by protobuf-c. Fields of a message
/// may stand in any order, so one behind the other is one message.
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
        body.reserveCapacity(spans.count * 512)
        ArenaPool.shared.withArena { arena in
            for i in spans.indices {
                let out = OTLPTraceV1.Span.Builder(in: arena)
                Self.fill(out, spans[i])
                let size = out.encodedSize
                body.append(2 << 3 | 2)
                body.append(varint: UInt64(size + spans[i].attributes.encoded.count))
                withUnsafeTemporaryAllocation(byteCount: size, alignment: 1) { raw in
                    out.encode(into: raw, size: size)
                    body.append(contentsOf: raw)
                }
                body += spans[i].attributes.encoded
                arena.reset()
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

    private static func fill(_ out: OTLPTraceV1.Span.Builder, _ span: borrowing FinishedSpan) {
        Self.set(out.traceID, traceOf: span.trace)
        Self.set(out.spanID, span.trace.spanID)
        if let parent = span.parentSpanID { Self.set(out.parentSpanID, parent) }
        if let state = span.traceState { out.traceState.set(state) }
        out.flags = span.trace.sampled ? 1 : 0
        out.name.set(span.name)
        out.kind =
            switch span.kind {
            case .internal: .internal
            case .server: .server
            case .client: .client
            case .producer: .producer
            case .consumer: .consumer
            }
        out.startTimeUnixNano = span.start
        out.endTimeUnixNano = span.end
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
