package import Logging
package import Primitives
package import Tracing

private enum TraceKey: InstrumentationContextKey {
    typealias Value = TraceContext
}

private enum TraceStateKey: InstrumentationContextKey {
    typealias Value = String
}

extension InstrumentationContext {
    /// The span that new spans become children of.
    package var trace: TraceContext? {
        get { self[TraceKey.self] }
        set { self[TraceKey.self] = newValue }
    }

    /// The `tracestate` header as it came; passed on as it is.
    package var traceState: String? {
        get { self[TraceStateKey.self] }
        set { self[TraceStateKey.self] = newValue }
    }
}

extension Logger.MetadataProvider {
    /// `trace_id` and `span_id` of the current task, when it has a trace.
    package static let currentTrace = Logger.MetadataProvider {
        guard let trace = InstrumentationContext.current?.trace else { return [:] }
        return ["trace_id": "\(trace.traceIDHex)", "span_id": "\(trace.spanIDHex)"]
    }
}
