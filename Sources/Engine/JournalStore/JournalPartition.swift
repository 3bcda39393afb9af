package import FileStore
package import HLC
package import JournalFormat
package import Primitives

/// One partition's log on disk: appended in order by one writer thread, read by anyone.
package final class JournalPartition: Sendable {
    package let id: PartitionID
    package let settings: JournalSettings
    /// Torn tails that opening cut, one line each. Nobody had been told that what was in them is durable.
    package let recoveredCuts: [String]
    let log: PartitionLog
    private let clock: HLCClock
    private let queue: AppendQueue
    private let writer: Worker

    /// Opens the log in a folder (made if absent) and recovers it: a torn tail is cut, damage before it is an error.
    ///
    /// - Throws: `.dataLoss` naming file and byte; `.failedPrecondition`, reason `FORMAT_TOO_NEW`, naming the format; or the disk's fault.
    package init(
        id: PartitionID, directory: String, settings: JournalSettings = JournalSettings(), files: any FileStore,
        clock: HLCClock, observer: (any JournalObserver)? = nil
    ) throws(VecraftError) {
        try settings.validate()
        self.id = id
        self.settings = settings
        self.clock = clock
        var recovery = try Recovery(partition: id, directory: directory, files: files)
        let maker = SegmentMaker(
            partition: id, directory: directory, files: files, settings: settings,
            salt: { UInt32.random(in: .min ... .max) })
        let active = try recovery.openLast(with: maker)
        clock.restore(last: recovery.lastHLC)
        // Every opening is a new term, as an election is: whoever wrote before writes no more.
        let term = (recovery.segments.last { !$0.isEmpty }?.term ?? 0) + 1
        self.log = PartitionLog(partition: id, directory: directory, files: files, segments: recovery.segments, term: term,
            indexesLineage: settings.indexesLineage)
        self.queue = AppendQueue(limitBytes: settings.queueBytes)
        self.recoveredCuts = recovery.cuts.map { "\($0.path), byte \($0.position): a torn tail of \($0.bytes) bytes was cut" }
        let keeper = SegmentKeeper(maker: maker, log: self.log)
        let appender = SegmentAppender(
            log: self.log, settings: settings, maker: maker, keeper: keeper,
            segment: recovery.segments[recovery.segments.count - 1], file: active)
        let writer = JournalWriter(
            log: self.log, queue: self.queue, clock: clock, settings: settings, appender: appender, observer: observer,
            mark: recovery.mark, table: try recovery.idempotencyTable(settings))
        for cut in recovery.cuts { observer?.tailCut(partition: id, file: cut.path, position: cut.position, bytes: cut.bytes) }
        observer?.segments(partition: id, count: self.log.segmentCount, diskBytes: self.log.diskBytes)
        try keeper.start()
        do throws(VecraftError) {
            self.writer = try Worker(name: "journal-\(id)") { writer.run() }
        } catch {
            keeper.close()
            throw error
        }
    }

    /// The threads end by themselves when nobody can append any more.
    deinit { self.queue.close(.journalClosed(self.id)) }

    /// Appends an entry; `completion` is called once it is durable, from the writer thread.
    ///
    /// All that wait when the disk becomes free share one `fdatasync`. A refusal (queue full, closed) is called back at once.
    package func append(_ entry: EncodedEntry, completion: @escaping AppendCompletion) {
        guard entry.partition == self.id, entry.bytes.count <= Frame.maxEntryBytes else {
            completion(.failure(self.unfit(entry)))
            return
        }
        let pending = PendingAppend(
            entry: entry, arrived: self.clock.now(), arrivedAt: SystemClock.monotonicNanoseconds(), completion: completion)
        if let refusal = self.queue.push(pending, tier: entry.tier) { completion(.failure(refusal)) }
    }

    /// The same, waiting without a thread. Cancelling does not take back what was queued.
    package func append(_ entry: EncodedEntry) async throws(VecraftError) -> Appended {
        let result = await withCheckedContinuation { continuation in
            self.append(entry) { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// The last durable offset; 0 for an empty log.
    package var committed: JournalOffset { self.log.committed }
    /// The oldest offset kept; `committed + 1` when there is none.
    package var firstOffset: JournalOffset { self.log.firstOffset }
    /// Of the last durable entry; zero for an empty log.
    package var lastHLC: HLCTimestamp { self.log.lastHLC }
    /// Entries of this opening carry it. One above that of the last entry found.
    package var term: UInt64 { self.log.term }
    /// What the segments take on disk.
    package var diskBytes: Int { self.log.diskBytes }
    package var segmentCount: Int { self.log.segmentCount }
    package var queuedEntries: Int { self.queue.depth.entries }
    package var queuedBytes: Int { self.queue.depth.bytes }

    /// No entry committed later has an HLC below this. Read it before ``committed``, or take ``position``.
    package var closed: HLCTimestamp { self.log.closed(now: self.clock.now()) }

    /// `closed` with a `committed` it holds for: every entry above `committed` has an HLC of at least `closed`.
    package var position: (committed: JournalOffset, closed: HLCTimestamp) {
        // In this order: an entry committed in between only makes the promise weaker than it could be.
        let closed = self.closed
        return (self.committed, closed)
    }

    /// Committed entries from an offset on.
    ///
    /// Reads the disk (mostly the system's cache of it) on the calling thread.
    ///
    /// - Parameters:
    ///   - from: 0 and 1 mean the beginning. Beyond the end the batch is empty.
    ///   - maxBytes: Of entries; one always fits. A batch ends at a segment's end too.
    /// - Throws: `.outOfRange`, reason `TRIMMED`, below ``firstOffset``; `.dataLoss` naming file and byte.
    package func read(from: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch {
        try self.log.read(from: from, maxBytes: maxBytes)
    }

    /// `callback` gets the committed offset after each commit, from the writer thread: be cheap, never block.
    package func onCommit(_ callback: @escaping @Sendable (JournalOffset) -> Void) -> Subscription {
        let notices = self.log.notices
        let id = notices.add(callback)
        return Subscription { notices.remove(id) }
    }

    /// Committed batches from an offset on, then each new one as it is committed, at the pace of the one who iterates.
    package func entries(from: JournalOffset, maxBatchBytes: Int = 1 << 20) -> JournalEntries {
        JournalEntries(partition: self, from: max(from, 1), maxBatchBytes: maxBatchBytes)
    }

    /// Flushes what is queued, stops the threads, and marks the end. Later appends are refused: `.unavailable`, reason
    /// `JOURNAL_CLOSED`. Reading goes on. Not from a completion callback: it waits for the thread that calls those.
    package func close() {
        self.queue.close(.journalClosed(self.id))
        self.writer.join()
    }

    private func unfit(_ entry: EncodedEntry) -> VecraftError {
        entry.partition == self.id
            ? VecraftError(.resourceExhausted, "an entry of \(entry.bytes.count) bytes; at most \(Frame.maxEntryBytes)")
            : VecraftError(.internalError, "an entry of \(entry.partition) was given to \(self.id)")
    }
}

extension VecraftError {
    package static func journalClosed(_ partition: PartitionID) -> VecraftError {
        VecraftError(.unavailable, "journal partition \(partition) is closed", reason: "JOURNAL_CLOSED")
    }
}
