package import NIOCore
package import Primitives

/// Waits for changes that keep no deadline themselves: what stands still under one (a partition without a quorum, a disk that
/// does not answer) would otherwise keep its caller.
package enum BoundedWait {
    /// What `body` calls back with, or DEADLINE_EXCEEDED, whichever is first; what comes later is dropped.
    package static func until<R: Sendable>(
        _ deadline: NIODeadline, on loop: any EventLoop,
        _ body: (@escaping @Sendable (Result<R, VecraftError>) -> Void) -> Void
    ) async -> Result<R, VecraftError> {
        let timer = TimerBox()
        let answered = Once()
        return await withCheckedContinuation { continuation in
            let answer: @Sendable (Result<R, VecraftError>) -> Void = { result in
                guard answered.take() else { return }
                timer.cancel()
                continuation.resume(returning: result)
            }
            timer.arm(loop.scheduleTask(deadline: deadline) { answer(.failure(Self.late)) })
            body(answer)
        }
    }

    private static let late = VecraftError(
        .deadlineExceeded, "the deadline passed before the change was known to be made; it may be made yet",
        reason: "DEADLINE")
}
