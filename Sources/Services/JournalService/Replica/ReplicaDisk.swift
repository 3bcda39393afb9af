internal import FileStore
internal import JournalFormat
internal import JournalStore
internal import Primitives
internal import Raft
internal import Synchronization

/// A replica's disk: one thread that does what the replica decided, in order, and syncs once for all that has collected.
final class ReplicaDisk: Sendable {
    enum Job: Sendable {
        case save(HardState, SaveTicket)
        case write(FrameRun, WriteTicket, cutFrom: LogIndex?)
        case trim(LogStart)
        case adopt(StagedLog, WriteTicket)
        case discard(StagedLog)
        /// What every job does at its end, alone.
        case noteCommit
    }
    /// What the replica is told.
    enum Done: Sendable {
        case saved(SaveTicket)
        /// All writes up to the ticket.
        case written(WriteTicket)
        case adopted(WriteTicket, keys: IdempotencyTable)
        case failed(FileFault)
    }

    private struct State {
        var jobs: [Job] = []
        var isClosed = false
        /// Writes handed over and not yet told to be done.
        var writes = 0
    }
    private let state = Mutex(State())
    private let signal = Signal()
    private let store: ReplicaStore
    private let observer: (any JournalObserver)?
    private let tell: @Sendable (Done) -> Void
    private let worker = Mutex<Worker?>(nil)

    /// How long a full disk is left alone before the same write is tried again.
    private static let retryMilliseconds: UInt64 = 50

    init(_ store: ReplicaStore, observer: (any JournalObserver)?, tell: @escaping @Sendable (Done) -> Void) {
        self.store = store
        self.observer = observer
        self.tell = tell
    }

    func start() throws(VecraftError) {
        let worker = try Worker(name: "disk-\(self.store.partition)") { self.run() }
        self.worker.withLock { $0 = worker }
    }

    /// The bound of what collects is the machine's: uncommitted bytes and batches, windows of peers.
    func add(_ job: Job) {
        self.state.withLock { state in
            state.jobs.append(job)
            if case .write = job { state.writes += 1 }
        }
        self.signal.raise()
    }

    /// Writes that have not been answered.
    var outstandingWrites: Int { self.state.withLock { $0.writes } }

    /// What was handed over is still done, if the disk lets it; then the thread ends.
    func close() {
        self.state.withLock { $0.isClosed = true }
        self.signal.raise()
        let worker = self.worker.withLock { worker in
            defer { worker = nil }
            return worker
        }
        worker?.join()
    }

    private func run() {
        while true {
            let (jobs, isClosed) = self.state.withLock { state in
                defer { state.jobs.removeAll(keepingCapacity: false) }
                return (state.jobs, state.isClosed)
            }
            if jobs.isEmpty {
                if isClosed { return self.store.close() }
                self.signal.wait()
                continue
            }
            do throws(FileFault) {
                try self.carryOut(jobs)
            } catch {
                self.tell(.failed(error))
                return self.store.abandon()
            }
        }
    }

    private func carryOut(_ jobs: [Job]) throws(FileFault) {
        // Term and vote first: nothing that is written needs to come before them, and votes wait for them. The last counts.
        var save: (HardState, SaveTicket)?
        for job in jobs { if case .save(let state, let ticket) = job { save = (state, ticket) } }
        if let save {
            try self.patiently { () throws(FileFault) in try self.store.save(save.0) }
            self.tell(.saved(save.1))
        }
        var written: WriteTicket?
        var entries = 0
        var bytes = 0
        var count = 0
        let started = SystemClock.monotonicNanoseconds()
        for job in jobs {
            switch job {
            case .save, .noteCommit: break
            case .write(let run, let ticket, let cut):
                if let cut { try self.patiently { () throws(FileFault) in try self.store.cut(from: cut) } }
                try self.patiently { () throws(FileFault) in try self.store.write(run) }
                written = ticket
                entries += run.count
                bytes += run.bytes.count
                count += 1
            case .trim(let start): try self.patiently { () throws(FileFault) in try self.store.trim(to: start) }
            case .adopt(let staged, let ticket):
                // What was written before belongs to the log that goes.
                let keys = try self.store.adopt(staged)
                self.state.withLock { $0.writes -= count }
                (written, entries, bytes, count) = (nil, 0, 0, 0)
                self.tell(.adopted(ticket, keys: keys))
            case .discard(let staged): staged.abandon()
            }
        }
        if let written {
            let begun = SystemClock.monotonicNanoseconds()
            try self.store.sync()
            let synced = SystemClock.monotonicNanoseconds()
            self.observer?.synced(
                partition: self.store.partition, entries: entries, bytes: bytes, write: .nanoseconds(begun - started),
                sync: .nanoseconds(synced - begun))
            self.state.withLock { $0.writes -= count }
            self.tell(.written(written))
        }
        self.store.noteCommit()
    }

    /// A full disk stands still: whoever leads hands over, and it goes on when there is room again.
    private func patiently(_ act: () throws(FileFault) -> Void) throws(FileFault) {
        while true {
            do throws(FileFault) { return try act() } catch {
                guard error.isDiskFull, !self.state.withLock({ $0.isClosed }) else { throw error }
                self.observer?.refused(partition: self.store.partition, reason: "DISK_FULL")
                self.signal.wait(milliseconds: Self.retryMilliseconds)
            }
        }
    }
}
