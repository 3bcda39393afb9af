import NIOCore
import Observability
package import Primitives

/// Errors as `application/problem+json` (RFC 9457), the one shape every refusal over HTTP has.
package enum HTTPProblem {
    package static let contentType = "application/problem+json"

    /// The HTTP status of an error: by its code, refined by the few reasons that HTTP has a status of its own for.
    package static func status(of error: VecraftError) -> Int {
        switch error.reason {
        case Reason.diskFull: return 507
        case Reason.bodyTooLarge, Reason.answerTooLarge: return 413
        case Reason.methodNotAllowed: return 405
        case Reason.pageTokenExpired: return 410
        default: break
        }
        return switch error.code {
        case .ok: 200
        // nginx's "client closed request"; no registered status says it.
        case .cancelled: 499
        case .invalidArgument, .failedPrecondition, .outOfRange: 400
        case .unauthenticated: 401
        case .permissionDenied: 403
        case .notFound: 404
        case .alreadyExists: 409
        case .aborted: 412
        case .resourceExhausted: 429
        case .unknown, .internalError, .dataLoss: 500
        case .unimplemented: 501
        case .unavailable: 503
        case .deadlineExceeded: 504
        }
    }

    /// The document and its headers.
    /// - Parameters:
    ///   - instance: The path asked for.
    ///   - requestID: Goes into the document too, for whoever has only that.
    package static func reply(_ error: VecraftError, instance: String, requestID: String) -> HTTPReply {
        let status = Self.status(of: error)
        var json = JSONWriter()
        func member(_ name: String, _ value: String?) {
            guard let value else { return }
            json.key(name)
            json.string(value)
        }
        json.beginObject()
        member("type", "urn:vecraft:error:" + (error.reason ?? error.code.name))
        member("title", Self.title(status))
        json.key("status")
        json.integer(Int64(status))
        member("detail", error.message)
        member("instance", instance)
        member("code", error.code.name)
        member("request_id", requestID)
        member("reason", error.reason)
        member("field", error.field)
        var reply = HTTPReply(status: status, contentType: Self.contentType)
        if let retryAfter = error.retryAfter {
            let milliseconds = max(0, Int((retryAfter.seconds * 1_000).rounded(.up)))
            json.key("retry_after_ms")
            json.integer(Int64(milliseconds))
            // Whole seconds are all the header can say; zero would be an invitation to spin.
            reply.headers.append(("retry-after", String(max(1, (milliseconds + 999) / 1_000))))
        }
        if status == 401 { reply.headers.append(("www-authenticate", "Bearer")) }
        json.endObject()
        reply.body = ByteBuffer(bytes: json.bytes)
        return reply
    }

    /// Reasons that decide a status.
    package enum Reason {
        package static let diskFull = "DISK_FULL"
        package static let bodyTooLarge = "BODY_TOO_LARGE"
        /// Content too large, though it is the answer's: 429 would invite to try the same again.
        package static let answerTooLarge = "ANSWER_TOO_LARGE"
        package static let methodNotAllowed = "METHOD_NOT_ALLOWED"
        package static let pageTokenExpired = "PAGE_TOKEN_EXPIRED"
    }

    static func title(_ status: Int) -> String {
        switch status {
        case 400: "Bad Request"
        case 401: "Unauthorized"
        case 403: "Forbidden"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 409: "Conflict"
        case 410: "Gone"
        case 412: "Precondition Failed"
        case 413: "Content Too Large"
        case 429: "Too Many Requests"
        case 499: "Client Closed Request"
        case 500: "Internal Server Error"
        case 501: "Not Implemented"
        case 503: "Service Unavailable"
        case 504: "Gateway Timeout"
        case 507: "Insufficient Storage"
        default: "Status \(status)"
        }
    }
}
