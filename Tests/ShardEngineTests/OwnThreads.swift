import Foundation
import Testing

/// Threads of this suite's own. The shared pool has one thread per core: tests that compute for minutes would keep all that the others
/// have to wait on.
private final class TestThreads: TaskExecutor {
    static let shared = TestThreads()
    /// As many compute at once as would on the pool of a small machine.
    private let places = DispatchSemaphore(value: 2)

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        Thread.detachNewThread {
            // Whoever waits for something goes first: nodes that other tests started, and their clients.
            setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 10)
            self.places.wait()
            defer { self.places.signal() }
            job.runSynchronously(on: self.asUnownedTaskExecutor())
        }
    }
}

/// Runs tests on the suite's own threads.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for _: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(TestThreads.shared) { try await function() }
    }
}

extension Trait where Self == OwnThreads {
    static var ownThreads: OwnThreads { OwnThreads() }
}
