/// What went wrong, said once for every wire: gRPC status, HTTP problem, exit code of the command line.
///
/// `message` is for a person and never holds a secret. `field` and `limit` are set when bad input is refused.
package struct VecraftError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Canonical gRPC codes, with their numbers.
    package enum Code: Int, Sendable, CaseIterable {
        case ok = 0, cancelled, unknown, invalidArgument, deadlineExceeded, notFound, alreadyExists, permissionDenied
        case resourceExhausted, failedPrecondition, aborted, outOfRange, unimplemented, internalError, unavailable
        case dataLoss, unauthenticated

        /// The name clients match on ("INVALID_ARGUMENT").
        package var name: String {
            switch self {
            case .ok: "OK"
            case .cancelled: "CANCELLED"
            case .unknown: "UNKNOWN"
            case .invalidArgument: "INVALID_ARGUMENT"
            case .deadlineExceeded: "DEADLINE_EXCEEDED"
            case .notFound: "NOT_FOUND"
            case .alreadyExists: "ALREADY_EXISTS"
            case .permissionDenied: "PERMISSION_DENIED"
            case .resourceExhausted: "RESOURCE_EXHAUSTED"
            case .failedPrecondition: "FAILED_PRECONDITION"
            case .aborted: "ABORTED"
            case .outOfRange: "OUT_OF_RANGE"
            case .unimplemented: "UNIMPLEMENTED"
            case .internalError: "INTERNAL"
            case .unavailable: "UNAVAILABLE"
            case .dataLoss: "DATA_LOSS"
            case .unauthenticated: "UNAUTHENTICATED"
            }
        }
    }

    package var code: Code
    package var message: String
    /// The request field at fault ("points[3].vector"), when one is.
    package var field: String?
    /// Machine-readable reason, UPPER_SNAKE ("DISK_FULL", "IDEMPOTENCY_KEY_REUSED", "REPLICA_BEHIND").
    package var reason: String?
    /// When trying again may help.
    package var retryAfter: Duration?
    /// With reason "NOT_LEADER": the node that leads, if it is known.
    package var leader: UInt64?

    package init(
        _ code: Code, _ message: String, field: String? = nil, reason: String? = nil, retryAfter: Duration? = nil,
        leader: UInt64? = nil
    ) {
        self.code = code
        self.message = message
        self.field = field
        self.reason = reason
        self.retryAfter = retryAfter
        self.leader = leader
    }

    /// Bad input: names the field and says what is allowed.
    package static func invalid(_ field: String, _ message: String) -> VecraftError {
        VecraftError(.invalidArgument, "\(field): \(message)", field: field)
    }

    package var description: String { "\(self.code.name): \(self.message)" }
}
