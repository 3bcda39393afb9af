internal import Observability
internal import Wire

/// What goes around batches of spans, as OTLP's protobuf.
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
    func request(_ spans: SpanBatch) -> [UInt8] {
        let scopeSpans = self.scope.count + spans.encoded.count
        let resourceSpans = self.resource.count + ProtobufWriter.size(delimited: scopeSpans)
        var out: [UInt8] = []
        out.reserveCapacity(ProtobufWriter.size(delimited: resourceSpans))
        out.append(1 << 3 | 2)
        out.append(varint: UInt64(resourceSpans))
        out += self.resource
        out.append(2 << 3 | 2)
        out.append(varint: UInt64(scopeSpans))
        out += self.scope
        out += spans.encoded
        return out
    }

    /// A field that is a message (protobuf's encoding, "Length-Delimited Records").
    private static func field(_ number: UInt8, _ message: [UInt8]) -> [UInt8] {
        var out = [number << 3 | 2]
        out.append(varint: UInt64(message.count))
        return out + message
    }
}
