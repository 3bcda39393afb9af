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

/// The task of a test. `@unchecked Sendable`: cancelled by a child of it only, which it outlives.
private struct Running: @unchecked Sendable {
    let task: UnsafeCurrentTask?
}

/// Runs tests on the suite's own threads, for a limited time each.
///
/// Not `.timeLimit`: that also counts the time a test waits for a turn on the shared pool, before it begins and after its end.
struct OwnThreads: SuiteTrait, TestTrait, TestScoping {
    /// For a test that hangs, on a machine so loaded that all others take minutes.
    var limit = Duration.seconds(600)
    var isRecursive: Bool { true }

    func provideScope(
        for _: Test, testCase: Test.Case?, performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        try await withTaskExecutorPreference(TestThreads.shared) {
            let test = Running(task: withUnsafeCurrentTask { $0 })
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    try await Task.sleep(for: self.limit)
                    Issue.record("out of time: \(self.limit)")
                    test.task?.cancel()
                }
                defer { group.cancelAll() }
                try await function()
            }
        }
    }
}

extension Trait where Self == OwnThreads {
    static var ownThreads: OwnThreads { OwnThreads() }
    static func ownThreads(limit: Duration) -> OwnThreads { OwnThreads(limit: limit) }
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
