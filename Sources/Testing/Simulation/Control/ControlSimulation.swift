package import Placement
internal import Primitives

/// What a simulation of the control plane is run with; all else comes from the seed.
package struct ControlOptions: Sendable {
    package var bugs: ControlBugs = []
    /// Steps of a quarter second with faults, then without until all is well, at most.
    package var faultySteps = 600
    package var calmSteps = 8000
    package init() {}
}

/// How much was tried.
package struct ControlCounts: Sendable {
    package var seeds = 0
    package var steps = 0
    package var plans = 0
    package var decisions: [String: Int] = [:]
    package var stale = 0
    package var crashes = 0
    package var wipes = 0
    package var outages = 0
    package var halts = 0
    package var elections = 0
    package var failedBuilds = 0
    /// Of all seeds, until all was well.
    package var longestCalm = 0

    package init() {}

    package static func += (a: inout ControlCounts, b: ControlCounts) {
        a.seeds += b.seeds
        a.steps += b.steps
        a.plans += b.plans
        a.decisions.merge(b.decisions, uniquingKeysWith: +)
        a.stale += b.stale
        a.crashes += b.crashes
        a.wipes += b.wipes
        a.outages += b.outages
        a.halts += b.halts
        a.elections += b.elections
        a.failedBuilds += b.failedBuilds
        a.longestCalm = max(a.longestCalm, b.longestCalm)
    }

    package var summary: String {
        let decided = self.decisions.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }.joined(separator: ", ")
        return """
            \(self.seeds) seeds, \(self.steps / 4) s simulated, \(self.plans) plans, \(self.elections) controllers elected, \
            \(self.stale) stale writes refused, \(self.crashes) nodes down, \(self.wipes) disks lost, \(self.outages) outages of \
            the store, \(self.halts) journal replicas halted, \(self.failedBuilds) failed builds; changes: \(decided); well again after at most \
            \(self.longestCalm / 4) s
            """
    }
}

package struct ControlResult: Sendable, CustomStringConvertible {
    package let seed: UInt64
    package let finding: String?
    package let transcript: [String]
    package let counts: ControlCounts

    package var description: String {
        guard let finding = self.finding else { return "seed \(self.seed): clean" }
        return (["seed \(self.seed): \(finding)"] + self.transcript).joined(separator: "\n")
    }
    package var brief: String {
        guard let finding = self.finding else { return self.description }
        return (["seed \(self.seed): \(finding)"] + self.transcript.suffix(60)).joined(separator: "\n")
    }
}

/// A cluster's control plane under one seed: nodes, controllers and a metadata store with all that can go wrong, in steps of a
/// quarter second. The planner, the liveness, the map and its documents are those that are shipped; the checker looks at the truth.
package struct ControlSimulation {
    let seed: UInt64
    let options: ControlOptions
    var rng: SeededRNG
    var step = 0
    var store = ControlStore()
    var nodes: [ControlNode] = []
    var controllers: [ControlProcess] = []
    var groups: [PartitionID: ControlGroup] = [:]
    /// Where each journal replica ever made is.
    var places: [Incarnation: Int] = [:]
    var counts = ControlCounts()
    var finding: String?
    var isCalm = false
    var faults: [ControlFault] = []
    var faultShare = 0.0
    var storeBackAt = 0
    var nextCollection: UInt64 = 1
    var lastWipe = -1000
    var lastChange = 0
    /// Nothing is planned or changed since.
    var quietSince = 0
    let recorder: Recorder?

    /// Before that, nobody can know of a node's end: a report may be a second old, a plan five, and silence is none for 0.75 s.
    static let knowable = 32
    /// 13 s: a node that is silent for less is within its grace, however late a plan is carried out.
    static let grace = 52

    package static func run(seed: UInt64, options: ControlOptions = ControlOptions()) -> ControlResult {
        let result = Self.run(seed, options, isRecording: false)
        return result.finding == nil ? result : Self.run(seed, options, isRecording: true)
    }

    private static func run(_ seed: UInt64, _ options: ControlOptions, isRecording: Bool) -> ControlResult {
        var simulation = ControlSimulation(seed, options, isRecording)
        simulation.begin()
        while simulation.finding == nil, simulation.step < options.faultySteps { simulation.advance() }
        if simulation.finding == nil { simulation.calmDown() }
        while simulation.finding == nil, !simulation.isWell, simulation.step < options.faultySteps + options.calmSteps {
            simulation.advance()
        }
        simulation.checkConvergence()
        if simulation.finding != nil { simulation.recordState() }
        simulation.counts.longestCalm = simulation.step - options.faultySteps
        simulation.counts.steps = simulation.step
        return ControlResult(
            seed: seed, finding: simulation.finding, transcript: simulation.recorder?.lines ?? [],
            counts: simulation.counts)
    }

    private init(_ seed: UInt64, _ options: ControlOptions, _ isRecording: Bool) {
        self.seed = seed
        self.options = options
        self.rng = SeededRNG(seed: seed)
        self.recorder = isRecording ? Recorder() : nil
        self.counts.seeds = 1
    }

    func record(_ line: @autoclosure () -> String) {
        self.recorder?.add(line(), at: UInt64(self.step) * 250_000_000)
    }
    mutating func fail(_ what: String) {
        guard self.finding == nil else { return }
        self.finding = what
        self.record("*** \(what)")
    }
    mutating func chance(_ share: Double) -> Bool { Double.random(in: 0..<1, using: &self.rng) < share }
    mutating func pick(_ range: ClosedRange<Int>) -> Int { Int.random(in: range, using: &self.rng) }

    /// All that a reader of the transcript wants to know of the end.
    private func recordState() {
        guard self.recorder != nil else { return }
        for document in self.store.map.documents() {
            self.record("map \(document.key): \(String(decoding: document.value ?? [], as: UTF8.self))")
        }
        for node in self.nodes {
            let shards = node.shards.sorted { $0.key < $1.key }.map {
                "\($1.id)#\($0)\($1.isComplete ? "" : " incomplete")"
            }
            self.record(
                "\(node.id) \(node.isUp ? "up" : "down"): \(shards.joined(separator: ", ")); journals \(node.journals.keys.sorted())"
            )
        }
        for group in self.groups.values.sorted(by: { $0.id < $1.id }) {
            let leader = group.leader.map { "#\($0)" } ?? "none"
            self.record(
                "\(group.id): voters \(group.voters), joint \(group.joint ?? []), learners \(group.learners), leader \(leader), changed \(group.changed)"
            )
        }
        for controller in self.controllers {
            let health = (controller.liveness?.healths ?? [:]).sorted { $0.key < $1.key }.map { "\($0) \($1)" }
            self.record(
                "c\(controller.index): \(controller.isLeading ? "leads" : "follows") at epoch \(controller.view.epoch), \(health.joined(separator: ", ")); blocked \(controller.lastPlan.blocked)"
            )
        }
    }

    var now: Duration { .milliseconds(250 * self.step) }
    func position(of id: NodeID) -> Int? { self.nodes.firstIndex { $0.id == id } }
    func node(_ id: NodeID) -> ControlNode? { self.nodes.first { $0.id == id } }

    // MARK: Life

    private mutating func begin() {
        let zones = [1, 1, 2, 3].randomElement(using: &self.rng)!
        for _ in 0..<self.pick(4...7) { self.addNode(zones) }
        for index in 0..<self.pick(1...3) {
            self.controllers.append(ControlProcess(index: index, isStubborn: self.chance(0.3)))
        }
        for i in 0..<self.pick(1...2) {
            self.administer(.addPartition(.data(UInt16(i)), wanted: [1, 3, 3, 5].randomElement(using: &self.rng)!))
        }
        for _ in 0..<self.pick(1...2) { self.addCollection() }
        self.faults = ControlFault.allCases.filter { _ in self.chance(0.7) }
        self.faultShare = [0.02, 0.05, 0.1].randomElement(using: &self.rng)!
    }

    mutating func addNode(_ zones: Int) {
        let id = NodeID(UInt64(self.nodes.count + 1))
        let zone = zones == 1 ? "" : "z\(self.pick(1...zones))"
        let weight: UInt32 = self.chance(0.2) ? 200 : 100
        self.nodes.append(ControlNode(id: id, zone: zone, weight: weight))
        self.administer(.describeNode(NodeRecord(id: id, name: "node-\(id)", zone: zone, weight: weight)))
    }

    mutating func addCollection() {
        guard let partition = self.store.map.partitions.keys.sorted().randomElement(using: &self.rng) else { return }
        let id = self.nextCollection
        self.nextCollection += 1
        self.administer(
            .addCollection(
                id, shards: self.pick(1...8), replication: [1, 2, 2, 3].randomElement(using: &self.rng)!,
                partition: partition))
    }

    mutating func advance() {
        self.step += 1
        if !self.isCalm, !self.faults.isEmpty, self.chance(self.faultShare) {
            self.cause(self.faults.randomElement(using: &self.rng)!)
        }
        if !self.store.isAvailable, self.step >= self.storeBackAt {
            self.store.isAvailable = true
            self.record("--- the store is back")
        }
        self.comeBack()
        for i in self.nodes.indices { self.act(i) }
        for id in self.groups.keys.sorted() { self.act(self.groups[id]!) }
        for i in self.controllers.indices where self.finding == nil { self.act(self.controllers[i]) }
        self.checkTruth()
        if self.isCalm, self.isBusy { self.quietSince = self.step }
    }

    // MARK: Nodes

    private mutating func act(_ i: Int) {
        let node = self.nodes[i]
        if node.isHeard {
            if node.silentSince != nil { node.lastReturn = self.step }
            node.silentSince = nil
        } else if node.silentSince == nil {
            node.silentSince = self.step
        }
        guard node.isUp else { return }
        if !node.isCutFromStore, self.store.isAvailable, self.step >= node.nextLook {
            node.see(self.store.map)
            node.nextLook = self.step + (self.isCalm || self.chance(0.9) ? self.pick(1...3) : self.pick(4...30))
        }
        if node.failedBuilds > 0, self.step % 120 == 0 { node.failedBuilds -= 1 }
        // In order, for copying draws from the seed; what is complete only follows.
        var copying: [Incarnation] = []
        for (which, held) in node.shards where !held.isComplete || held.applied < self.end {
            if held.isComplete {
                node.shards[which]!.applied = min(self.end, held.applied + 1000)
            } else {
                copying.append(which)
            }
        }
        for which in copying.sorted() { self.build(node, which) }
    }

    /// A shard's journal grows by 20 entries a second.
    var end: JournalOffset { 10_000 + UInt64(5 * self.step) }

    private mutating func build(_ node: ControlNode, _ which: Incarnation) {
        var held = node.shards[which]!
        defer { node.shards[which] = held }
        let end = self.end
        guard !held.isFailed else { return }
        guard node.view.shard(held.id)?.firstLive != 0 else {
            held.isComplete = true
            held.applied = end
            return
        }
        guard self.hasSource(held.id, besides: node) else { return }
        held.progress += self.pick(10...60)
        if !self.isCalm, self.chance(0.004) {
            held.isFailed = true
            node.failedBuilds += 1
            self.counts.failedBuilds += 1
            self.record("--- copying \(held.id)#\(which) to \(node.id) fails")
        } else if held.progress >= 1000 {
            held.isComplete = true
            held.applied = end - min(end, 4000)
        }
    }

    private func hasSource(_ id: ShardID, besides node: ControlNode) -> Bool {
        self.store.map.shard(id)?.replicas.contains { replica in
            replica.state != .building && replica.node != node.id
                && self.node(replica.node).map { $0.isUp && $0.shards[replica.incarnation]?.isComplete == true } == true
        } ?? false
    }

    // MARK: Groups

    func isAlive(_ which: Incarnation) -> Bool {
        guard let place = self.places[which] else { return false }
        guard self.nodes[place].isUp, let partition = self.nodes[place].journals[which] else { return false }
        return self.nodes[place].halted[partition] == nil
    }

    private mutating func act(_ group: ControlGroup) {
        if let joint = group.joint {
            guard isMajority(group.voters, self.isAlive), isMajority(joint, self.isAlive), self.chance(0.5) else {
                return
            }
            group.voters = joint
            group.learners.removeAll { joint.contains($0) }
            group.joint = nil
            if let leader = group.leader, !joint.contains(leader) { group.leader = nil }
            return self.record("    \(group.id) has the voters \(joint)")
        }
        if let leader = group.leader, !self.isAlive(leader) || !isMajority(group.voters, self.isAlive) {
            group.leader = nil
        }
        guard let leader = group.leader else {
            guard isMajority(group.voters, self.isAlive) else { return }
            if group.electionAt <= self.step - 20 { group.electionAt = self.step + self.pick(1...4) }
            if self.step >= group.electionAt {
                group.leader = group.voters.filter(self.isAlive).randomElement(using: &self.rng)
            }
            return
        }
        for learner in group.learners where self.isAlive(learner) && group.behind[learner, default: 0] > 0 {
            group.behind[learner]! -= 1
        }
        guard let record = self.nodes[self.places[leader]!].view.partitions[group.id], self.chance(0.5) else { return }
        switch GroupStep.next(record, group.observation(leader: leader, isAlive: self.isAlive)) {
        case .addLearner(let which):
            group.learners.append(which)
            group.behind[which] = self.pick(4...40)
        case .removeLearner(let which): group.learners.removeAll { $0 == which }
        case .setVoters(let voters): group.joint = voters
        case nil: return
        }
        group.changed = record.changed
    }
}
