package import Primitives
internal import Wire

/// Reads `grpc-status-details-bin`, a google.rpc.Status, into what our errors carry.
package enum StatusDetails {
    /// What cannot be read is left out: the status itself has come already.
    package static func read(_ bytes: [UInt8], into error: inout VecraftError) {
        guard let status = try? GoogleRPC.Status.decode(bytes) else { return }
        for detail in status.details {
            switch detail.typeURL.split(separator: "/").last {
            case "google.rpc.ErrorInfo":
                error.reason = (try? GoogleRPC.ErrorInfo.decode(detail.value))?.reason
            case "google.rpc.RetryInfo":
                guard let delay = (try? GoogleRPC.RetryInfo.decode(detail.value))?.retryDelay else { break }
                error.retryAfter = .seconds(delay.seconds) + .nanoseconds(Int64(delay.nanos))
            case "google.rpc.BadRequest":
                error.field = (try? GoogleRPC.BadRequest.decode(detail.value))?.fieldViolations.first?.field
            default: break
            }
        }
    }
}
