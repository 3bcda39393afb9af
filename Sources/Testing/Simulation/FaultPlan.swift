internal import Primitives
internal import Raft

/// Which faults a seed has, and how many: each seed another mix, so that rare ones are not drowned by common ones.
struct FaultPlan {
    enum Fault: CaseIterable {
        case crash, crashBetweenActions, crashAtVote, crashAtLead, crashAtAcknowledge, cutOneWay, isolate, split, heal,
            badNetwork, slowDisk, stallDisk, pause
        case leapForward, stepBack, flipBit, addLearner, setVoters, removeLearner, handOver, trim, linkReset,
            crashLeader, cutLeader
        case crashAll

        static let duel: [Fault] = [.crashLeader, .crash, .cutOneWay, .cutLeader, .heal, .badNetwork, .crashAll]
        static let storm: [Fault] = [
            .crashLeader, .crash, .cutOneWay, .isolate, .cutLeader, .heal, .badNetwork, .slowDisk,
        ]
    }
    let voters: Int
    let spares: Int
    let clients: Int
    /// Of ten wishes.
    let readShare: UInt8
    /// A client's, at most, between wishes.
    let pause: UInt64
    /// Between faults.
    let interval: ClosedRange<UInt64>
    let faults: [Fault]
    let usesLease: Bool
    let hasSmallLimits: Bool
    /// The longest election timeout as a multiple of the shortest: votes are split often when it is small.
    let timeoutSpread: Double
    /// On the network, mostly; up to nearly an election timeout.
    let delay: ClosedRange<UInt64>
    /// At which action replicas die from the start.
    let fragile: Fault?
    /// How often they then do.
    let fragility: Double
    /// How long those stay down that die at a certain action, milliseconds.
    let shortAbsence: ClosedRange<UInt64>
    /// Between an administrator's wishes; nil without one.
    let administration: ClosedRange<UInt64>?

    init(_ profile: SimulationOptions.Profile, using rng: inout SeededRNG) {
        let kind = UInt8.random(in: 0..<10, using: &rng)
        let isStorm = profile == .storm || (profile == .mixed && kind < 2)
        let isDuel = profile == .duel || (profile == .mixed && kind == 2)
        self.voters = (isStorm || isDuel ? [3, 5] : [1, 3, 3, 3, 3, 5, 5]).randomElement(using: &rng)!
        self.spares = Int.random(in: 0...2, using: &rng)
        self.clients = Int.random(in: 2...5, using: &rng)
        self.readShare = UInt8.random(in: 1...6, using: &rng)
        self.pause = [1_000_000, 10_000_000, 60_000_000].randomElement(using: &rng)!
        let longest =
            isStorm ? 160_000_000 : UInt64([80_000_000, 250_000_000, 700_000_000].randomElement(using: &rng)!)
        self.interval = longest / 8...longest
        let share = Double.random(in: 0.25...1, using: &rng)
        var faults: [Fault] = []
        for fault in isStorm ? Fault.storm : isDuel ? Fault.duel : Fault.allCases
        where Double.random(in: 0..<1, using: &rng) < share { faults.append(fault) }
        self.faults = faults.isEmpty ? [.crash] : faults
        self.usesLease = UInt8.random(in: 0..<4, using: &rng) > 0
        self.hasSmallLimits = UInt8.random(in: 0..<3, using: &rng) == 0
        self.timeoutSpread = [1.2, 2, 2, 4].randomElement(using: &rng)!
        self.delay =
            isStorm
            ? 50_000...1_000_000
            : isDuel
                ? 5_000_000...180_000_000
                : [50_000...1_000_000, 50_000...1_000_000, 1_000_000...20_000_000, 5_000_000...110_000_000]
                    .randomElement(using: &rng)!
        self.fragility = isStorm || isDuel ? 1 : [0.1, 0.5, 1].randomElement(using: &rng)!
        self.fragile =
            isStorm
            ? .crashAtLead
            : isDuel
                ? .crashAtVote
                : [nil, nil, .crashAtVote, .crashAtLead, .crashAtAcknowledge].randomElement(using: &rng)!
        self.shortAbsence = isStorm ? 1...100 : isDuel ? 1...5 : [1...5, 1...100, 50...600].randomElement(using: &rng)!
        self.administration =
            UInt8.random(in: 0..<3, using: &rng) == 0
            ? nil : 30_000_000...[150_000_000, 600_000_000].randomElement(using: &rng)!
    }

    func adjust(_ settings: inout RaftSettings, using rng: inout SeededRNG) {
        settings.readsUnderLease = self.usesLease
        settings.electionTimeoutMax = settings.electionTimeoutMin * self.timeoutSpread
        guard self.hasSmallLimits else { return }
        settings.maxBatchBytes = 4 << 10
        settings.maxProbeBytes = 1 << 10
        settings.maxInFlightBytes = 8 << 10
        settings.maxInFlightMessages = Int.random(in: 1...6, using: &rng)
        settings.maxUncommittedBytes = 16 << 10
        settings.maxUncommittedBatches = Int.random(in: 4...64, using: &rng)
        settings.maxPromotionLag = 20
    }
}

extension Simulation {
    mutating func causeAdministration() {
        guard !self.isCalm, let pause = self.plan.administration else { return }
        let wishes: [FaultPlan.Fault] = [
            .addLearner, .addLearner, .setVoters, .setVoters, .removeLearner, .handOver, .trim,
        ]
        self.administer(wishes.randomElement(using: &self.rng)!)
        self.queue.add(.administration, at: self.now + UInt64.random(in: pause, using: &self.rng))
    }

    /// Some die in the middle of what they do just when it counts most.
    mutating func fray(_ action: RaftAction, _ i: Int) {
        guard let fragile = self.fragile, self.replicas[i].actionsLeft == nil, !self.isCalm else { return }
        func dies(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &self.rng) < share }
        switch (fragile, action) {
        case (.crashAtVote, .send(let message)):
            guard case .voteReply(let isGranted) = message.body, isGranted, dies(self.plan.fragility) else { return }
            self.replicas[i].actionsLeft = 0
        case (.crashAtLead, .lead):
            guard dies(self.plan.fragility) else { return }
            if Bool.random(using: &self.rng) { return self.mute(i) }
            self.replicas[i].actionsLeft = Int.random(in: 1...60, using: &self.rng)
        case (.crashAtLead, .commit):
            guard self.replicas[i].raft?.role == .leader, dies(self.plan.fragility / 2) else { return }
            self.replicas[i].actionsLeft = 0
        case (.crashAtAcknowledge, .send(let message)):
            guard case .acknowledge = message.body, dies(self.plan.fragility / 50) else { return }
            self.replicas[i].actionsLeft = Int.random(in: 0...2, using: &self.rng)
        default: break
        }
    }

    /// Some of the others do not hear it any more.
    private mutating func mute(_ i: Int) {
        let id = self.replicas[i].id
        for other in self.replicas where other.id != id {
            guard UInt8.random(in: 0..<5, using: &self.rng) > 0 else { continue }
            self.record("--- cut \(id) -> \(other.id)")
            self.network.cut(id, other.id)
        }
    }

    mutating func causeChaos() {
        guard !self.isCalm else { return }
        let fault = self.plan.faults.randomElement(using: &self.rng)!
        self.cause(fault)
        self.queue.add(.chaos, at: self.now + UInt64.random(in: self.plan.interval, using: &self.rng))
    }

    private mutating func anyone() -> Int { Int.random(in: 0..<self.replicas.count, using: &self.rng) }
    private var leaderPosition: Int? { self.replicas.lastIndex { $0.raft?.role == .leader } }
    private mutating func soon(_ range: ClosedRange<UInt64>) -> UInt64 {
        self.now + UInt64.random(in: range, using: &self.rng) * 1_000_000
    }

    private mutating func cause(_ fault: FaultPlan.Fault) {
        switch fault {
        case .crash: self.crashFor(self.anyone(), 1...1500)
        case .crashLeader: if let leader = self.leaderPosition { self.crashFor(leader, 1...500) }
        case .crashAll: for i in self.replicas.indices { self.crashFor(i, 1...300) }
        case .crashBetweenActions:
            let i = Bool.random(using: &self.rng) ? self.leaderPosition ?? self.anyone() : self.anyone()
            self.replicas[i].actionsLeft = Int.random(in: 0...12, using: &self.rng)
        case .crashAtVote, .crashAtLead, .crashAtAcknowledge:
            self.fragile = self.fragile == nil ? fault : nil
            self.record("--- fragile: \(self.fragile.map { "\($0)" } ?? "nobody")")
        case .cutOneWay, .isolate, .split, .heal, .badNetwork, .cutLeader, .linkReset: self.disturbNetwork(fault)
        case .slowDisk, .stallDisk, .pause, .leapForward, .stepBack, .flipBit: self.disturbMachine(fault, self.anyone())
        case .addLearner, .setVoters, .removeLearner, .handOver, .trim: self.administer(fault)
        }
    }

    private mutating func crashFor(_ i: Int, _ milliseconds: ClosedRange<UInt64>) {
        self.crash(i)
        self.queue.add(.start(i), at: self.soon(milliseconds))
    }

    private mutating func disturbNetwork(_ fault: FaultPlan.Fault) {
        let ids = self.replicas.map(\.id)
        switch fault {
        case .cutOneWay:
            let (a, b) = (ids[self.anyone()], ids[self.anyone()])
            self.record("--- cut \(a) -> \(b)")
            self.network.cut(a, b)
        case .isolate, .cutLeader:
            let lone = fault == .cutLeader ? self.leaderPosition ?? self.anyone() : self.anyone()
            let direction = UInt8.random(in: 0..<4, using: &self.rng)
            self.record(
                "--- isolate \(ids[lone])\(direction == 0 ? ", deaf only" : direction == 1 ? ", mute only" : "")")
            for other in ids where other != ids[lone] {
                if direction != 0 { self.network.cut(ids[lone], other) }
                if direction != 1 { self.network.cut(other, ids[lone]) }
            }
        case .split:
            let side = ids.map { _ in Bool.random(using: &self.rng) }
            self.record("--- split \(zip(ids, side).filter(\.1).map(\.0)) from the rest")
            for (a, x) in zip(ids, side) { for (b, y) in zip(ids, side) where x != y { self.network.cut(a, b) } }
        case .badNetwork:
            self.network.loss = Bool.random(using: &self.rng) ? 0 : Double.random(in: 0...0.4, using: &self.rng)
            self.network.doubling = Bool.random(using: &self.rng) ? 0 : Double.random(in: 0...0.3, using: &self.rng)
            self.network.lateness = Bool.random(using: &self.rng) ? 0 : Double.random(in: 0...0.2, using: &self.rng)
            let late: UInt64 = [20_000_000, 200_000_000, 3_000_000_000].randomElement(using: &self.rng)!
            self.network.lateDelay = 1_000_000...late
            self.record(
                "--- network loses \(self.network.loss), doubles \(self.network.doubling), delays \(self.network.lateness)"
            )
        case .linkReset:
            let (i, peer) = (self.anyone(), ids[self.anyone()])
            guard self.replicas[i].pausedUntil <= self.now else { return }
            self.step(i) { raft, now in raft.linkReset(peer, now: now) }
        default:
            self.record("--- heal")
            self.network.heal()
        }
    }

    private mutating func disturbMachine(_ fault: FaultPlan.Fault, _ i: Int) {
        let id = self.replicas[i].id
        switch fault {
        case .slowDisk:
            let slow = UInt64.random(in: 1...(Bool.random(using: &self.rng) ? 120 : 800), using: &self.rng) * 1_000_000
            self.record("--- disk of \(id) takes up to \(slow / 1_000_000) ms")
            self.replicas[i].disk.latency = 100_000...slow
        case .stallDisk:
            self.replicas[i].disk.stalledUntil = self.soon(100...2500)
            self.record("--- disk of \(id) is stalled or full")
        case .pause:
            self.record("--- \(id) stands still")
            self.replicas[i].pausedUntil = self.soon(20...2000)
            self.queue.add(.resume(i), at: self.replicas[i].pausedUntil)
        case .leapForward:
            let leap = Int64.random(in: 1...5_000, using: &self.rng) * 1_000_000
            self.record("--- clock of \(id) leaps \(leap / 1_000_000) ms ahead")
            self.replicas[i].clock.leap(by: leap, at: self.now)
        case .stepBack:
            // A monotonic clock must not; when it does, by more than what passed since the last event, that is noticed.
            guard self.replicas[i].pausedUntil <= self.now else { return }
            self.step(i) { raft, now in raft.tick(now: now) }
            let leap = Int64.random(in: 30...5_000, using: &self.rng) * 1_000_000
            self.record("--- clock of \(id) goes back \(leap / 1_000_000) ms")
            self.replicas[i].clock.leap(by: -leap, at: self.now)
            self.step(i) { raft, now in raft.tick(now: now) }
        default: self.flipBit(i)
        }
    }

    /// Damages an entry on a disk: one replica at a time, for what a majority has lost is lost.
    private mutating func flipBit(_ i: Int) {
        let someoneRecovers = self.replicas.contains { replica in
            !replica.store.damaged.isEmpty || replica.store.hardState.isRecovering
                || replica.raft?.state.isRecovering == true
        }
        let store = self.replicas[i].store
        guard !someoneRecovers, self.plan.voters >= 3, !store.durable.entries.isEmpty else { return }
        // Mostly near the end, where what is lost was promised last.
        let depth = Int.random(
            in: 1...(Bool.random(using: &self.rng) ? 5 : store.durable.entries.count), using: &self.rng)
        let index = store.durable.lastIndex + 1 - UInt64(min(depth, store.durable.entries.count))
        self.record("--- entry \(index) on the disk of \(self.replicas[i].id) is damaged")
        store.damaged.append(index)
        if Bool.random(using: &self.rng) { self.crashFor(i, 1...400) }
    }

    private mutating func administer(_ fault: FaultPlan.Fault) {
        if fault == .trim {
            let i = self.anyone()
            guard let raft = self.replicas[i].raft, raft.commit > raft.logStart.index,
                self.replicas[i].pausedUntil <= self.now
            else { return }
            let index = LogIndex.random(in: raft.logStart.index + 1...raft.commit, using: &self.rng)
            return self.step(i) { raft, now in raft.trim(through: index, now: now) }
        }
        guard let i = self.leaderPosition, self.replicas[i].pausedUntil <= self.now,
            let membership = self.replicas[i].raft?.membership
        else { return }
        let ids = self.replicas.map(\.id)
        switch fault {
        case .addLearner:
            guard let id = ids.filter({ membership.member($0) == nil }).randomElement(using: &self.rng) else { return }
            self.change(.addLearner(id), i)
        case .removeLearner:
            guard let id = membership.learners.randomElement(using: &self.rng) else { return }
            self.change(.removeLearner(id), i)
        case .setVoters:
            // Never fewer than at first: with one damaged at a time, a majority has all.
            let candidates = membership.members.map(\.id).shuffled(using: &self.rng)
            guard candidates.count >= self.plan.voters else { return }
            let most = self.plan.voters == 1 ? candidates.count : min(candidates.count, self.plan.voters + 2)
            self.change(
                .setVoters(Array(candidates.prefix(Int.random(in: self.plan.voters...most, using: &self.rng)))), i)
        default:
            guard let id = membership.voters.randomElement(using: &self.rng), id != ids[i] else { return }
            self.counts.handovers += 1
            self.record("--- \(ids[i]) is to hand over to \(id)")
            self.step(i) { raft, now in try? raft.transferLeadership(to: id, now: now) }
        }
    }

    private mutating func change(_ change: MembershipChange, _ i: Int) {
        self.record("--- \(self.replicas[i].id) is asked: \(change)")
        var isTaken = false
        self.step(i) { raft, now in
            do throws(RaftRefusal) {
                try raft.change(change, now: now)
                isTaken = true
            } catch {}
        }
        if isTaken { self.counts.changes += 1 }
    }
}
