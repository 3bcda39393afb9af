internal import FileStore
internal import HLC
internal import JournalFormat
internal import Primitives

/// The one thread that writes a partition.
///
/// While a batch is being made durable the next one collects in the queue. An entry's bytes are written from where its encoder put
/// them; only frame heads and stamped fixed parts are built here, in one scratch buffer.
final class JournalWriter: @unchecked Sendable {  // all that is not `let` is touched by the writer thread alone, after init
    let log: PartitionLog
    let queue: AppendQueue
    let clock: HLCClock
    let settings: JournalSettings
    let appender: SegmentAppender
    let observer: (any JournalObserver)?
    let term: UInt64

    var mark: DurableMark
    var table: IdempotencyTable
    /// Why nothing more can be written.
    var failure: VecraftError?
    var space = FreeSpace()
    private var group = WriteGroup()

    init(
        log: PartitionLog, queue: AppendQueue, clock: HLCClock, settings: JournalSettings, appender: SegmentAppender,
        observer: (any JournalObserver)?, mark: DurableMark, table: IdempotencyTable
    ) {
        self.log = log
        self.queue = queue
        self.clock = clock
        self.settings = settings
        self.appender = appender
        self.observer = observer
        self.term = log.term
        self.mark = mark
        self.table = table
    }

    /// The thread's whole life.
    func run() {
        var batch: [PendingAppend] = []
        while self.queue.take(maxBytes: self.settings.maxBatchBytes, maxCount: self.settings.maxBatchEntries, into: &batch) {
            if let observer = self.observer {
                let depth = self.queue.depth
                observer.queued(partition: self.log.partition, entries: depth.entries, bytes: depth.bytes)
            }
            var next = 0
            while next < batch.count { next = self.write(batch, from: next) }
            batch.removeAll(keepingCapacity: true)
        }
        self.finish()
    }

    /// Writes entries of a batch up to the segment's end, and answers them.
    ///
    /// - Returns: The first entry that is left.
    private func write(_ batch: [PendingAppend], from first: Int) -> Int {
        self.group.begin(first: first)
        defer { self.group.removeAll() }
        // The floor stands before the first stamp is taken, so that no closed timestamp overtakes one.
        self.log.beginStamping(after: self.clock.now())
        defer { self.log.endStamping() }
        var next = first
        while next < batch.count {
            guard self.stage(batch[next], at: next) else { break }
            next += 1
        }
        self.flush(batch)
        return next
    }

    /// Puts an entry into the group, or answers it without one.
    ///
    /// - Returns: False if the group must be written before this entry.
    private func stage(_ pending: PendingAppend, at index: Int) -> Bool {
        if let failure = self.failure {
            self.refuse(pending, failure)
            return true
        }
        let view = pending.entry.withView { $0 }
        var key: IdempotencyTable.Key?
        if !view.idempotencyKey.isEmpty {
            let made = IdempotencyTable.Key(tenant: view.tenant, key: view.idempotencyKey, shard: view.shard)
            if self.answerKnown(made, pending, bodyHash: view.bodyHash) { return true }
            key = made
        }
        let frameBytes = Frame.headBytes + pending.entry.bytes.count
        do throws(VecraftError) {
            try self.checkSpace(for: view.operation)
            if self.appender.segment.end + self.group.bytes + frameBytes > self.appender.capacity(for: frameBytes) {
                guard self.group.isEmpty else { return false }
                try self.appender.roll(frameBytes: frameBytes, mayUseReserve: view.operation.makesRoom)
            }
            try self.appender.reserve(self.appender.segment.end + self.group.bytes + frameBytes)
        } catch {
            self.refuse(pending, error)
            return true
        }
        self.group.add(
            pending, at: index, key: key, bodyHash: view.bodyHash,
            offset: self.appender.segment.lastOffset + 1 + UInt64(self.group.count), term: self.term, hlc: self.clock.now(),
            durableThrough: self.appender.segment.lastOffset, salt: self.appender.segment.salt)
        return true
    }

    /// - Returns: True if the key was used before: the append is answered, or will be with the group.
    private func answerKnown(_ key: IdempotencyTable.Key, _ pending: PendingAppend, bodyHash: UInt64) -> Bool {
        let known: (hash: UInt64, appended: Appended, inGroup: Bool)
        if let item = self.group.item(of: key) {
            known = (item.bodyHash, Appended(offset: item.offset, hlc: item.hlc, term: self.term, replayed: true), true)
        } else if let value = self.table.value(of: key, now: self.clock.last) {
            known = (value.bodyHash, Appended(offset: value.offset, hlc: value.hlc, term: value.term, replayed: true), false)
        } else {
            return false
        }
        guard known.hash == bodyHash else {
            self.refuse(
                pending,
                VecraftError(
                    .alreadyExists, "this idempotency key was used for another request (entry \(known.appended.offset))",
                    field: "idempotency_key", reason: "IDEMPOTENCY_KEY_REUSED"))
            return true
        }
        self.observer?.replayed(partition: self.log.partition)
        if known.inGroup {
            self.group.replays.append((pending.completion, known.appended))
        } else {
            pending.completion(.success(known.appended))
        }
        return true
    }

    func refuse(_ pending: PendingAppend, _ error: VecraftError) {
        self.observer?.refused(partition: self.log.partition, reason: error.reason ?? error.code.name)
        pending.completion(.failure(error))
    }

    // MARK: Writing

    private func flush(_ batch: [PendingAppend]) {
        guard !self.group.isEmpty else { return }
        let started = SystemClock.monotonicNanoseconds()
        do throws(FileFault) {
            try self.appender.write(&self.group.parts, bytes: self.group.bytes)
        } catch {
            self.giveUp(batch, error)
            return
        }
        let written = SystemClock.monotonicNanoseconds()
        do throws(FileFault) {
            try self.appender.sync()
        } catch {
            // After a failed sync the kernel may have dropped the pages and call the next one good: it proves nothing.
            self.fail(error)
            self.answerGroup(batch, with: self.failure)
            return
        }
        let synced = SystemClock.monotonicNanoseconds()
        self.commit()
        if let observer = self.observer {
            observer.committed(
                partition: self.log.partition, entries: self.group.count, bytes: self.group.bytes,
                write: .nanoseconds(written - started), sync: .nanoseconds(synced - written),
                waited: .nanoseconds(synced - min(synced, self.group.oldest)))
        }
        self.answerGroup(batch, with: nil)
        self.log.notices.committed(self.appender.segment.lastOffset)
    }

    /// What was synced becomes visible.
    private func commit() {
        for item in self.group.items {
            self.appender.segment.grow(frameBytes: item.frameBytes, hlc: item.hlc, term: self.term)
            if let key = item.key {
                self.table.insert(
                    .init(bodyHash: item.bodyHash, offset: item.offset, hlc: item.hlc, term: self.term), under: key)
            }
        }
        do throws(FileFault) {
            try self.mark.advance(to: self.appender.segment.lastOffset)
        } catch {
            // An older mark is as true as a newer one. A file system that copies on write may have no room even for this.
            if !error.isDiskFull { self.fail(error) }
        }
        self.appender.measure()
        self.log.committed(self.group.items, in: self.appender.segment)
        self.log.endStamping()
        self.appender.settle()
    }

    private func answerGroup(_ batch: [PendingAppend], with error: VecraftError?) {
        if let observer = self.observer {
            observer.answering { self.answerAll(batch, with: error) }
        } else {
            self.answerAll(batch, with: error)
        }
    }

    private func answerAll(_ batch: [PendingAppend], with error: VecraftError?) {
        for item in self.group.items {
            let completion = batch[item.index].completion
            if let error {
                completion(.failure(error))
            } else {
                completion(.success(Appended(offset: item.offset, hlc: item.hlc, term: self.term)))
            }
        }
        for (completion, appended) in self.group.replays {
            if let error { completion(.failure(error)) } else { completion(.success(appended)) }
        }
    }

    /// A write failed: nothing of the group may ever be seen.
    private func giveUp(_ batch: [PendingAppend], _ fault: FileFault) {
        do throws(FileFault) {
            try self.appender.cutBack()
            if !fault.isDiskFull { self.fail(fault) }
        } catch {
            self.fail(error)
        }
        let error = self.failure ?? fault.vecraftError
        self.observer?.refused(partition: self.log.partition, reason: error.reason ?? error.code.name)
        self.answerGroup(batch, with: error)
    }

    /// Nothing more is written until the partition is opened anew.
    func fail(_ fault: FileFault) {
        guard self.failure == nil else { return }
        let error = VecraftError(
            .unavailable, "journal partition \(self.log.partition) has stopped: \(fault)", reason: "JOURNAL_FAILED")
        self.failure = error
        self.observer?.failed(partition: self.log.partition, error: error)
        for pending in self.queue.fail(error) { self.refuse(pending, error) }
        self.log.notices.end()
    }

    private func finish() {
        if self.failure == nil {
            // Appends have ended, so nobody is left to tell of a fault here; the next start finds out by itself.
            try? self.mark.sync()
        }
        self.mark.close()
        self.appender.keeper.close()
        self.log.notices.end()
    }
}
