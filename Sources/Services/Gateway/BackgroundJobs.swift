internal import NIOPosix
internal import Primitives

/// Slow unary calls, run side by side off the event loops. Limit: `maxPending` that wait; one more is refused.
///
/// They block while they read, so each that runs has a thread of its own: those of Swift's pool are as many as there are cores, and the rest
/// of the node lives on them.
final class BackgroundJobs: Sendable {
    typealias Job = @Sendable () async -> Void

    private let jobs: AsyncStream<Job>
    private let continuation: AsyncStream<Job>.Continuation
    private let sideBySide: Int
    private let maxPending: Int

    init(sideBySide: Int, maxPending: Int) {
        self.sideBySide = sideBySide
        self.maxPending = maxPending
        (self.jobs, self.continuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingOldest(maxPending))
    }

    func submit(_ job: @escaping Job) throws(VecraftError) {
        switch self.continuation.yield(job) {
        case .enqueued: return
        case .terminated: throw VecraftError(.unavailable, "the node is stopping", reason: "DRAINING")
        default:
            throw VecraftError(
                .resourceExhausted, "\(self.maxPending) background requests wait already", reason: "TOO_MANY_WAITING",
                retryAfter: .seconds(1))
        }
    }

    func run() async {
        let threads = BlockingThreads(jobs: self.sideBySide)
        await withTaskGroup(of: Void.self) { group in
            var running = 0
            for await job in self.jobs {
                if running >= self.sideBySide {
                    await group.next()
                    running -= 1
                }
                group.addTask(executorPreference: threads) { await job() }
                running += 1
            }
        }
        await threads.end()
    }

    func stop() { self.continuation.finish() }
}

/// Threads that may block: one for each job, and one for what jobs begin beside themselves and wait for, such as questions to other nodes.
private final class BlockingThreads: TaskExecutor {
    private let pool: NIOThreadPool

    init(jobs: Int) {
        self.pool = NIOThreadPool(numberOfThreads: jobs + 1)
        self.pool.start()
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        let executor = self.asUnownedTaskExecutor()
        self.pool.submit { _ in job.runSynchronously(on: executor) }
    }

    /// After the last job.
    func end() async { try? await self.pool.shutdownGracefully() }
}
