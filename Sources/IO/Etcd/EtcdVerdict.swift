import GRPC
import Primitives

/// What an etcd's error means for the request that met it. Sources: etcd's `api/v3rpc/rpctypes`, for texts and codes.
enum EtcdVerdict: Equatable {
    /// For certain not applied; another member or a later attempt may take it.
    case notApplied
    /// It may have been applied, or may be yet.
    case unknown
    /// Not applied: the token is not good (any more).
    case authenticate
    /// Asking again will not help.
    case final(VecraftError)

    private static let refused = "CREDENTIALS_REFUSED"

    init(_ error: VecraftError) {
        if error.wasNeverSent {
            self = .notApplied
            return
        }
        func says(_ text: String) -> Bool { error.message.contains(text) }
        switch error.code {
        // With metadata `hasleader` both are said before the request is looked at.
        case .unavailable where says("etcdserver: no leader") || says("etcdserver: not capable"): self = .notApplied
        case .unauthenticated where error.reason == Self.refused: self = .final(error)
        case .unauthenticated: self = .authenticate
        case .invalidArgument where says("auth store is old") || says("user name is empty"): self = .authenticate
        case .invalidArgument where says("invalid user ID or password"):
            self = .final(VecraftError(.unauthenticated, "etcd refuses the user or the password", reason: Self.refused))
        case .invalidArgument where says("request is too large"):
            self = .final(.invalid("value", "is larger than this etcd takes"))
        case .resourceExhausted where says("database space exceeded"):
            self = .final(VecraftError(.resourceExhausted, "etcd: \(error.message)", reason: "DISK_FULL"))
        case .resourceExhausted where says("too many requests"): self = .notApplied
        case .notFound where says("lease not found"):
            self = .final(VecraftError(.failedPrecondition, "etcd has no such lease any more", reason: "LEASE_LOST"))
        case .outOfRange where says("has been compacted"):
            self = .final(VecraftError(.outOfRange, "etcd: \(error.message)", reason: "COMPACTED"))
        case .unavailable, .deadlineExceeded, .cancelled, .internalError, .unknown, .aborted: self = .unknown
        default:
            var error = error
            error.message = "etcd: \(error.message)"
            self = .final(error)
        }
    }
}
