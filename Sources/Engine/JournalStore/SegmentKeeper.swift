internal import FileStore
internal import JournalFormat
internal import Primitives
internal import Synchronization

/// Background work of a partition, on a thread of its own: the next segment is made before it is needed, and a full one gets its
/// sidecar and gives back the space behind its end.
final class SegmentKeeper: Sendable {
    private struct State {
        var wanted: UInt64?
        var prepared: PreparedSegment?
        /// Oldest first. Bounded: each is a segment that was filled, and sealing one is far quicker than filling one.
        var toSeal: [Segment] = []
        /// Found at the start, perhaps without a lineage index; when there is nothing else to do, newest first.
        var found: [Segment] = []
        var isClosed = false
    }
    private let state = Mutex(State())
    private let signal = Signal()
    /// Held while a segment is made, so that the writer waits for the one in hand and does not make it a second time.
    private let making = Mutex<Void>(())
    private let maker: SegmentMaker
    private let log: PartitionLog
    private let worker = Mutex<Worker?>(nil)
    /// Sealed last, newest last: what replay that is a little behind still reads from memory.
    private let warm = Mutex<[String]>([])
    private static let warmSegments = 2

    init(maker: SegmentMaker, log: PartitionLog) {
        self.maker = maker
        self.log = log
    }

    func start() throws(VecraftError) {
        self.state.withLock { $0.found = Array(self.log.segments.withLock { $0 }.dropLast()) }
        let worker = try Worker(name: "keep-\(self.maker.partition)") { self.run() }
        self.worker.withLock { $0 = worker }
    }

    /// Asks for the segment after the one being written.
    func prepare(_ sequence: UInt64) {
        self.state.withLock { $0.wanted = sequence }
        self.signal.raise()
    }

    /// The segment asked for, if it could be made; the caller's to write then.
    func take(_ sequence: UInt64) -> PreparedSegment? {
        self.making.withLock { _ in
            self.state.withLock { state in
                state.wanted = nil
                defer { state.prepared = nil }
                return state.prepared?.sequence == sequence ? state.prepared : nil
            }
        }
    }

    /// Removes a segment that was made ready: the log goes on elsewhere.
    func discardPrepared() throws(FileFault) {
        let prepared = self.making.withLock { _ in
            self.state.withLock { state in
                state.wanted = nil
                defer { state.prepared = nil }
                return state.prepared
            }
        }
        guard let prepared else { return }
        prepared.file.close()
        try self.maker.files.remove(prepared.path)
        try self.maker.files.syncDirectory(self.maker.directory)
    }

    /// A full segment, after its last entry is durable and the next segment has a durable one.
    func seal(_ segment: Segment) {
        self.state.withLock { $0.toSeal.append(segment) }
        self.signal.raise()
    }

    /// Finishes what is asked, then stops the thread.
    func close() {
        self.state.withLock { state in
            state.isClosed = true
            state.wanted = nil
        }
        self.signal.raise()
        let worker = self.worker.withLock { worker in
            defer { worker = nil }
            return worker
        }
        worker?.join()
    }

    private enum Task {
        case prepare, seal(Segment), index(Segment), end, wait
    }

    private func run() {
        while true {
            let task = self.state.withLock { state -> Task in
                if state.wanted != nil { return .prepare }
                if !state.toSeal.isEmpty { return .seal(state.toSeal.removeFirst()) }
                if state.isClosed { return .end }
                return state.found.popLast().map { .index($0) } ?? .wait
            }
            switch task {
            case .prepare: self.prepareWanted()
            case .seal(let segment): self.sealNow(segment)
            case .index(let segment): self.log.lineage.makeIfMissing(segment, self.log)
            case .wait: self.signal.wait()
            case .end: return
            }
        }
    }

    private func prepareWanted() {
        self.making.withLock { _ in
            guard let sequence = self.state.withLock({ $0.wanted }) else { return }
            // A fault here is no news yet: the writer makes the segment itself when it needs it, and answers with what it meets.
            let made = try? self.maker.make(
                sequence: sequence, frameBytes: self.maker.settings.segmentBytes / 2, mayUseReserve: false)
            self.state.withLock { state in
                state.wanted = nil
                state.prepared = made
            }
        }
    }

    /// Replay follows the tail closely; older segments are read once in a while, and must not push out of memory what searches
    /// need. It is also much faster to write when memory is used again: on the virtual machine measured, a page that the guest
    /// had not used before costs its host a fault, and bulk appends went at 200 MB/s instead of 1,200.
    private func coolDown(_ segment: Segment) {
        let cold = self.warm.withLock { warm -> String? in
            warm.append(segment.path)
            return warm.count > Self.warmSegments ? warm.removeFirst() : nil
        }
        guard let cold, let file = try? self.maker.files.open(cold, .read) else { return }
        file.releaseCache()
        file.close()
    }

    /// A sidecar that cannot be written costs the next start a scan, nothing else.
    private func sealNow(_ segment: Segment) {
        defer { self.coolDown(segment) }
        guard let file = try? self.maker.files.open(segment.path, .readWrite) else { return }
        defer { file.close() }
        if (try? file.truncate(to: segment.end)) != nil {
            self.log.trimmed(sequence: segment.sequence, fileBytes: segment.end)
        }
        let (directory, files) = (self.maker.directory, self.maker.files)
        if self.log.lineage.isKept, let found = try? SegmentScan.allKeys(of: segment, file: file) {
            try? KeyFile.store(found.keys, of: segment, directory: directory, files: files)
            self.log.lineage.store(found.lineage, of: segment, self.log)
        } else {
            // A damaged body is for those to tell who read it; the heads serve the next start all the same.
            guard let keys = try? SegmentScan.keys(of: segment, file: file) else { return }
            try? KeyFile.store(keys, of: segment, directory: directory, files: files)
        }
        var sealed = segment
        sealed.index = self.log.index(of: segment.sequence)
        try? Sidecar(partition: self.maker.partition, segment: sealed).store(directory: directory, files: files)
    }
}
