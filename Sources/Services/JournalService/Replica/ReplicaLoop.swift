internal import Dispatch
internal import FileStore
internal import HLC
internal import JournalFormat
internal import JournalStore
internal import Logging
internal import PeerTransport
internal import Primitives
internal import Raft

/// The replica's thread: takes events, hands them to the machine one at a time, carries out what it decides before the next.
final class ReplicaLoop: @unchecked Sendable {  // made by one thread, then run by the replica's alone
    let store: ReplicaStore
    let settings: JournalSettings
    let raftSettings: RaftSettings
    let clock: HLCClock
    let sender: any PeerSender
    let disk: ReplicaDisk
    let inbox: ReplicaInbox
    let published: ReplicaPublished
    let observer: (any JournalObserver)?
    let address: @Sendable (ReplicaID) -> String
    let learned: @Sendable (ConfigurationBody) -> Void
    /// Why this node should lead nothing, if so.
    let fitness: @Sendable () -> String?
    let log = Logger(label: "vecraft.journal.replica")
    /// Reads for peers that are far behind: off this thread, for it must not wait for a disk.
    let catchUp: DispatchQueue

    var raft: RaftReplica
    let window: ReplicaWindow
    var table: IdempotencyTable
    var space = ReplicaSpace()
    /// Appends that wait for their commitment, in order.
    var waiters = AppendWaiters()
    var reads: [UInt64: @Sendable (Result<JournalOffset, VecraftError>) -> Void] = [:]
    var lastRead: UInt64 = 0
    var changes: [(offset: JournalOffset, completion: @Sendable (Result<JournalOffset, VecraftError>) -> Void)] = []
    var staged: [StagedLog] = []
    var outgoing: [PeerMessage] = []
    var closing = ClosedTimestamps()
    var duty = LeaderDuty()
    /// When what was proposed.
    var history = AppendHistory()
    private var tickDue: UInt64 = 0
    private var statusDue: UInt64 = 0
    /// What the disk was told to be committed when it had nothing to write.
    private var notedCommit: JournalOffset = 0
    private var batch: [PendingAppend] = []

    /// A third of a heartbeat: timers are late by at most this much.
    private static let tick: UInt64 = 10_000_000
    /// Alone there is nobody to be heard by; staleness of a replica that nothing is written to is measured by it.
    private static let tickAlone: UInt64 = 50_000_000
    /// One is being synced while the next is written.
    private static let maxOutstandingWrites = 2
    /// While a batch is under way, less than this waits for its commitment: then one batch serves all who came meanwhile, at one
    /// sync, one message and one wake-up on each replica. More goes at once, so that bulk keeps every disk busy.
    private static let pipelineBytes = 256 << 10

    init(
        store: ReplicaStore, settings: JournalSettings, raft: RaftSettings, clock: HLCClock, sender: any PeerSender,
        disk: ReplicaDisk, inbox: ReplicaInbox, published: ReplicaPublished, observer: (any JournalObserver)?,
        address: @escaping @Sendable (ReplicaID) -> String, learned: @escaping @Sendable (ConfigurationBody) -> Void,
        fitness: @escaping @Sendable () -> String?
    ) {
        self.fitness = fitness
        self.store = store
        self.settings = settings
        self.raftSettings = raft
        self.clock = clock
        self.sender = sender
        self.disk = disk
        self.inbox = inbox
        self.published = published
        self.observer = observer
        self.address = address
        self.learned = learned
        self.catchUp = DispatchQueue(label: "vecraft.journal.catch-up.\(store.partition)")
        let window = ReplicaWindow(store)
        self.window = window
        self.table = store.keysFound
        self.raft = RaftReplica(
            id: store.replica, start: store.found, view: window, settings: raft, seed: UInt64.random(in: .min ... .max),
            now: Self.now)
    }

    static var wall: HLCTimestamp { HLCTimestamp(milliseconds: SystemClock.wallMilliseconds(), counter: 0) }
    static var now: MonotonicInstant { MonotonicInstant(nanoseconds: SystemClock.boottimeNanoseconds()) }

    /// The thread's whole life.
    func run() {
        if let loss = self.store.lossFound {
            self.log.error(
                "entries of the journal are damaged; they are fetched from the other replicas",
                metadata: ["partition": "\(self.store.partition)", "damage": "\(loss)"])
        }
        self.carryOut()
        self.publish(force: true)
        var events: [ReplicaInbox.Event] = []
        while true {
            let isClosed = self.inbox.take(into: &events)
            for event in events { self.handle(event) }
            events.removeAll(keepingCapacity: true)
            if isClosed { break }
            let now = SystemClock.boottimeNanoseconds()
            if now >= self.tickDue {
                self.raft.tick(now: MonotonicInstant(nanoseconds: now))
                self.carryOut()
                self.noteCommit()
                self.tickDue = now + (self.isAlone ? Self.tickAlone : Self.tick)
            }
            self.propose()
            self.flush()
            self.publish(force: now >= self.statusDue)
            if now >= self.statusDue {
                self.statusDue = now + Self.tickAlone
                self.judgeFitness()
            }
            let after = SystemClock.boottimeNanoseconds()
            if after < self.tickDue { self.inbox.signal.wait(nanoseconds: self.tickDue - after) }
        }
        self.end()
    }

    /// What is committed is noted with the next write; the last before a pause has none.
    private func noteCommit() {
        guard self.store.committed > self.notedCommit, self.disk.outstandingWrites == 0 else { return }
        self.notedCommit = self.store.committed
        self.disk.add(.noteCommit)
    }

    private var isAlone: Bool { self.raft.membership.members.allSatisfy { $0.id == self.store.replica } }

    private func end() {
        let error = VecraftError.journalClosed(self.store.partition)
        for pending in self.inbox.appends.fail(error) { pending.completion(.failure(error)) }
        self.failWaiting(with: error)
        for staged in self.staged { staged.abandon() }
        self.flush()
    }

    /// Everyone who waits for a commitment or a read hears that nobody will answer.
    func failWaiting(with error: VecraftError) {
        self.waiters.removeAll { $0(.failure(error)) }
        let reads = self.reads
        self.reads = [:]
        for read in reads.values { read(.failure(error)) }
        let changes = self.changes
        self.changes = []
        for change in changes { change.completion(.failure(error)) }
    }

    // MARK: Events

    private func handle(_ event: ReplicaInbox.Event) {
        guard self.raft.failure == nil else { return self.refuse(event) }
        switch event {
        case .message(let message):
            guard self.admit(message) else { return }
            self.duty.hear(from: message.message.from, isUnfit: message.isUnfit)
            if let last = message.frames.map({ $0.view($0.count - 1).hlc }) { self.clock.restore(last: last) }
            if let closed = message.closed {
                self.closing.heard(closed)
                self.published.note(closed)
            }
            self.raft.receive(message.message, now: Self.now)
            self.carryOut(frames: message.frames)
        case .linkReset(let peer):
            self.raft.linkReset(peer, now: Self.now)
            self.carryOut()
        case .disk(let done): self.handle(done)
        case .read(let completion): self.read(completion)
        case .change(let change, let completion): self.change(change, completion)
        case .transfer(let peer, let completion):
            do throws(RaftRefusal) {
                try self.raft.transferLeadership(to: peer, now: Self.now)
                self.carryOut()
                completion(.success(()))
            } catch { completion(.failure(.refusal(self.store.partition, error))) }
        case .trim(let offset, let completion) where offset <= self.raft.logStart.index:
            // Done before: safe to repeat.
            completion(.success(()))
        case .trim(let offset, let completion):
            let isTaken = self.raft.trim(through: offset, now: Self.now)
            self.carryOut()
            completion(
                isTaken
                    ? .success(())
                    : .failure(
                        VecraftError(
                            .failedPrecondition,
                            "\(self.store.partition): entry \(offset) is not committed and durable here",
                            field: "through", reason: "CANNOT_TRIM")))
        case .staged(let log, let summary):
            self.staged.append(log)
            self.raft.logStaged(log.transfer, summary: summary, now: Self.now)
            self.carryOut()
        case .logAdvanced(let transfer):
            self.raft.logTransferAdvanced(transfer, now: Self.now)
            self.carryOut()
        case .logEnded(let transfer, let isDelivered):
            self.raft.logTransferEnded(transfer, isDelivered: isDelivered, now: Self.now)
            self.carryOut()
        case .damaged(let error): self.fail("\(error)")
        }
    }

    private func handle(_ done: ReplicaDisk.Done) {
        switch done {
        case .saved(let ticket): self.raft.saved(ticket, now: Self.now)
        case .written(let ticket):
            self.raft.written(ticket, now: Self.now)
            self.window.evict(durable: self.raft.durable)
        case .adopted(let ticket, let keys):
            self.table = keys
            // What came behind it meanwhile is in memory still.
            self.window.forEach { self.remember($0) }
            self.raft.written(ticket, now: Self.now)
        case .failed(let fault): return self.fail("\(fault)")
        }
        self.carryOut()
        self.show()
    }

    private func read(_ completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void) {
        self.lastRead += 1
        self.reads[self.lastRead] = completion
        do throws(RaftRefusal) {
            try self.raft.read(id: self.lastRead, now: Self.now)
            self.carryOut()
        } catch {
            self.reads.removeValue(forKey: self.lastRead)?(.failure(.refusal(self.store.partition, error)))
        }
    }

    private func change(
        _ change: MembershipChange, _ completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) {
        do throws(RaftRefusal) {
            let offset = try self.raft.change(change, now: Self.now)
            self.changes.append((offset, completion))
            self.carryOut()
        } catch { completion(.failure(.refusal(self.store.partition, error))) }
    }

    private func refuse(_ event: ReplicaInbox.Event) {
        event.refuse(
            VecraftError(
                .unavailable, "journal partition \(self.store.partition) has stopped: \(self.raft.failure ?? "")",
                reason: "JOURNAL_FAILED"))
    }

    /// The disk failed, or a rule was broken: nothing more is done, its data is kept, somebody must look.
    func fail(_ why: String) {
        self.raft.stop(why)
        self.carryOut()
    }

    // MARK: Proposing

    /// Takes what waits to be appended, if this replica leads and its disk is not busy enough already.
    private func propose() {
        while true {
            guard self.raft.role == .leader, self.disk.outstandingWrites < Self.maxOutstandingWrites else {
                if self.raft.role != .leader { self.refuseAppends() }
                return
            }
            if self.raft.commit < self.raft.last.index, self.inbox.appends.rest(below: Self.pipelineBytes) { return }
            let maxBytes = min(self.settings.maxBatchBytes, self.raftSettings.maxBatchBytes)
            guard self.inbox.appends.takeNow(maxBytes: maxBytes, maxCount: self.settings.maxBatchEntries, into: &self.batch) else {
                return
            }
            if let observer = self.observer {
                let depth = self.inbox.appends.depth
                observer.queued(partition: self.store.partition, entries: depth.entries, bytes: depth.bytes)
            }
            self.propose(self.batch)
            self.batch.removeAll(keepingCapacity: true)
        }
    }

    private func refuseAppends() {
        let waiting = self.inbox.appends.drain()
        guard !waiting.isEmpty else { return }
        let error = VecraftError.notLeader(self.store.partition, hint: self.raft.leader)
        for pending in waiting { pending.completion(.failure(error)) }
    }

    private func propose(_ batch: [PendingAppend]) {
        var taken: [(pending: PendingAppend, key: IdempotencyTable.Key?)] = []
        taken.reserveCapacity(batch.count)
        var mine: [IdempotencyTable.Key: Int] = [:]
        // The same key twice in one batch: the second is answered with the first.
        var repeats: [(pending: PendingAppend, of: Int)] = []
        var bytes = 0
        for pending in batch {
            let view = pending.entry.withView { $0 }
            var key: IdempotencyTable.Key?
            if let made = IdempotencyTable.Key(view) {
                if self.answerKnown(made, pending, bodyHash: view.bodyHash) { continue }
                if let first = mine[made] {
                    if taken[first].pending.entry.bodyHash == view.bodyHash {
                        self.observer?.replayed(partition: self.store.partition)
                        repeats.append((pending, first))
                    } else {
                        self.refuse(pending, .keyReused(nil))
                    }
                    continue
                }
                key = made
            }
            do throws(VecraftError) { try self.store.checkSpace(for: view.operation, &self.space) } catch {
                let heir = self.handOver(because: LeaderDuty.diskFull)
                self.refuse(pending, heir.map { .notLeader(self.store.partition, hint: $0) } ?? error)
                continue
            }
            bytes += Frame.headBytes + pending.entry.bytes.count
            if let key { mine[key] = taken.count }
            taken.append((pending, key))
        }
        guard !taken.isEmpty else { return }
        let range: EntryRange
        do throws(RaftRefusal) { range = try self.raft.propose(count: taken.count, bytes: bytes, now: Self.now) } catch {
            for pending in taken.map(\.pending) + repeats.map(\.pending) {
                self.refuse(pending, .refusal(self.store.partition, error))
            }
            return
        }
        self.closing.stamps(after: self.clock.now(), from: range.first)
        self.history.add(
            through: range.last, count: taken.count, bytes: bytes, at: SystemClock.monotonicNanoseconds())
        let run = FrameRun(
            stamping: taken.map { ($0.pending.entry, $0.pending.arrived) }, from: range.first, term: range.term
        ) { self.clock.now() }
        for (i, item) in taken.enumerated() {
            let view = run.view(i)
            if let key = item.key { self.table.insert(.init(view), under: key) }
            self.waiters.add(
                Appended(offset: view.offset, hlc: view.hlc, term: view.term), arrivedAt: item.pending.arrivedAt,
                item.pending.completion)
        }
        for (pending, first) in repeats {
            let view = run.view(first)
            self.waiters.add(
                Appended(offset: view.offset, hlc: view.hlc, term: view.term, replayed: true), arrivedAt: pending.arrivedAt,
                pending.completion)
        }
        self.carryOut(frames: run)
    }

    /// - Returns: True if the key was used before: the append is answered now, or with the entry that has it.
    private func answerKnown(_ key: IdempotencyTable.Key, _ pending: PendingAppend, bodyHash: UInt64) -> Bool {
        guard let value = self.table.value(of: key, now: self.clock.last) else { return false }
        guard value.bodyHash == bodyHash else {
            self.refuse(pending, .keyReused(value.offset))
            return true
        }
        self.observer?.replayed(partition: self.store.partition)
        let appended = Appended(offset: value.offset, hlc: value.hlc, term: value.term, replayed: true)
        // In the log, and this replica leads it: what is committed is answered, what is not waits with the first.
        if value.offset <= self.raft.commit {
            pending.completion(.success(appended))
        } else {
            self.waiters.add(appended, arrivedAt: pending.arrivedAt, pending.completion)
        }
        return true
    }

    private func refuse(_ pending: PendingAppend, _ error: VecraftError) {
        self.observer?.refused(partition: self.store.partition, reason: error.reason ?? error.code.name)
        pending.completion(.failure(error))
    }

    // MARK: What others see

    private func flush() {
        guard !self.outgoing.isEmpty else { return }
        let clock = self.clock.now()
        let isLeader = self.raft.role == .leader
        let closed = isLeader
            ? self.closing.promise(self.raft, now: clock, wall: Self.wall, steady: Self.now.nanoseconds, isAlone: false) : nil
        for i in self.outgoing.indices {
            self.outgoing[i].clock = clock
            self.outgoing[i].closed = closed
            self.outgoing[i].isUnfit = self.duty.whyUnfit != nil
        }
        self.sender.send(self.outgoing)
        self.outgoing.removeAll(keepingCapacity: true)
    }

    /// What is committed and durable here can be read. Not what the disk has written last: that may be of a log that is just being
    /// cut, while the machine knows which of its writes still count.
    func show() {
        let visible = min(self.raft.commit, self.raft.durable)
        guard visible > self.store.committed else { return }
        self.store.commit(through: visible, hlc: self.clock.last)
    }

    private func publish(force: Bool) {
        if self.raft.role == .leader {
            let promise = self.closing.promise(
                self.raft, now: self.clock.now(), wall: Self.wall, steady: Self.now.nanoseconds, isAlone: self.isAlone)
            if let promise {
                self.published.note(promise)
                if self.store.committed >= promise.offset { self.published.publish(closed: promise.hlc) }
            }
        } else if let hlc = self.closing.closed(at: self.store.committed) {
            self.published.publish(closed: hlc)
        }
        let known = self.published.status
        let isNews = known.role != self.raft.role || known.term != self.raft.term || known.leader != self.raft.leader
            || known.failure != self.raft.failure
        guard force || isNews else { return }
        var status = ReplicaStatus(partition: self.store.partition, replica: self.store.replica)
        status.role = self.raft.role
        status.term = self.raft.term
        status.leader = self.raft.leader
        status.committed = self.raft.commit
        status.last = self.raft.last.index
        status.first = self.raft.logStart.index + 1
        status.durable = self.raft.durable
        status.membership = self.raft.membership
        status.isLeftOut = self.raft.isLeftOut
        status.isRecovering = self.raft.state.isRecovering
        status.peers = self.raft.peers
        status.whyUnfit = self.duty.whyUnfit
        status.refusedClocks = self.duty.refusedClocks
        if status.role == .leader { status.lags = self.lags(status.peers) }
        status.inFlightBytes = status.peers.reduce(0) { $0 + $1.inFlightBytes }
        status.counters = self.raft.counters
        status.failure = self.raft.failure
        self.published.publish(status)
    }
}

extension VecraftError {
    static func keyReused(_ offset: JournalOffset?) -> VecraftError {
        VecraftError(
            .alreadyExists,
            "this idempotency key was used for another request" + (offset.map { " (entry \($0))" } ?? ""),
            field: "idempotency_key", reason: "IDEMPOTENCY_KEY_REUSED")
    }
}
