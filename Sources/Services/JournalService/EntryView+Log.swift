package import JournalFormat
package import Logging
internal import Primitives

extension EntryView {
    /// Whose line of the log it is that says something of this entry.
    package var logFields: Logger.Metadata {
        let trace = self.trace
        return [
            "request_id": "\(String(decoding: self.requestID, as: UTF8.self))", "trace_id": "\(trace.traceIDHex)",
            "span_id": "\(trace.spanIDHex)",
        ]
    }
}
