internal import Foundation

/// Threads for tests that compute for long. The shared pool has one thread per core: they would keep all that the others have to wait on.
package final class ComputingThreads: TaskExecutor {
    package static let shared = ComputingThreads()
    /// As many compute at once as would on the pool of a small machine.
    private let places = DispatchSemaphore(value: 2)

    package func enqueue(_ job: consuming ExecutorJob) {
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
