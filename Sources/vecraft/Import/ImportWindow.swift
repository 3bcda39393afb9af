package import Primitives

/// The batches of an import that are on their way, oldest first.
///
/// No socket and no clock: the driver says what happened and is told what to do. A batch keeps its bytes until it is
/// acknowledged, so that sending it again sends the same request under the same idempotency key: the node writes it once.
package struct ImportWindow: Sendable {
    package struct Limits: Sendable {
        /// Enough to keep a node's journal busy while answers travel.
        package var requests = 8
        /// What unanswered requests may hold of this process's memory, and at most of the node's.
        package var bytes = 32 << 20
        /// Tries of one batch that the node refuses for now, before the import gives up.
        package var attempts = 12
        package init() {}
    }

    package struct Batch: Equatable, Sendable {
        /// Position of its first point in the file, from 0.
        package var start: Int
        package var points: Int
        /// The encoded request.
        package var request: [UInt8]
        package var attempts = 0
        /// Line of the file that each point stands in; empty where there are no lines.
        package var lines: [Int] = []

        package init(start: Int, points: Int, request: [UInt8]) {
            self.start = start
            self.points = points
            self.request = request
        }
    }

    package enum Answer: Equatable, Sendable {
        /// Stored.
        case stored
        /// Not now: wait, then send this batch again.
        case again(Batch, after: Duration)
        /// Never: the import ends.
        case failed(VecraftError)
    }

    package let limits: Limits
    package private(set) var inFlight: [Batch] = []
    private var bytes = 0
    /// Points stored, whatever their order.
    package private(set) var storedPoints = 0
    package private(set) var storedRequests = 0
    package private(set) var replayedRequests = 0
    /// Connections lost one after another with nothing stored between.
    private var losses = 0

    package init(limits: Limits = Limits()) { self.limits = limits }

    /// One request is always let through, however large.
    package var hasRoom: Bool {
        self.inFlight.isEmpty || self.inFlight.count < self.limits.requests && self.bytes < self.limits.bytes
    }

    package mutating func sent(_ batch: Batch) {
        self.inFlight.append(batch)
        self.bytes += batch.request.count
    }

    /// The answer to the oldest batch: answers come in the order of the requests.
    ///
    /// - Parameter code: 0, or the gRPC code of this batch's refusal.
    package mutating func answered(code: Int, message: String, replayed: Bool) -> Answer {
        precondition(!self.inFlight.isEmpty, "an answer, but no request is on its way")
        var batch = self.inFlight.removeFirst()
        self.bytes -= batch.request.count
        guard let code = VecraftError.Code(rawValue: code) else {
            return .failed(VecraftError(.unknown, "status \(code): \(message)"))
        }
        switch code {
        case .ok:
            self.storedPoints += batch.points
            self.storedRequests += 1
            self.replayedRequests += replayed ? 1 : 0
            self.losses = 0
            return .stored
        // A full queue or disk, a node that is starting or stopping: time may help.
        case .resourceExhausted, .unavailable, .aborted, .deadlineExceeded:
            batch.attempts += 1
            // Back in its place, so that what is not stored is still known in order.
            self.inFlight.insert(batch, at: 0)
            self.bytes += batch.request.count
            guard batch.attempts < self.limits.attempts else { return .failed(VecraftError(code, message)) }
            self.inFlight.removeFirst()
            self.inFlight.append(batch)
            return .again(batch, after: Self.pause(batch.attempts))
        default:
            self.inFlight.insert(batch, at: 0)
            self.bytes += batch.request.count
            return .failed(VecraftError(code, message))
        }
    }

    /// The connection is gone, and with it the answers to all that is on its way.
    ///
    /// - Returns: How long to wait before connecting again and sending ``inFlight`` once more; nil: give up.
    package mutating func lost() -> Duration? {
        self.losses += 1
        return self.losses <= self.limits.attempts ? Self.pause(self.losses) : nil
    }

    /// Points of the file before this one are all stored: where a later import may go on. Nil: all that were sent are.
    package var firstMissing: Int? { self.inFlight.map(\.start).min() }

    /// 0.1 s, doubling up to 5 s: a node that restarts is back within seconds, one that is gone is told of within a minute.
    package static func pause(_ attempt: Int) -> Duration {
        .milliseconds(min(5000, 100 << min(attempt - 1, 10)))
    }
}
