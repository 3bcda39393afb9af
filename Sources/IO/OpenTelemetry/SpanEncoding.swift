internal import Observability
internal import Primitives
internal import Tracing
internal import Wire

/// Spans as OTLP's protobuf.
struct SpanEncoding: Sendable {
    let resource: [TraceExportSettings.Header]
    let scope: String
    let version: String

    /// An `ExportTraceServiceRequest`.
    func request(_ spans: [FinishedSpan]) -> [UInt8] {
        ArenaPool.shared.withArena { arena in
            let request = OTLPCollectorTraceV1.ExportTraceServiceRequest.Builder(in: arena)
            let all = request.resourceSpans.make(1)[0]
            let attributes = all.resource.make().attributes.make(self.resource.count)
            for (i, attribute) in self.resource.enumerated() {
                attributes[i].key.set(attribute.name)
                attributes[i].value.make().stringValue.set(attribute.value)
            }
            let scope = all.scopeSpans.make(1)[0]
            let maker = scope.scope.make()
            maker.name.set(self.scope)
            maker.version.set(self.version)
            let out = scope.spans.make(spans.count)
            for (i, span) in spans.enumerated() { Self.fill(out[i], span) }
            return request.encode()
        }
    }

    private static func fill(_ out: OTLPTraceV1.Span.Builder, _ span: FinishedSpan) {
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
        Self.fill(out.attributes, span.attributes)
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
        }
        guard let status = span.status else { return }
        let said = out.status.make()
        said.code = status.code == .error ? .error : .ok
        if let message = status.message { said.message.set(message) }
    }

    private static func fill(_ slot: RepeatedSlot<OTLPCommonV1.KeyValue.Builder>, _ fields: [SpanField]) {
        guard !fields.isEmpty else { return }
        let out = slot.make(fields.count)
        for (i, field) in fields.enumerated() {
            out[i].key.set(field.key)
            Self.fill(out[i].value.make(), field.value)
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
