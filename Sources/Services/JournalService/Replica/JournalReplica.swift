package import FileStore
package import HLC
package import JournalFormat
package import JournalStore
internal import Logging
package import PeerTransport
package import Primitives
package import Raft
internal import Synchronization

/// One replica of one journal partition's group: ``RaftReplica`` decides, this carries out (`docs/RAFT.md`, "What the driver must
/// guarantee").
///
/// Two threads. The replica's own hands events to the machine and does what it says; it never waits for a disk or a peer. The
/// disk's does writes and syncs; while it syncs one batch the next collects, at most two are with it.
package final class JournalReplica: Sendable {
    package let partition: PartitionID
    package let replica: ReplicaID
    /// Torn tails that opening cut, one line each.
    package var recoveredCuts: [String] { self.store.recoveredCuts }
    /// Damage found at the start, which the others mend.
    package var lossFound: String? { self.store.lossFound }
    let store: ReplicaStore
    let clock: HLCClock
    let inbox: ReplicaInbox
    private let disk: ReplicaDisk
    private let worker: Worker
    private let published: ReplicaPublished

    /// Opens the replica's folder and starts it.
    ///
    /// - Parameters:
    ///   - members: Of a group that begins; ``Membership/none`` for one that is going to be added.
    ///   - address: Where a member's gRPC is reached, for configuration entries.
    ///   - learned: Addresses that came with a configuration entry; from the replica's thread.
    ///   - fitness: Why this node should lead nothing, if so; asked 20 times a second on the replica's thread.
    package init(
        partition: PartitionID, directory: String, replica: ReplicaID, members: Membership, settings: JournalSettings,
        raft: RaftSettings, files: any FileStore, clock: HLCClock, sender: any PeerSender, observer: (any JournalObserver)? = nil,
        address: @escaping @Sendable (ReplicaID) -> String = { _ in "" },
        learned: @escaping @Sendable (ConfigurationBody) -> Void = { _ in },
        fitness: @escaping @Sendable () -> String? = { nil }
    ) throws(VecraftError) {
        try raft.validate()
        let store = try ReplicaStore(
            partition: partition, directory: directory, replica: replica, members: members, settings: settings, files: files,
            clock: clock, observer: observer)
        self.partition = partition
        self.replica = replica
        self.store = store
        self.clock = clock
        let inbox = ReplicaInbox(partition, queueBytes: settings.queueBytes)
        self.inbox = inbox
        let published = ReplicaPublished(ReplicaStatus(partition: partition, replica: replica))
        self.published = published
        let disk = ReplicaDisk(store, observer: observer) { inbox.add(.disk($0)) }
        self.disk = disk
        let loop = ReplicaLoop(
            store: store, settings: settings, raft: raft, clock: clock, sender: sender, disk: disk, inbox: inbox,
            published: published, observer: observer, address: address, learned: learned, fitness: fitness)
        try disk.start()
        do throws(VecraftError) {
            self.worker = try Worker(name: "raft-\(partition)") { loop.run() }
        } catch {
            disk.close()
            throw error
        }
    }

    /// The threads end by themselves when nobody holds the replica any more.
    deinit { self.inbox.close() }

    package var status: ReplicaStatus { self.published.status }
    /// Messages of peers that found no room and were dropped.
    package var droppedMessages: UInt64 { self.inbox.dropped }

    /// Appends an entry; `completion` is called once it is committed, from the replica's thread.
    ///
    /// - Note: Failures: NOT_LEADER (nothing was written), LEADERSHIP_LOST (unknown), a full disk or queue (nothing was written).
    package func append(_ entry: EncodedEntry, completion: @escaping AppendCompletion) {
        guard entry.partition == self.partition, entry.bytes.count <= Frame.maxEntryBytes else {
            completion(
                .failure(
                    entry.partition == self.partition
                        ? VecraftError(.resourceExhausted, "an entry of \(entry.bytes.count) bytes; at most \(Frame.maxEntryBytes)")
                        : VecraftError(.internalError, "an entry of \(entry.partition) was given to \(self.partition)")))
            return
        }
        let pending = PendingAppend(
            entry: entry, arrived: self.clock.now(), arrivedAt: SystemClock.monotonicNanoseconds(), completion: completion)
        if let refusal = self.inbox.appends.push(pending, tier: entry.tier) { completion(.failure(refusal)) }
    }

    /// The offset that includes everything acknowledged before this call (ReadIndex); `completion` from the replica's thread.
    package func readIndex(_ completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void) {
        self.inbox.add(.read(completion))
    }

    /// Begins a change of members; answered when its entry is committed.
    package func change(
        _ change: MembershipChange, _ completion: @escaping @Sendable (Result<JournalOffset, VecraftError>) -> Void
    ) { self.inbox.add(.change(change, completion)) }

    /// Hands leadership over; answered when it has begun, or why it cannot.
    package func transferLeadership(
        to peer: ReplicaID, _ completion: @escaping @Sendable (Result<Void, VecraftError>) -> Void
    ) { self.inbox.add(.transfer(peer, completion)) }

    /// Removes this replica's log at or before an offset, as whole segments allow.
    package func trim(
        through offset: JournalOffset, _ completion: @escaping @Sendable (Result<Void, VecraftError>) -> Void
    ) { self.inbox.add(.trim(offset, completion)) }

    // MARK: From other nodes

    package func receive(_ message: PeerMessage) {
        // The wire checks frames by themselves; an entry of another partition would make this log unreadable.
        if let frames = message.frames, !(0..<frames.count).allSatisfy({ frames.view($0).partition == self.partition }) { return }
        self.inbox.add(message)
    }
    package func linkReset(_ peer: ReplicaID) { self.inbox.add(.linkReset(peer)) }

    /// A leader sends its log as a whole; one at a time is taken.
    package func stage(_ transfer: LogTransfer) throws(VecraftError) -> any LogStaging {
        try self.inbox.beginStaging()
        do throws(VecraftError) {
            return ReplicaStaging(try self.store.stage(transfer), inbox: self.inbox)
        } catch {
            self.inbox.endStaging()
            throw error
        }
    }

    // MARK: Reading

    package var committed: JournalOffset { self.store.committed }
    package var firstOffset: JournalOffset { self.store.firstOffset }
    package var lastHLC: HLCTimestamp { self.store.lastHLC }
    package var diskBytes: Int { self.store.diskBytes }
    package var segmentCount: Int { self.store.segmentCount }

    /// What is committed and readable here, and how far the order behind it is closed.
    package var position: (committed: JournalOffset, closed: HLCTimestamp) {
        // In this order: an entry committed in between only makes the promise weaker than it could be.
        let closed = self.published.closed
        return (self.store.committed, closed)
    }

    /// The latest moment, by the steady clock, of which it is known that every write acknowledged before it is at or below an offset.
    package func freshness(at offset: JournalOffset) -> UInt64? { self.published.since(at: offset) }

    package func read(from: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch {
        try self.store.read(from: from, maxBytes: maxBytes)
    }
    package func onCommit(_ callback: @escaping @Sendable (JournalOffset) -> Void) -> Subscription {
        self.store.onCommit(callback)
    }
    package func verify(deadline: UInt64 = .max, _ report: (String) -> Void = { _ in }) -> PartitionReport {
        self.store.verify(deadline: deadline, report)
    }

    /// Ends the replica: appends that wait are refused, what the disk was given is done. Reading goes on.
    package func close() {
        self.inbox.close()
        self.worker.join()
        self.disk.close()
    }
}

/// What others see of the replica's thread.
final class ReplicaPublished: Sendable {
    private struct State {
        var status: ReplicaStatus
        var closed = HLCTimestamp.zero
    }
    private let state: Mutex<State>
    private let freshness = Mutex(FreshnessHistory())

    init(_ status: ReplicaStatus) {
        var status = status
        status.leaderlessSince = SystemClock.monotonicNanoseconds()
        self.state = Mutex(State(status: status))
    }

    var status: ReplicaStatus { self.state.withLock { $0.status } }
    var closed: HLCTimestamp { self.state.withLock { $0.closed } }

    func publish(_ status: ReplicaStatus) {
        self.state.withLock { state in
            let since = state.status.leaderlessSince
            state.status = status
            state.status.leaderlessSince = status.leader == nil ? since ?? SystemClock.monotonicNanoseconds() : nil
        }
    }

    func since(at offset: JournalOffset) -> UInt64? { self.freshness.withLock { $0.since(at: offset) } }
    func note(_ closed: ClosedTimestamp) {
        guard let since = closed.since else { return }
        self.freshness.withLock { $0.note(closed.offset, since: since) }
    }

    func publish(closed: HLCTimestamp) { self.state.withLock { $0.closed = max($0.closed, closed) } }
}

/// Puts a log that comes as a whole aside, and hands it to the replica.
private final class ReplicaStaging: LogStaging {
    private let staged: StagedLog
    private let inbox: ReplicaInbox
    init(_ staged: StagedLog, inbox: ReplicaInbox) {
        self.staged = staged
        self.inbox = inbox
    }
    func write(_ frames: FrameRun) throws(VecraftError) { try self.staged.write(frames) }
    func write(_ keys: [KeyRecord]) throws(VecraftError) { self.staged.write(keys) }
    func finish() throws(VecraftError) {
        let summary = try self.staged.finish()
        self.inbox.add(.staged(self.staged, summary))
        self.inbox.endStaging()
    }
    func abandon() {
        self.staged.abandon()
        self.inbox.endStaging()
    }
}

/// Events on their way to the replica's thread.
final class ReplicaInbox: Sendable {
    enum Event: Sendable {
        case message(PeerMessage)
        case linkReset(ReplicaID)
        case disk(ReplicaDisk.Done)
        case read(@Sendable (Result<JournalOffset, VecraftError>) -> Void)
        case change(MembershipChange, @Sendable (Result<JournalOffset, VecraftError>) -> Void)
        case transfer(ReplicaID, @Sendable (Result<Void, VecraftError>) -> Void)
        case trim(JournalOffset, @Sendable (Result<Void, VecraftError>) -> Void)
        case staged(StagedLog, LogSummary)
        case logAdvanced(LogTransfer)
        case logEnded(LogTransfer, isDelivered: Bool)
        case damaged(VecraftError)

        /// It will not be looked at.
        func refuse(_ error: VecraftError) {
            switch self {
            case .read(let completion), .change(_, let completion): completion(.failure(error))
            case .transfer(_, let completion), .trim(_, let completion): completion(.failure(error))
            case .staged(let log, _): log.abandon()
            case .message, .linkReset, .disk, .logAdvanced, .logEnded, .damaged: break
            }
        }
    }

    private struct State {
        var events: [Event] = []
        var messages = 0
        var frameBytes = 0
        var isClosed = false
        var isStaging = false
        /// Dropped for want of room.
        var dropped: UInt64 = 0
    }
    private let partition: PartitionID
    private let state = Mutex(State())
    let signal = Signal()
    let appends: AppendQueue

    /// Peers have windows of their own (8 MiB, 256 messages each); this is for many at once, and for a thread that is late.
    private static let maxMessages = 16_384
    private static let maxFrameBytes = 64 << 20

    init(_ partition: PartitionID, queueBytes: Int) {
        self.partition = partition
        self.appends = AppendQueue(limitBytes: queueBytes, signal: self.signal)
    }

    func add(_ event: Event) {
        let isClosed = self.state.withLock { state in
            if !state.isClosed { state.events.append(event) }
            return state.isClosed
        }
        // The thread has ended, or will without another look.
        if isClosed { return event.refuse(.journalClosed(self.partition)) }
        self.signal.raise()
    }

    /// A message is dropped when there is no room: loss is no error.
    func add(_ message: PeerMessage) {
        let bytes = message.frames?.bytes.count ?? 0
        self.state.withLock { state in
            guard state.messages < Self.maxMessages, state.frameBytes == 0 || state.frameBytes + bytes <= Self.maxFrameBytes else {
                state.dropped += 1
                return
            }
            state.messages += 1
            state.frameBytes += bytes
            state.events.append(.message(message))
        }
        self.signal.raise()
    }

    /// - Returns: True once the replica is to end.
    func take(into events: inout [Event]) -> Bool {
        self.state.withLock { state in
            swap(&events, &state.events)
            state.messages = 0
            state.frameBytes = 0
            return state.isClosed
        }
    }

    func close() {
        self.state.withLock { $0.isClosed = true }
        self.signal.raise()
    }

    var dropped: UInt64 { self.state.withLock { $0.dropped } }

    func beginStaging() throws(VecraftError) {
        let isFree = self.state.withLock { state in
            defer { state.isStaging = true }
            return !state.isStaging && !state.isClosed
        }
        guard isFree else {
            throw VecraftError(.unavailable, "a log is being received already", reason: "LOG_TRANSFER_RUNNING", retryAfter: .seconds(1))
        }
    }
    func endStaging() { self.state.withLock { $0.isStaging = false } }
}
