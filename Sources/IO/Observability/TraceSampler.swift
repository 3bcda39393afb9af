package import Primitives

/// Which traces are recorded: the samplers of OpenTelemetry's specification (Trace SDK, section "Built-in samplers").
///
/// A ratio is judged by the trace's identifier, so that all processes decide alike.
package enum TraceSampler: Sendable, Equatable {
    case always
    case never
    /// - Parameter _: Part of traces, 0 to 1.
    case ratio(Double)
    /// As the caller decided; a trace that begins here as said.
    indirect case parentBased(root: TraceSampler)

    package func samples(_ trace: TraceContext, parent: TraceContext?) -> Bool {
        switch self {
        case .always: true
        case .never: false
        case .ratio(let ratio): ratio >= 1 || trace.traceLow < UInt64(max(ratio, 0) * 0x1p64)
        case .parentBased(let root): parent?.sampled ?? root.samples(trace, parent: nil)
        }
    }
}
