internal import Primitives
internal import Raft

extension Simulation {
    // MARK: Clients

    /// A client thinks of what it wants next.
    mutating func wish(_ c: Int) {
        guard !self.isCalm || self.clients[c].attempt == 0, self.clients[c].wish == nil else { return }
        let isRead = UInt8.random(in: 0..<10, using: &self.rng) < self.plan.readShare
        let count = UInt8.random(in: 0..<8, using: &self.rng) == 0 ? Int.random(in: 2...12, using: &self.rng) : 1
        self.clients[c].wish = isRead ? .read : .append(self.clients[c].keys(count))
        self.clients[c].floor = self.checker.told
        self.clients[c].firstAttempt = self.clients[c].attempt + 1
        self.ask(c)
    }

    private mutating func ask(_ c: Int) {
        guard let wish = self.clients[c].wish else { return }
        self.clients[c].attempt += 1
        let attempt = self.clients[c].attempt
        // Some ask anyone, who may still believe that it leads.
        if case .read = wish, UInt8.random(in: 0..<4, using: &self.rng) == 0 { self.clients[c].target = nil }
        let target = self.clients[c].target ?? Int.random(in: 0..<self.replicas.count, using: &self.rng)
        self.clients[c].target = target
        let request = ClientRequest(client: c, attempt: attempt, wish: wish)
        for delay in self.clientDelays() { self.queue.add(.request(request, to: target), at: self.now + delay) }
        self.queue.add(.clientTimeout(c, attempt: attempt), at: self.now + 400_000_000)
    }

    private mutating func clientDelays() -> [UInt64] {
        let (first, second) = self.network.delays(using: &self.rng)
        return [first, second].compactMap { $0 }
    }

    mutating func hear(_ answer: ClientAnswer) {
        let c = answer.client
        guard answer.attempt >= self.clients[c].firstAttempt, let wish = self.clients[c].wish else { return }
        switch answer.outcome {
        case .done(let index):
            self.record("client \(self.clients[c].number) is told \(index)")
            switch wish {
            case .append(let keys): self.checker.acknowledges(keys, last: index, floor: self.clients[c].floor)
            case .read: self.checker.reads(through: index, floor: self.clients[c].floor)
            }
            self.clients[c].wish = nil
            let pause = UInt64.random(in: 100_000...self.plan.pause, using: &self.rng)
            self.queue.add(.clientNext(c), at: self.now + pause)
        case .refused(let hint):
            guard answer.attempt == self.clients[c].attempt else { return }
            self.clients[c].target = hint.map { self.position(of: $0) }
            self.clients[c].attempt += 1
            self.queue.add(.clientTimeout(c, attempt: self.clients[c].attempt), at: self.now + 20_000_000)
        }
    }

    /// No answer, or a refusal's pause is over.
    mutating func giveUp(_ c: Int, _ attempt: Int) {
        guard attempt == self.clients[c].attempt, self.clients[c].wish != nil else { return }
        if UInt8.random(in: 0..<2, using: &self.rng) == 0 { self.clients[c].target = nil }
        self.ask(c)
    }

    // MARK: The service beside a replica

    mutating func serve(_ request: ClientRequest, _ i: Int, _ event: SimulatedEvent) {
        guard self.replicas[i].isUp else { return }
        guard self.replicas[i].pausedUntil <= self.now else { return self.replicas[i].held.append(event) }
        switch request.wish {
        case .append(let keys): self.serveAppend(keys, request, i)
        case .read: self.serveRead(request, i)
        }
    }

    private mutating func answer(_ request: ClientRequest, _ outcome: ClientAnswer.Outcome) {
        self.answer(request.client, request.attempt, outcome)
    }

    private mutating func answer(_ client: Int, _ attempt: Int, _ outcome: ClientAnswer.Outcome) {
        let answer = ClientAnswer(client: client, attempt: attempt, outcome: outcome)
        for delay in self.clientDelays() { self.queue.add(.answer(answer), at: self.now + delay) }
    }

    private mutating func serveAppend(_ keys: [UInt64], _ request: ClientRequest, _ i: Int) {
        guard let raft = self.replicas[i].raft, raft.role == .leader else {
            return self.answer(request, .refused(hint: self.replicas[i].raft?.leader))
        }
        // What is in a leader's log under its key is not appended again: neither what is committed, nor what may yet be.
        let store = self.replicas[i].store
        let missing = keys.filter { store.keys[$0] == nil }
        if !missing.isEmpty, !self.propose(missing, i) { return self.answer(request, .refused(hint: nil)) }
        guard self.replicas[i].isUp else { return }
        self.replicas[i].waiters.append(.init(client: request.client, attempt: request.attempt, keys: keys))
        self.answerWaiters(i)
    }

    private mutating func propose(_ keys: [UInt64], _ i: Int) -> Bool {
        let bytes = 100 + Int(keys[0] % 900)
        let clock = self.replicas[i].clock.read(at: self.now)
        let range: EntryRange
        do throws(RaftRefusal) {
            range = try self.replicas[i].raft!.propose(count: keys.count, bytes: bytes * keys.count, now: clock)
        } catch { return false }
        let entries = keys.map { SimulatedEntry(term: range.term, content: .append(key: $0), bytes: bytes) }
        self.carryOut(i, entries: entries, firstEntry: range.first)
        return true
    }

    mutating func answerWaiters(_ i: Int) {
        guard !self.replicas[i].waiters.isEmpty else { return }
        let store = self.replicas[i].store
        let applied = self.replicas[i].applied
        let waiters = self.replicas[i].waiters
        self.replicas[i].waiters = []
        for waiter in waiters {
            let places = waiter.keys.compactMap { store.keys[$0] }
            if places.count == waiter.keys.count, let last = places.max(), last <= applied {
                self.answer(waiter.client, waiter.attempt, .done(last))
            } else {
                self.replicas[i].waiters.append(waiter)
            }
        }
    }

    /// It leads no more: what waits may be committed yet, or lost. The clients will ask again, elsewhere.
    mutating func refuseWaiters(_ i: Int) {
        let waiters = self.replicas[i].waiters
        self.replicas[i].waiters = []
        for waiter in waiters { self.answer(waiter.client, waiter.attempt, .refused(hint: nil)) }
    }

    private mutating func serveRead(_ request: ClientRequest, _ i: Int) {
        self.nextRead += 1
        let id = self.nextRead
        let clock = self.replicas[i].clock.read(at: self.now)
        do throws(RaftRefusal) { try self.replicas[i].raft!.read(id: id, now: clock) } catch {
            return self.answer(request, .refused(hint: self.replicas[i].raft!.leader))
        }
        self.replicas[i].reads.append(.init(id: id, client: request.client, attempt: request.attempt))
        self.carryOut(i)
    }

    mutating func answerRead(_ id: UInt64, _ index: LogIndex?, _ i: Int) {
        guard let place = self.replicas[i].reads.firstIndex(where: { $0.id == id }) else {
            return self.checker.fail("\(self.replicas[i].id) answers read \(id), which nobody asked")
        }
        let read = self.replicas[i].reads.remove(at: place)
        if let index, index > self.replicas[i].applied {
            return self.checker.fail(
                "\(self.replicas[i].id) answers a read at \(index), committed \(self.replicas[i].applied)")
        }
        self.answer(read.client, read.attempt, index.map { .done($0) } ?? .refused(hint: nil))
    }
}
