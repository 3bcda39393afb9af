import CPlatform
import Glibc
import HNSW

/// What one piece of background work came to.
enum StepOutcome {
    case worked
    /// Nothing was done that others need to know, and there is to be another look at once.
    case again
    case idle
    /// Something failed; try again at this monotonic time, in nanoseconds.
    case later(UInt64)
}

/// Somebody with background work in pieces of at most some tens of milliseconds. A merge takes longer and looks at a stop flag;
/// so does the writing of a graph when the shard is dropped.
protocol BackgroundWork: AnyObject {
    /// Any number of threads at once.
    func step(_ scratch: SearchScratch) -> StepOutcome
}

/// Background threads for linking, sealing and merging, shared by shards; they yield to everybody else.
///
/// `@unchecked Sendable`: all that changes is under `mutex`.
package final class ShardWorkers: @unchecked Sendable {
    private final class Source {
        let work: any BackgroundWork
        var busy = 0
        var wakes: UInt64 = 0
        var isReady = false
        var isLeaving = false
        init(_ work: any BackgroundWork) { self.work = work }
    }

    /// The least share there is: who applies links too when these do not keep up.
    private static let nice: Int32 = 19
    /// About as long as one row takes to link.
    private static let turnMicroseconds: UInt32 = 100

    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private let changed: UnsafeMutablePointer<pthread_cond_t>
    private var sources: [ObjectIdentifier: Source] = [:]
    /// Sources that may have work, served in turn. At most one entry a source.
    private var ready: [Source] = []
    private var delayed: [(time: UInt64, source: Source)] = []
    private var isStopping = false
    private var threads: [pthread_t] = []

    package init(threads count: Int) {
        precondition((1...256).contains(count), "\(count) index threads")
        self.mutex = .allocate(capacity: 1)
        self.changed = .allocate(capacity: 1)
        pthread_mutex_init(self.mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(self.changed, &attributes)
        pthread_condattr_destroy(&attributes)
        for _ in 0..<count {
            var thread = pthread_t()
            let context = Unmanaged.passRetained(self)
            let status = pthread_create(
                &thread, nil,
                { context in
                    let workers = Unmanaged<ShardWorkers>.fromOpaque(context!).takeRetainedValue()
                    workers.run()
                    return nil
                }, context.toOpaque())
            precondition(status == 0, "pthread_create: \(status)")
            self.threads.append(thread)
        }
    }

    deinit {
        pthread_cond_destroy(self.changed)
        pthread_mutex_destroy(self.mutex)
        self.changed.deallocate()
        self.mutex.deallocate()
    }

    /// Ends the threads after the piece of work in hand. Engines must be closed before.
    package func stop() {
        pthread_mutex_lock(self.mutex)
        precondition(self.sources.isEmpty, "\(self.sources.count) engines are still open")
        self.isStopping = true
        let threads = self.threads
        self.threads = []
        pthread_cond_broadcast(self.changed)
        pthread_mutex_unlock(self.mutex)
        for thread in threads { pthread_join(thread, nil) }
    }

    func add(_ work: any BackgroundWork) {
        pthread_mutex_lock(self.mutex)
        self.sources[ObjectIdentifier(work)] = Source(work)
        pthread_mutex_unlock(self.mutex)
        self.wake(work)
    }

    /// Returns when no thread is in `work.step` any more.
    func remove(_ work: any BackgroundWork) {
        pthread_mutex_lock(self.mutex)
        if let source = self.sources[ObjectIdentifier(work)] {
            source.isLeaving = true
            self.ready.removeAll { $0 === source }
            self.delayed.removeAll { $0.source === source }
            while source.busy > 0 { pthread_cond_wait(self.changed, self.mutex) }
            self.sources[ObjectIdentifier(work)] = nil
        }
        pthread_mutex_unlock(self.mutex)
    }

    /// There is something to do.
    func wake(_ work: any BackgroundWork) {
        pthread_mutex_lock(self.mutex)
        if let source = self.sources[ObjectIdentifier(work)] {
            source.wakes &+= 1
            if !source.isReady {
                self.makeReady(source)
                pthread_cond_broadcast(self.changed)
            }
        }
        pthread_mutex_unlock(self.mutex)
    }

    private func makeReady(_ source: Source) {
        guard !source.isReady, !source.isLeaving else { return }
        source.isReady = true
        self.ready.append(source)
    }

    private func run() {
        vc_thread_name("vecraft-index")
        // Where a system refuses, background work competes evenly.
        _ = vc_thread_background(Self.nice, Self.turnMicroseconds)
        let scratch = SearchScratch()
        pthread_mutex_lock(self.mutex)
        while !self.isStopping {
            self.reviveDelayed()
            guard let source = self.ready.first else {
                self.sleep()
                continue
            }
            // To the back, not out: several threads may work for one source.
            self.ready.removeFirst()
            self.ready.append(source)
            source.busy += 1
            let wakes = source.wakes
            pthread_mutex_unlock(self.mutex)
            let outcome = source.work.step(scratch)
            pthread_mutex_lock(self.mutex)
            source.busy -= 1
            self.settle(source, outcome, wakes)
        }
        pthread_mutex_unlock(self.mutex)
    }

    private func settle(_ source: Source, _ outcome: StepOutcome, _ wakes: UInt64) {
        if source.isLeaving {
            if source.busy == 0 { pthread_cond_broadcast(self.changed) }
            return
        }
        switch outcome {
        case .worked:
            // What one thread finished may be what another has found missing, and comes back to say so: that is news to it.
            source.wakes &+= 1
            if !source.isReady {
                self.makeReady(source)
                pthread_cond_broadcast(self.changed)
            }
        case .again:
            // No broadcast: who knocked is awake, and two threads would call one another in turns.
            source.wakes &+= 1
            self.makeReady(source)
        case .idle, .later:
            if source.wakes == wakes, source.isReady {
                source.isReady = false
                self.ready.removeAll { $0 === source }
            }
            if case .later(let time) = outcome { self.delay(source, until: time) }
        }
    }

    /// One time a source: the earliest it asked for. It says the later ones again then.
    private func delay(_ source: Source, until time: UInt64) {
        if let known = self.delayed.firstIndex(where: { $0.source === source }) {
            self.delayed[known].time = min(time, self.delayed[known].time)
        } else {
            self.delayed.append((time, source))
        }
    }

    private func reviveDelayed() {
        guard !self.delayed.isEmpty else { return }
        let now = monotonicNanoseconds()
        let due = self.delayed.filter { $0.time <= now }
        guard !due.isEmpty else { return }
        for item in due { self.makeReady(item.source) }
        self.delayed.removeAll { $0.time <= now }
        // Others sleep until times of their own.
        pthread_cond_broadcast(self.changed)
    }

    private func sleep() {
        guard let next = self.delayed.map(\.time).min() else {
            pthread_cond_wait(self.changed, self.mutex)
            return
        }
        var until = timespec(tv_sec: Int(next / 1_000_000_000), tv_nsec: Int(next % 1_000_000_000))
        pthread_cond_timedwait(self.changed, self.mutex, &until)
    }
}
