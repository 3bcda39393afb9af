package import Primitives

/// The rich error model: `google.rpc.Status` in `grpc-status-details-bin`.
package enum StatusDetails {
    package static func encode(_ error: VecraftError) -> [UInt8]? {
        var details: [GoogleRPC.Detail] = []
        var info = GoogleRPC.ErrorInfo(reason: error.reason ?? error.code.name, domain: "vecraft")
        if let leader = error.leader { info.metadata["leader"] = "\(leader)" }
        details.append(Self.detail("ErrorInfo", info.encode()))
        if let retryAfter = error.retryAfter {
            let parts = retryAfter.components
            let delay = GoogleRPC.Delay(seconds: parts.seconds, nanos: Int32(parts.attoseconds / 1_000_000_000))
            details.append(Self.detail("RetryInfo", GoogleRPC.RetryInfo(retryDelay: delay).encode()))
        }
        if let field = error.field {
            let violation = GoogleRPC.BadRequest.FieldViolation(field: field, description: error.message)
            details.append(Self.detail("BadRequest", GoogleRPC.BadRequest(fieldViolations: [violation]).encode()))
        }
        return GoogleRPC.Status(code: Int32(error.code.rawValue), message: error.message, details: details).encode()
    }

    /// Fills what a status line cannot say; for clients.
    package static func decode(_ bytes: [UInt8], into error: inout VecraftError) {
        guard let status = try? GoogleRPC.Status.decode(bytes) else { return }
        for detail in status.details {
            switch detail.typeURL.split(separator: ".").last {
            case "ErrorInfo":
                guard let info = try? GoogleRPC.ErrorInfo.decode(detail.value) else { break }
                if info.reason != error.code.name { error.reason = info.reason }
                error.leader = info.metadata["leader"].flatMap { UInt64($0) }
            case "RetryInfo":
                if let delay = (try? GoogleRPC.RetryInfo.decode(detail.value))?.retryDelay {
                    error.retryAfter = .seconds(delay.seconds) + .nanoseconds(Int64(delay.nanos))
                }
            case "BadRequest":
                error.field = (try? GoogleRPC.BadRequest.decode(detail.value))?.fieldViolations.first?.field
            default: break
            }
        }
    }

    private static func detail(_ name: String, _ value: [UInt8]) -> GoogleRPC.Detail {
        GoogleRPC.Detail(typeURL: "type.googleapis.com/google.rpc.\(name)", value: value)
    }
}
