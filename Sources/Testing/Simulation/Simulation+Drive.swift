internal import Primitives
internal import Raft

// The driver: carries out what the replicas decide, as a real one would.

extension Simulation {
    mutating func handle(_ event: SimulatedEvent) {
        switch event {
        case .deliver(let message, let entries): self.deliver(message, entries, event)
        case .tick(let i, let life): self.tick(i, life, event)
        case .synced(let i, let life): self.synced(i, life, event)
        case .start(let i): if !self.replicas[i].isUp { self.start(i) }
        case .resume(let i): if self.replicas[i].pausedUntil <= self.now { self.resume(i) }
        case .transferAdvanced(let transfer, let i, let life):
            guard self.isLive(i, life, event) else { return }
            self.step(i) { raft, now in raft.logTransferAdvanced(transfer, now: now) }
        case .transferEnded(let transfer, let image, let i, let life, let isDelivered):
            self.transferEnded(transfer, image, i, life, isDelivered, event)
        case .request(let request, let i): self.serve(request, i, event)
        case .answer(let answer): self.hear(answer)
        case .clientTimeout(let client, let attempt): self.giveUp(client, attempt)
        case .clientNext(let client): self.wish(client)
        case .chaos: self.causeChaos()
        case .administration: self.causeAdministration()
        }
    }

    /// Whether a process takes an event now; one that stands still takes it when it goes on.
    private mutating func isLive(_ i: Int, _ life: Int?, _ event: SimulatedEvent) -> Bool {
        guard self.replicas[i].isUp, life == nil || life == self.replicas[i].life else { return false }
        guard self.replicas[i].pausedUntil > self.now else { return true }
        self.replicas[i].held.append(event)
        return false
    }

    mutating func resume(_ i: Int) {
        let held = self.replicas[i].held
        self.replicas[i].held = []
        for event in held { self.handle(event) }
    }

    func position(of id: ReplicaID) -> Int { Int(id.rawValue) - 1 }

    // MARK: Life

    mutating func start(_ i: Int) {
        let start = self.replicas[i].store.restart()
        if start.hasLostEntries { self.counts.losses += 1 }
        self.replicas[i].life += 1
        self.replicas[i].applied = start.log.start.position.index
        self.replicas[i].pausedUntil = 0
        let clock = self.replicas[i].clock.read(at: self.now)
        self.replicas[i].raft = RaftReplica(
            id: self.replicas[i].id, start: start, view: self.replicas[i].store, settings: self.settings,
            seed: self.rng.next(), now: clock, plantedBugs: self.options.bugs)
        self.record(
            "\(self.replicas[i].id) starts: \(self.replicas[i].raft!.summary)\(start.hasLostEntries ? ", entries lost" : "")"
        )
        self.carryOut(i)
        let tick = self.now + UInt64.random(in: 0..<Self.tick, using: &self.rng)
        self.queue.add(.tick(i, life: self.replicas[i].life), at: tick)
    }

    mutating func crash(_ i: Int) {
        guard let raft = self.replicas[i].raft else { return }
        self.record("\(self.replicas[i].id) crashes")
        self.counts.crashes += 1
        self.count(raft)
        self.replicas[i].raft = nil
        self.replicas[i].disk.crash(into: self.replicas[i].store, using: &self.rng)
        self.replicas[i].waiters = []
        self.replicas[i].reads = []
        self.replicas[i].staged = []
        self.replicas[i].held = []
        self.replicas[i].actionsLeft = nil
    }

    private mutating func tick(_ i: Int, _ life: Int, _ event: SimulatedEvent) {
        guard self.isLive(i, life, event) else { return }
        self.step(i) { raft, now in raft.tick(now: now) }
        // Not quite regular, as on a loaded machine.
        let next = Self.tick / 2 + UInt64.random(in: 0..<Self.tick, using: &self.rng)
        self.queue.add(.tick(i, life: life), at: self.now + next)
    }

    // MARK: One step

    /// Hands an event to a replica, carries out what it decides, and checks.
    mutating func step(_ i: Int, _ event: (inout RaftReplica, MonotonicInstant) -> Void) {
        guard self.replicas[i].raft != nil else { return }
        event(&self.replicas[i].raft!, self.replicas[i].clock.read(at: self.now))
        self.carryOut(i)
        if let broken = self.replicas[i].raft?.brokenInvariant() {
            self.checker.fail("invariant of \(self.replicas[i].id): \(broken)")
        }
    }

    /// - Parameter entries: What came with the message, or was proposed.
    mutating func carryOut(_ i: Int, entries: [SimulatedEntry] = [], firstEntry: LogIndex = 0) {
        guard let actions = self.replicas[i].raft?.actions, !actions.isEmpty else { return }
        self.replicas[i].raft!.clearActions()
        for action in actions {
            if let left = self.replicas[i].actionsLeft {
                guard left > 0 else {
                    self.crash(i)
                    let absence = UInt64.random(in: self.plan.shortAbsence, using: &self.rng) * 1_000_000
                    self.queue.add(.start(i), at: self.now + absence)
                    return
                }
                self.replicas[i].actionsLeft = left - 1
            }
            self.carryOut(action, i, entries, firstEntry)
            if self.fragile != nil { self.fray(action, i) }
            guard self.checker.finding == nil, self.replicas[i].isUp else { return }
        }
        if let done = self.replicas[i].disk.begin(now: self.now, using: &self.rng) {
            self.queue.add(.synced(i, life: self.replicas[i].life), at: done)
        }
    }

    private mutating func carryOut(_ action: RaftAction, _ i: Int, _ entries: [SimulatedEntry], _ firstEntry: LogIndex)
    {
        let id = self.replicas[i].id
        switch action {
        case .send(let message): self.send(message, i)
        case .save(let state, let ticket):
            self.record("\(id) saves \(state)")
            self.replicas[i].disk.add(.save(ticket, state))
        case .write(let order): self.write(order, i, entries, firstEntry)
        case .commit(let index): self.commit(through: index, i)
        case .lead(let term):
            self.record("\(id) leads term \(term)")
            self.checker.leads(id, term, log: self.replicas[i].store.image)
        case .follow(let term, let leader):
            self.record("\(id) follows \(leader.map(\.description) ?? "nobody") in term \(term)")
            self.refuseWaiters(i)
        case .readReady(let read, let index): self.answerRead(read, index, i)
        case .readRefused(let read): self.answerRead(read, nil, i)
        case .trim(let start):
            self.record("\(id) trims through \(start.position)")
            self.replicas[i].store.image.trim(to: start)
            self.replicas[i].disk.add(.trim(start))
        case .sendLog(let transfer): self.sendLog(transfer, i)
        case .discardLog(let transfer):
            self.record("\(id) discards the log through \(transfer.through)")
            self.replicas[i].staged.removeAll { $0.transfer == transfer }
        case .retire: self.record("\(id) is retired")
        case .halt(let why): self.checker.fail("\(id) halts: \(why)")
        }
    }

    // MARK: Messages

    private mutating func send(_ message: RaftMessage, _ i: Int) {
        var entries: [SimulatedEntry] = []
        if case .append(let append) = message.body, let range = append.entries {
            let store = self.replicas[i].store
            // A frame that does not match its checksum is never sent: the process ends, and comes back without it.
            guard !self.findsDamage(i, range.first, range.last) else { return }
            entries = store.image.slice(range.first, range.last)
        }
        guard !self.network.isCut(message.from, message.to) else { return self.record("lost: \(message)") }
        let (first, second) = self.network.delays(using: &self.rng)
        guard let first else { return self.record("lost: \(message)") }
        self.record("sent: \(message)")
        self.queue.add(.deliver(message, entries), at: self.now + first)
        if let second { self.queue.add(.deliver(message, entries), at: self.now + second) }
    }

    private mutating func findsDamage(_ i: Int, _ first: LogIndex, _ last: LogIndex) -> Bool {
        guard self.replicas[i].store.damaged.contains(where: { first <= $0 && $0 <= last }) else { return false }
        self.record("\(self.replicas[i].id) finds damage")
        self.crash(i)
        self.queue.add(.start(i), at: self.now + 1_000_000)
        return true
    }

    private mutating func deliver(_ message: RaftMessage, _ entries: [SimulatedEntry], _ event: SimulatedEvent) {
        let i = self.position(of: message.to)
        guard self.isLive(i, nil, event) else { return }
        self.record("\(message)")
        var first: LogIndex = 0
        if case .append(let append) = message.body { first = append.entries?.first ?? 0 }
        self.replicas[i].raft!.receive(message, now: self.replicas[i].clock.read(at: self.now))
        self.carryOut(i, entries: entries, firstEntry: first)
        if let broken = self.replicas[i].raft?.brokenInvariant() {
            self.checker.fail("invariant of \(self.replicas[i].id): \(broken)")
        }
    }

    // MARK: Disk

    private mutating func write(_ order: WriteOrder, _ i: Int, _ entries: [SimulatedEntry], _ firstEntry: LogIndex) {
        let id = self.replicas[i].id
        let range = order.entries
        let store = self.replicas[i].store
        self.record("\(id) writes \(range)\(order.truncateFrom.map { ", cutting from \($0)" } ?? "")")
        let written: [SimulatedEntry]
        switch order.content {
        case .proposed: written = entries
        case .barrier: written = [SimulatedEntry(term: range.term, content: .barrier, bytes: 64)]
        case .configuration:
            written = [SimulatedEntry(term: range.term, content: .configuration(range.membership!), bytes: 128)]
        case .received: written = Array(entries[Int(range.first - firstEntry)...Int(range.last - firstEntry)])
        case .transfer(let transfer): return self.adopt(transfer, order.ticket, i)
        }
        guard written.count == Int(range.count), range.first == (order.truncateFrom ?? store.image.lastIndex + 1) else {
            return self.checker.fail(
                "\(id) writes \(written.count) entries as \(range) behind \(store.image.lastIndex)")
        }
        store.write(written, truncatingFrom: order.truncateFrom)
        for (k, entry) in written.enumerated() {
            let index = range.first + UInt64(k)
            let previous =
                index > store.image.firstIndex ? store.image[index - 1].term : store.image.start.position.term
            self.checker.writes(id, entry, at: index, after: previous)
        }
        if let cut = order.truncateFrom, self.replicas[i].applied >= cut {
            // What is applied and cut again can only come of a planted mistake; the checkers shall find it, not an index.
            self.replicas[i].applied = cut - 1
        }
        self.replicas[i].disk.add(.write(order.ticket, truncateFrom: order.truncateFrom, written))
    }

    private mutating func synced(_ i: Int, _ life: Int, _ event: SimulatedEvent) {
        guard self.isLive(i, life, event) else { return }
        var save: SaveTicket?
        var write: WriteTicket?
        for operation in self.replicas[i].disk.finish() {
            self.replicas[i].store.persist(operation)
            switch operation {
            case .save(let ticket, _): save = ticket
            case .write(let ticket, _, _), .replace(let ticket, _): write = ticket
            case .trim: break
            }
        }
        if let save { self.step(i) { raft, now in raft.saved(save, now: now) } }
        guard self.replicas[i].life == life else { return }
        if let write { self.step(i) { raft, now in raft.written(write, now: now) } }
        guard self.replicas[i].isUp, self.replicas[i].life == life else { return }
        if let done = self.replicas[i].disk.begin(now: self.now, using: &self.rng) {
            self.queue.add(.synced(i, life: life), at: done)
        }
    }

    private mutating func commit(through index: LogIndex, _ i: Int) {
        let store = self.replicas[i].store
        self.record("\(self.replicas[i].id) commits through \(index)")
        guard index <= store.image.lastIndex, index >= self.replicas[i].applied else {
            return self.checker.fail(
                "\(self.replicas[i].id) commits through \(index), applied \(self.replicas[i].applied), log ends \(store.image.lastIndex)"
            )
        }
        let term = self.replicas[i].raft?.term ?? 0
        while self.replicas[i].applied < index {
            self.replicas[i].applied += 1
            let next = self.replicas[i].applied
            self.checker.commits(self.replicas[i].id, store.image[next], at: next, in: term)
        }
        self.answerWaiters(i)
    }

    // MARK: Log transfers

    private mutating func sendLog(_ transfer: LogTransfer, _ i: Int) {
        self.record("\(transfer.from) sends \(transfer.to) its log, \(transfer.start.position)...\(transfer.through)")
        self.counts.transfers += 1
        let store = self.replicas[i].store
        guard !self.findsDamage(i, transfer.start.position.index + 1, transfer.through.index) else { return }
        var image = LogImage(start: transfer.start)
        image.entries = store.image.slice(transfer.start.position.index + 1, transfer.through.index)
        image.oldKeys = store.keys.filter { $0.value <= transfer.start.position.index }
        let life = self.replicas[i].life
        let length = UInt64.random(in: 1_000_000...200_000_000, using: &self.rng)
        self.queue.add(.transferAdvanced(transfer, from: i, life: life), at: self.now + length / 2)
        let fails = !self.isCalm && UInt8.random(in: 0..<4, using: &self.rng) == 0
        self.queue.add(
            .transferEnded(transfer, image, from: i, life: life, isDelivered: !fails), at: self.now + length)
    }

    private mutating func transferEnded(
        _ transfer: LogTransfer, _ image: LogImage, _ i: Int, _ life: Int, _ isDelivered: Bool, _ event: SimulatedEvent
    ) {
        let to = self.position(of: transfer.to)
        let hasArrived =
            isDelivered && self.replicas[to].isUp && self.replicas[to].pausedUntil <= self.now
            && !self.network.isCut(transfer.from, transfer.to)
        if hasArrived {
            self.record("\(transfer.to) has staged the log through \(transfer.through)")
            self.replicas[to].staged.append((transfer, image))
            let summary = image.summary
            self.step(to) { raft, now in raft.logStaged(transfer, summary: summary, now: now) }
        }
        guard self.isLive(i, life, event) else { return }
        self.step(i) { raft, now in raft.logTransferEnded(transfer, isDelivered: hasArrived, now: now) }
    }

    private mutating func adopt(_ transfer: LogTransfer, _ ticket: WriteTicket, _ i: Int) {
        guard let place = self.replicas[i].staged.firstIndex(where: { $0.transfer == transfer }) else {
            return self.checker.fail("\(self.replicas[i].id) adopts a log it does not have")
        }
        let image = self.replicas[i].staged.remove(at: place).image
        self.replicas[i].store.replace(with: image)
        self.replicas[i].applied = max(self.replicas[i].applied, image.start.position.index)
        self.replicas[i].disk.add(.replace(ticket, image))
    }
}
