import NIOPosix
import Testing

/// Threads of this suite's own. The shared pool has one thread per core, and a suite that computes keeps them for seconds:
/// a test here that changes threads a hundred times would wait for such a turn a hundred times.
private final class TestThreads: TaskExecutor {
    static let shared = TestThreads()
    private let pool = NIOThreadPool(numberOfThreads: 4)

    private init() { self.pool.start() }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        self.pool.submit { _ in job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}

/// Runs tests on the suite's own threads.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
    var isRecursive: Bool { true }

    func provideScope(
        for test: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(TestThreads.shared) { try await function() }
    }
}

extension Trait where Self == OwnThreads {
    static var ownThreads: OwnThreads { OwnThreads() }
}

/// Work beside the test, on the suite's threads, ended with it.
struct Beside<Success: Sendable>: Sendable {
    private let task: Task<Success, any Error>

    init(_ body: @escaping @Sendable () async throws -> Success) {
        self.task = Task(executorPreference: TestThreads.shared) { try await body() }
    }

    func cancel() { self.task.cancel() }

    var value: Success {
        get async throws {
            try await withTaskCancellationHandler {
                try await self.task.value
            } onCancel: {
                self.task.cancel()
            }
        }
    }
}
