package import Primitives

/// What a finished command tells the shell. Part of the interface: scripts branch on it.
package enum ExitStatus: Int32, Sendable, CaseIterable {
    case success = 0
    /// The command failed in a way that no other number says.
    case failure = 1
    /// The command line, a file it names or a value in it cannot be used.
    case usage = 2
    /// The collection, point, entry or other thing asked for is not there.
    case notFound = 3
    /// No node answered, or it cannot do its work now: trying again later may help.
    case unavailable = 4
    /// No answer within `--timeout`. A write may have been done or not: the same idempotency key finds out.
    case deadline = 5
    /// The node refused: it exists already, a condition does not hold, or permission is missing.
    case refused = 6
    /// Stored data is damaged.
    case damaged = 7

    package init(_ code: VecraftError.Code) {
        self =
            switch code {
            case .ok: .success
            case .invalidArgument, .outOfRange: .usage
            case .notFound: .notFound
            case .unavailable, .resourceExhausted: .unavailable
            case .deadlineExceeded: .deadline
            case .alreadyExists, .failedPrecondition, .aborted, .permissionDenied, .unauthenticated: .refused
            case .dataLoss: .damaged
            case .cancelled, .unknown, .unimplemented, .internalError: .failure
            }
    }

    /// The section of `vecraft --help`.
    package static let help = """
        EXIT STATUS:
          0  done
          1  failed; `health`: not ready
          2  the command line, or a file or value it names, cannot be used
          3  not found
          4  no node answers there, or it cannot do this now: try again later
          5  no answer in time (--timeout)
          6  refused: exists already, a condition does not hold, no permission
          7  stored data is damaged
        """
}

/// A command that has said what there was to say, and ends with a status of its own.
package struct QuietExit: Error, Equatable {
    package var status: ExitStatus
    package init(_ status: ExitStatus) { self.status = status }
}
