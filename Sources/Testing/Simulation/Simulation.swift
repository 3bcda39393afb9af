internal import Primitives
package import Raft

/// What a simulation is run with; all else comes from the seed.
package struct SimulationOptions: Sendable {
    package var bugs: PlantedBugs = []
    package var profile = Profile.mixed
    /// Simulated time with faults, then without until all is well.
    package var faulty: Duration = .seconds(6)
    package var calm: Duration = .seconds(20)
    package init() {}

    package enum Profile: String, Sendable, CaseIterable {
        /// Each seed its own mix of all faults.
        case mixed
        /// Leaders that die or fall silent soon after they are elected, one after the other: logs part as often as they can.
        case storm
        /// A network about as slow as the election timeout, and voters that die once they have voted: many candidates a term.
        case duel
    }
}

/// What came of one seed.
package struct SimulationResult: Sendable, CustomStringConvertible {
    package let seed: UInt64
    /// Nil: all checks held.
    package let finding: String?
    /// The last lines of what happened, if it was recorded.
    package let transcript: [String]
    package let counts: SimulationCounts

    package var description: String {
        guard let finding = self.finding else { return "seed \(self.seed): clean" }
        return (["seed \(self.seed): \(finding)"] + self.transcript).joined(separator: "\n")
    }

    /// What was found, and the last that happened before.
    package var brief: String {
        guard let finding = self.finding else { return self.description }
        return (["seed \(self.seed): \(finding)"] + self.transcript.suffix(60)).joined(separator: "\n")
    }
}

/// How much was tried.
package struct SimulationCounts: Sendable {
    package var seeds = 0
    package var steps = 0
    package var simulated = 0.0
    package var commits = 0
    package var appends = 0
    package var reads = 0
    package var leaderReads = 0
    package var elections = 0
    package var crashes = 0
    package var losses = 0
    package var changes = 0
    package var handovers = 0
    package var transfers = 0
    package var trims = 0

    package init() {}

    package static func += (a: inout SimulationCounts, b: SimulationCounts) {
        a.seeds += b.seeds
        a.steps += b.steps
        a.simulated += b.simulated
        a.commits += b.commits
        a.appends += b.appends
        a.reads += b.reads
        a.leaderReads += b.leaderReads
        a.elections += b.elections
        a.crashes += b.crashes
        a.losses += b.losses
        a.changes += b.changes
        a.handovers += b.handovers
        a.transfers += b.transfers
        a.trims += b.trims
    }
}

/// A whole group, its clients, network, disks and clocks, in one thread under one seed.
package struct Simulation {
    package let seed: UInt64
    let options: SimulationOptions
    var rng: SeededRNG
    var now: UInt64 = 1_000_000_000
    var queue = EventQueue()
    var network = SimulatedNetwork()
    var replicas: [SimulatedReplica] = []
    var clients: [SimulatedClient] = []
    var checker = Checker()
    var plan: FaultPlan
    var counts = SimulationCounts()
    var settings = RaftSettings()
    var nextRead: UInt64 = 0
    var isCalm = false
    /// At which action replicas die now.
    var fragile: FaultPlan.Fault?
    let recorder: Recorder?

    static let tick: UInt64 = 10_000_000

    private init(seed: UInt64, options: SimulationOptions, isRecording: Bool) {
        self.seed = seed
        self.options = options
        self.rng = SeededRNG(seed: seed)
        self.plan = FaultPlan(options.profile, using: &self.rng)
        self.recorder = isRecording ? Recorder() : nil
        self.counts.seeds = 1
    }

    /// Runs a seed; one that finds something is run once more with a record of what happened.
    package static func run(seed: UInt64, options: SimulationOptions = SimulationOptions()) -> SimulationResult {
        let result = Simulation.run(seed: seed, options: options, isRecording: false)
        return result.finding == nil ? result : Simulation.run(seed: seed, options: options, isRecording: true)
    }

    private static func run(seed: UInt64, options: SimulationOptions, isRecording: Bool) -> SimulationResult {
        var simulation = Simulation(seed: seed, options: options, isRecording: isRecording)
        simulation.begin()
        simulation.goOn(until: simulation.now + options.faulty.nanoseconds) { _ in false }
        simulation.calmDown()
        let deadline = simulation.now + options.calm.nanoseconds
        simulation.goOn(until: deadline) { $0.isSettled }
        if simulation.checker.finding == nil { simulation.finish() }
        simulation.counts.simulated = Double(simulation.now - 1_000_000_000) / 1e9
        simulation.counts.commits = simulation.checker.history.count
        simulation.counts.appends = simulation.checker.appends
        simulation.counts.reads = simulation.checker.reads
        return SimulationResult(
            seed: seed, finding: simulation.checker.finding, transcript: simulation.recorder?.lines ?? [],
            counts: simulation.counts)
    }

    // MARK: Start and end

    private mutating func begin() {
        let voters = (1...UInt64(self.plan.voters)).map { ReplicaID($0) }
        self.plan.adjust(&self.settings, using: &self.rng)
        self.network.delay = self.plan.delay
        self.fragile = self.plan.fragile
        for number in 1...UInt64(self.plan.voters + self.plan.spares) {
            let id = ReplicaID(number)
            let membership = voters.contains(id) ? Membership(voters: voters) : .none
            let clock = SimulatedClock(
                now: self.now, shown: UInt64.random(in: 1_000_000_000_000...9_000_000_000_000, using: &self.rng),
                rate: Double.random(in: 0.955...1.045, using: &self.rng))
            self.replicas.append(
                SimulatedReplica(id: id, store: SimulatedStore(start: LogStart(membership: membership)), clock: clock))
            self.start(self.replicas.count - 1)
        }
        for number in 1...self.plan.clients {
            self.clients.append(SimulatedClient(number: number))
            self.queue.add(.clientNext(number - 1), at: self.now + UInt64(number) * 1_000_000)
        }
        self.queue.add(.chaos, at: self.now + 300_000_000)
        self.queue.add(.administration, at: self.now + 400_000_000)
    }

    private mutating func goOn(until end: UInt64, _ isDone: (borrowing Simulation) -> Bool) {
        var step = 0
        while self.checker.finding == nil, let (at, event) = self.queue.next() {
            guard at <= end else {
                self.queue.add(event, at: at)
                self.now = end
                return
            }
            self.now = max(self.now, at)
            self.counts.steps += 1
            self.handle(event)
            step += 1
            if step % 64 == 0, isDone(self) { return }
        }
    }

    /// Faults stop: from here on all must become well within a bounded time.
    private mutating func calmDown() {
        self.isCalm = true
        self.record("--- faults stop")
        self.network = SimulatedNetwork()
        for i in self.replicas.indices {
            self.replicas[i].disk.latency = 100_000...3_000_000
            self.replicas[i].disk.stalledUntil = min(self.replicas[i].disk.stalledUntil, self.now)
            self.replicas[i].actionsLeft = nil
            self.replicas[i].pausedUntil = min(self.replicas[i].pausedUntil, self.now)
            self.resume(i)
            if !self.replicas[i].isUp { self.start(i) }
        }
    }

    /// One leads, its whole configuration has the whole log, durable and committed, and no client waits.
    private var isSettled: Bool {
        guard self.clients.allSatisfy({ $0.wish == nil }),
            let leader = self.newestLeader
        else { return false }
        let membership = leader.membership
        guard !membership.isJoint, leader.commit == leader.last.index else { return false }
        return self.replicas.allSatisfy { replica in
            guard membership.member(replica.id) != nil else { return true }
            guard let raft = replica.raft else { return false }
            return raft.last == leader.last && raft.commit == leader.commit && raft.durable == leader.last.index
                && !raft.state.isRecovering
        }
    }

    /// Of the greatest term. A replica that was removed and not told may have a greater one, and disturbs nobody.
    private var newestLeader: RaftReplica? {
        self.replicas.compactMap(\.raft).filter { $0.role == .leader }.max { $0.term < $1.term }
    }

    private mutating func finish() {
        guard self.isSettled else {
            let states = self.replicas.map { "\($0.id): \($0.raft.map { $0.summary } ?? "down")" }
            let waiting = self.clients.filter { $0.wish != nil }.map { "client \($0.number)" }
            return self.checker.fail(
                "liveness: not settled \(self.options.calm) after the faults stopped: \((states + waiting).joined(separator: "; "))"
            )
        }
        let leader = self.newestLeader!
        for replica in self.replicas where leader.membership.member(replica.id) != nil {
            self.checker.ends(replica.id, log: replica.store.image)
        }
        for replica in self.replicas { if let raft = replica.raft { self.count(raft) } }
    }

    mutating func count(_ raft: RaftReplica) {
        self.counts.elections += raft.counters.leaderships
        self.counts.leaderReads += raft.counters.leaseReads
        self.counts.trims += raft.counters.trims
    }

    // MARK: Record

    func record(_ line: @autoclosure () -> String) {
        guard let recorder = self.recorder else { return }
        recorder.add(line(), at: self.now - 1_000_000_000)
    }
}

/// The last lines of what happened.
final class Recorder {
    private static let kept = 400
    private(set) var lines: [String] = []

    func add(_ line: String, at nanoseconds: UInt64) {
        let micro = nanoseconds / 1000
        let fraction = "\(micro % 1000)"
        self.lines.append("\(micro / 1000).\(String(repeating: "0", count: 3 - fraction.count))\(fraction) ms  \(line)")
        if self.lines.count > 2 * Self.kept { self.lines.removeFirst(Self.kept) }
    }
}

extension RaftReplica {
    /// "leader term 3, log 0...7@3, commit 7, durable 7, {1 2 3}".
    package var summary: String {
        let hint = self.role == .follower ? " of \(self.leader.map(\.description) ?? "nobody")" : ""
        let recovering = self.state.isRecovering ? ", recovering" : ""
        return
            "\(self.role.rawValue)\(hint) term \(self.term), log \(self.logStart.index)...\(self.last), commit \(self.commit), "
            + "durable \(self.durable), \(self.membership)\(recovering)\(self.failure.map { ", halted: \($0)" } ?? "")"
    }
}
