internal import Glibc

/// Threads of the system: a simulation is one long computation and has no place on the pool that tests share.
enum SimulationThreads {
    private final class Work {
        let body: @Sendable () -> Void
        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    /// Runs the same body on some threads, and waits for all.
    static func run(_ count: Int, _ body: @escaping @Sendable () -> Void) {
        var threads: [pthread_t] = []
        for _ in 1..<max(1, count) {
            var thread = pthread_t()
            let work = Unmanaged.passRetained(Work(body))
            let made = pthread_create(
                &thread, nil,
                { raw in
                    Unmanaged<Work>.fromOpaque(raw!).takeRetainedValue().body()
                    return nil
                }, work.toOpaque())
            if made == 0 { threads.append(thread) } else { work.release() }
        }
        body()
        for thread in threads { pthread_join(thread, nil) }
    }
}
