internal import Primitives

/// Decides what is to change, from the map and what is known. Pure and deterministic: the same input gives the same plan.
///
/// Order: nodes, journal partitions, shards (those with the fewest copies first), balance. Nothing is moved for balance while
/// anything is missing.
package struct Planner: Sendable {
    package let settings: PlannerSettings
    let bugs: ControlBugs

    package init(settings: PlannerSettings = PlannerSettings(), bugs: ControlBugs = []) {
        self.settings = settings
        self.bugs = bugs
    }

    package func plan(_ map: ClusterMap, _ observations: Observations) -> Plan {
        var planning = Planning(map: map, observations: observations, settings: self.settings, bugs: self.bugs)
        planning.planNodes()
        planning.planPartitions()
        planning.survey()
        let before = planning.plan.decisions.count
        planning.promote()
        planning.tendShards()
        if planning.plan.decisions.count == before { planning.balanceShards() }
        planning.balancePartitions()
        return planning.plan
    }
}

/// A plan in the making: each decision is made on the map that the ones before it leave.
struct Planning {
    var map: ClusterMap
    let observations: Observations
    let settings: PlannerSettings
    let bugs: ControlBugs
    var plan = Plan()
    let nodes: [NodeView]
    let nodeIndex: [NodeID: Int]
    /// Of each node, by its index: what it holds, or will when all under way is done.
    var loads: [NodeLoad]
    /// Builds of shards that have something to copy.
    var builds = 0
    var moves = 0
    /// Shards that are not as they should be, with their number of confirmed copies.
    var unwell: [(confirmed: Int, id: ShardID)] = []
    /// Builds of shards that have nothing to copy yet.
    var firstBuilds = 0
    /// New collections that this plan has seen to.
    var placedNew: Set<UInt64> = []
    /// A partition's replicas are not all as they should be.
    var isJournalCalm = true
    let zones: Int

    init(map: ClusterMap, observations: Observations, settings: PlannerSettings, bugs: ControlBugs) {
        self.map = map
        self.observations = observations
        self.settings = settings
        self.bugs = bugs
        var zones: [String: Int] = [:]
        self.nodes = map.presentNodes.map { record in
            let zone = zones[record.zone] ?? zones.count
            zones[record.zone] = zone
            return NodeView(record, observations, zone: zone)
        }
        self.zones = zones.count
        self.nodeIndex = Dictionary(uniqueKeysWithValues: self.nodes.enumerated().map { ($1.id, $0) })
        self.loads = self.nodes.map { NodeLoad(weight: UInt64($0.record.weight), diskFree: $0.report?.diskFree) }
    }

    /// False if there is no more room in the plan, or the map refuses.
    @discardableResult
    mutating func decide(_ change: MapChange, _ reason: String) -> Bool {
        guard self.plan.decisions.count < self.settings.maxDecisions else { return false }
        let epoch = self.map.epoch
        do throws(VecraftError) {
            try self.map.apply(change, expecting: epoch, bugs: self.bugs)
        } catch {
            self.plan.mistakes.append("\(change): \(error)")
            return false
        }
        self.plan.decisions.append(Decision(epoch: epoch, change: change, reason: reason))
        return true
    }

    mutating func block(_ what: String) {
        if self.plan.blocked.count < Plan.maxBlocked { self.plan.blocked.append(what) }
    }

    func node(_ id: NodeID) -> NodeView { self.nodes[self.nodeIndex[id]!] }

    // MARK: Nodes

    mutating func planNodes() {
        for node in self.nodes {
            switch node.record.state {
            case .joining where node.health.isReachable: self.decide(.activateNode(node.id), "\(node.id) is heard of")
            case .draining where !self.map.holdsSomething(node.id):
                self.decide(.finishDrain(node.id), "\(node.id) holds nothing any more")
            default: break
            }
        }
    }
}

/// A node with what is known of it.
///
/// A class, for thousands of replicas refer to it.
final class NodeView: Sendable {
    let record: NodeRecord
    /// Counted from 0.
    let zone: Int
    let health: NodeHealth
    let report: NodeObservation?

    init(_ record: NodeRecord, _ observations: Observations, zone: Int) {
        self.record = record
        self.zone = zone
        self.health = observations.health[record.id] ?? .suspected
        self.report = observations.nodes[record.id]
    }

    var id: NodeID { self.record.id }
    var isDead: Bool { self.health == .down }
    var isReachable: Bool { self.health.isReachable && self.report != nil }
    /// Holds what it was given for good.
    var isKept: Bool { self.record.state == .active }
    /// May be given something. Whoever has not read the map since it came up may be empty, and would not know a new replica
    /// from one that it lost; whoever does not watch it would not begin.
    func mayTake(_ role: NodeRoles) -> Bool {
        self.record.state == .active && self.health == .up && self.record.roles.contains(role)
            && self.report.map { $0.epoch > 0 && $0.watchesMap } ?? false
    }
    func mayTakeJournal(of partition: PartitionID) -> Bool {
        self.mayTake(.journal) && self.report?.haltedPartitions.contains(partition) != true
    }
    /// It was given the replica and does not know, and will not for a while.
    func isDeafTo(_ made: MapEpoch) -> Bool {
        self.isReachable && self.report.map { !$0.watchesMap && $0.epoch < made } ?? false
    }

    /// The node does not have what the map gave it.
    func hasLost(_ replica: ShardReplica) -> Bool {
        guard self.isReachable, let report = self.report, report.epoch >= replica.made else { return false }
        return (report.replicas[replica.incarnation]?.state ?? .lost) == .lost
    }
    func hasLost(_ replica: JournalReplica) -> Bool {
        guard self.isReachable, let report = self.report, report.epoch >= replica.made else { return false }
        return (report.journals[replica.incarnation] ?? .lost) == .lost
    }
    func isReady(_ replica: ShardReplica) -> Bool {
        self.isReachable && self.report?.replicas[replica.incarnation]?.state == .ready
    }
    func isRunning(_ replica: JournalReplica) -> Bool {
        self.isReachable && self.report?.journals[replica.incarnation] == .running
    }
    /// Known as long as nothing else is heard: a node that is away is no better for it.
    func hasHalted(_ replica: JournalReplica) -> Bool { self.report?.journals[replica.incarnation] == .halted }
    func isStuck(_ replica: JournalReplica) -> Bool { self.report?.journals[replica.incarnation] == .stuck }
}

/// What a node has to carry.
struct NodeLoad {
    let weight: UInt64
    var units: UInt64 = 0
    var builds = 0
    /// Expected, when the builds under way are done.
    var diskFree: UInt64?
    /// Voters and learners.
    var journals: UInt64 = 0

    /// A finer unit, so that whole numbers do.
    static let scale: UInt64 = 1_000_000
    var relative: UInt64 { self.units * Self.scale / self.weight }
    func relative(with more: UInt64) -> UInt64 { (self.units + more) * Self.scale / self.weight }
    func relative(without less: UInt64) -> UInt64 { (self.units - min(less, self.units)) * Self.scale / self.weight }
    func journalsRelative(with more: UInt64 = 0) -> UInt64 { (self.journals + more) * Self.scale / self.weight }
}
