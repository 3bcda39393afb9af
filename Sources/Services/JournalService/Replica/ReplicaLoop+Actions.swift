internal import Dispatch
internal import FileStore
internal import HLC
internal import JournalFormat
internal import JournalStore
internal import Logging
internal import PeerTransport
internal import Primitives
internal import Raft

extension ReplicaLoop {
    /// Carries out what the machine decided, in order.
    ///
    /// - Parameter frames: What came with the message, or was proposed.
    func carryOut(frames: FrameRun? = nil) {
        while !self.raft.actions.isEmpty {
            let actions = self.raft.actions
            self.raft.clearActions()
            for action in actions { self.carryOut(action, frames) }
        }
        self.show()
        #if DEBUG
        if let broken = self.raft.brokenInvariant() { preconditionFailure("\(self.store.partition): \(broken)") }
        #endif
    }

    private func carryOut(_ action: RaftAction, _ frames: FrameRun?) {
        switch action {
        case .send(let message): self.send(message)
        case .save(let state, let ticket): self.disk.add(.save(state, ticket))
        case .write(let order): self.write(order, frames)
        case .commit(let index): self.commit(through: index)
        case .lead(let term):
            self.log.notice("leads", metadata: ["partition": "\(self.store.partition)", "term": "\(term)"])
        case .follow(let term, let leader): self.follow(term, leader)
        case .readReady(let id, let index): self.reads.removeValue(forKey: id)?(.success(index))
        case .readRefused(let id):
            self.reads.removeValue(forKey: id)?(.failure(.notLeader(self.store.partition, hint: self.raft.leader)))
        case .trim(let start): self.disk.add(.trim(start))
        case .sendLog(let transfer): self.sendLog(transfer)
        case .discardLog(let transfer):
            self.staged.removeAll { log in
                guard log.transfer == transfer else { return false }
                self.disk.add(.discard(log))
                return true
            }
        case .retire:
            self.log.notice("removed from its group", metadata: ["partition": "\(self.store.partition)"])
        case .halt(let why): self.halted(why)
        }
    }

    private func follow(_ term: Term, _ leader: ReplicaID?) {
        self.log.info(
            "follows",
            metadata: [
                "partition": "\(self.store.partition)", "term": "\(term)", "leader": "\(leader.map(\.description) ?? "none yet")",
            ])
        self.closing.stopLeading()
        // What is committed is answered by ``commit(through:)`` before; of the rest nobody here knows any more.
        let lost = VecraftError.leadershipLost(self.store.partition)
        self.waiters.removeAll { $0(.failure(lost)) }
        let changes = self.changes
        self.changes = []
        for change in changes { change.completion(.failure(lost)) }
    }

    private func halted(_ why: String) {
        self.log.critical(
            "the replica has halted; its data is kept for a person to look at",
            metadata: ["partition": "\(self.store.partition)", "why": "\(why)"])
        let error = VecraftError(
            .unavailable, "journal partition \(self.store.partition) has stopped: \(why)", reason: "JOURNAL_FAILED")
        self.observer?.failed(partition: self.store.partition, error: error)
        for pending in self.inbox.appends.fail(error) { pending.completion(.failure(error)) }
        self.failWaiting(with: error)
    }

    private func commit(through index: LogIndex) {
        // Whoever is answered finds the entry here already, unless this disk is the last.
        self.show()
        let now = SystemClock.monotonicNanoseconds()
        var oldest: UInt64?
        if let observer = self.observer {
            observer.answering { oldest = self.waiters.commit(through: index) }
        } else {
            oldest = self.waiters.commit(through: index)
        }
        if let oldest {
            self.observer?.acknowledged(partition: self.store.partition, waited: .nanoseconds(now - min(now, oldest)))
        }
        while let first = self.changes.first, first.offset <= index {
            self.changes.removeFirst()
            first.completion(.success(first.offset))
        }
        self.closing.committed(through: index)
    }

    // MARK: Messages

    private func send(_ message: RaftMessage) {
        guard case .append(let append) = message.body, let range = append.entries else {
            self.outgoing.append(PeerMessage(partition: self.store.partition, message: message))
            return
        }
        if let run = self.window.run(range.first, range.last) {
            self.outgoing.append(PeerMessage(partition: self.store.partition, message: message, frames: run))
            return
        }
        // Behind what is in memory: read where nobody waits. Lost if it cannot be read; the machine asks again.
        let (store, sender, inbox, clock) = (self.store, self.sender, self.inbox, self.clock)
        self.catchUp.async {
            do throws(VecraftError) {
                let run = try store.frames(from: range.first, through: range.last, maxBytes: range.bytes + 4096)
                guard run.lastOffset == range.last, (0..<run.count).allSatisfy({ run.view($0).term == range.term }) else { return }
                var late = PeerMessage(partition: store.partition, message: message, frames: run)
                late.clock = clock.last
                sender.send([late])
            } catch {
                if error.code == .dataLoss { inbox.add(.damaged(error)) }
            }
        }
    }

    private func sendLog(_ transfer: LogTransfer) {
        self.log.notice(
            "sends its log to a replica that is behind its start",
            metadata: [
                "partition": "\(self.store.partition)", "to": "\(transfer.to)", "from": "\(transfer.start.position)",
                "through": "\(transfer.through)",
            ])
        let inbox = self.inbox
        self.sender.sendLog(
            transfer, partition: self.store.partition, from: ReplicaLogSource(self.store, transfer),
            progress: { inbox.add(.logAdvanced(transfer)) }, end: { inbox.add(.logEnded(transfer, isDelivered: $0)) })
    }

    // MARK: Disk

    private func write(_ order: WriteOrder, _ frames: FrameRun?) {
        let range = order.entries
        let run: FrameRun
        switch order.content {
        case .proposed: run = frames!
        case .barrier: run = self.own(.barrier, range)
        case .configuration: run = self.own(.configuration, range)
        case .received:
            let frames = frames!
            run = frames.firstOffset == range.first && frames.lastOffset == range.last
                ? frames : frames.suffix(from: range.first).prefix(through: range.last)
        case .transfer(let transfer): return self.adopt(transfer, order.ticket)
        }
        if let cut = order.truncateFrom {
            self.window.truncate(from: cut)
            self.table.remove(from: cut)
        }
        self.window.append(run)
        if order.content == .received { self.remember(run) }
        if range.membership != nil { self.learn(run) }
        self.disk.add(.write(run, order.ticket, cutFrom: order.truncateFrom))
    }

    private func adopt(_ transfer: LogTransfer, _ ticket: WriteTicket) {
        guard let i = self.staged.firstIndex(where: { $0.transfer == transfer }) else {
            return self.fail("a log is adopted that is not there: \(transfer.through)")
        }
        self.window.removeAll()
        self.disk.add(.adopt(self.staged.remove(at: i), ticket))
    }

    func remember(_ run: FrameRun) {
        for i in 0..<run.count {
            let view = run.view(i)
            if let key = IdempotencyTable.Key(view) { self.table.insert(.init(view), under: key) }
        }
    }

    private func learn(_ run: FrameRun) {
        withExtendedLifetime(run) {
            if let body = try? ConfigurationBody(run.view(0).body) { self.learned(body) }
        }
    }

    /// An entry of the leader's own.
    private func own(_ operation: OperationKind, _ range: EntryRange) -> FrameRun {
        let now = self.clock.now()
        var random = SystemRandomNumberGenerator()
        let header = EntryHeader(
            partition: self.store.partition, tier: .critical, operation: operation, tenant: "", requestID: "",
            principal: "node-\(self.store.replica)", trace: .root(using: &random))
        let entry: EncodedEntry
        if let membership = range.membership {
            entry = .configuration(header: header, ConfigurationBody(membership, address: self.address))
        } else {
            entry = .raw(header: header, body: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        self.closing.stamps(after: now, from: range.first)
        return FrameRun(stamping: [(entry, now)], from: range.first, term: range.term) { self.clock.now() }
    }
}

/// A replica's log, read for one that gets it as a whole.
struct ReplicaLogSource: LogSource {
    private let store: ReplicaStore
    private let transfer: LogTransfer

    init(_ store: ReplicaStore, _ transfer: LogTransfer) {
        self.store = store
        self.transfer = transfer
    }

    func frames(from offset: JournalOffset, maxBytes: Int) throws(VecraftError) -> FrameRun {
        try self.store.frames(from: offset, through: self.transfer.through.index, maxBytes: maxBytes)
    }

    func keys() throws(VecraftError) -> [KeyRecord] { try self.store.keys(through: self.transfer.through.index) }
}
