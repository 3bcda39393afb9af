import Placement
import Primitives
import Testing

/// A small cluster for tests of single decisions: observations are what the map says, but for what a test says otherwise.
struct World {
    var map = ClusterMap()
    var planner = Planner()
    var health: [UInt64: NodeHealth] = [:]
    /// Of replicas, by incarnation; others are ready.
    var states: [Incarnation: ReplicaObservation.State] = [:]
    var applied: [Incarnation: JournalOffset] = [:]
    var reads: [Incarnation: Int] = [:]
    var bytes: [ShardID: UInt64] = [:]
    var lostJournals: Set<Incarnation> = []
    /// Of journal replicas that are there, by incarnation; others run.
    var journals: [Incarnation: NodeObservation.JournalState] = [:]
    /// By node.
    var halted: [UInt64: Set<PartitionID>] = [:]
    /// Learners that have not caught up.
    var behind: Set<Incarnation> = []
    /// Of nodes.
    var disks: [UInt64: (free: UInt64, total: UInt64)] = [:]
    var failures: [UInt64: Int] = [:]
    /// Nodes that saw the map of this epoch last, and do not hear of it now.
    var deafSince: [UInt64: MapEpoch] = [:]
    /// Groups that say otherwise than the map.
    var groups: [PartitionID: GroupObservation] = [:]
    var leaderless: Set<PartitionID> = []

    init(nodes: Int, zones: [String] = [""], weights: [UInt32] = [100]) {
        for i in 1...nodes {
            self.addNode(UInt64(i), zone: zones[(i - 1) % zones.count], weight: weights[(i - 1) % weights.count])
        }
    }

    mutating func addNode(_ id: UInt64, zone: String = "", weight: UInt32 = 100) {
        self.apply(.describeNode(NodeRecord(id: NodeID(id), name: "node-\(id)", zone: zone, weight: weight)))
        self.apply(.activateNode(NodeID(id)))
    }

    mutating func apply(_ change: MapChange) {
        do throws(VecraftError) {
            try self.map.apply(change, expecting: self.map.epoch)
        } catch { Issue.record("\(change): \(error)") }
        if let broken = self.map.brokenInvariant() { Issue.record("after \(change): \(broken)") }
    }

    /// Nil: it was done.
    mutating func refusal(_ change: MapChange) -> String? {
        do throws(VecraftError) {
            try self.map.apply(change, expecting: self.map.epoch)
            return nil
        } catch { return error.reason ?? error.code.name }
    }

    var observations: Observations {
        var seen = Observations()
        for node in self.map.presentNodes {
            let id = node.id.rawValue
            seen.health[node.id] = self.health[id] ?? .up
            seen.nodes[node.id] = NodeObservation(
                epoch: self.deafSince[id] ?? self.map.epoch, watchesMap: self.deafSince[id] == nil,
                haltedPartitions: self.halted[id] ?? [], diskFree: self.disks[id]?.free,
                diskTotal: self.disks[id]?.total,
                failedBuilds: self.failures[id] ?? 0)
        }
        for (id, collection) in self.map.collections {
            for (i, shard) in collection.shards.enumerated() {
                for replica in shard.replicas {
                    let which = replica.incarnation
                    seen.nodes[replica.node]!.replicas[which] = ReplicaObservation(
                        self.states[which] ?? .ready, applied: self.applied[which] ?? 100,
                        bytes: self.bytes[ShardID(collection: id, shard: UInt32(i))] ?? 0,
                        readsInFlight: self.reads[which] ?? 0)
                }
            }
        }
        for record in self.map.partitions.values where record.changed > 0 {
            for replica in record.replicas {
                seen.nodes[replica.node]!.journals[replica.incarnation] =
                    self.lostJournals.contains(replica.incarnation)
                    ? .lost : self.journals[replica.incarnation] ?? .running
            }
            guard !self.leaderless.contains(record.id) else { continue }
            let voters = Set(record.voters.map(\.incarnation)), learners = Set(record.learners.map(\.incarnation))
            seen.groups[record.id] =
                self.groups[record.id]
                ?? GroupObservation(
                    leader: voters.min()!, voters: voters, learners: learners,
                    caughtUp: voters.union(learners).subtracting(self.behind),
                    changed: record.changed)
        }
        return seen
    }

    /// One plan, carried out: what was decided, a line each.
    @discardableResult
    mutating func plan() -> [String] {
        let plan = self.planner.plan(self.map, self.observations)
        #expect(plan.mistakes.isEmpty)
        for decision in plan.decisions {
            #expect(decision.epoch == self.map.epoch)
            self.apply(decision.change)
        }
        return plan.decisions.map(\.description)
    }

    var blocked: [String] { self.planner.plan(self.map, self.observations).blocked }

    /// Plans until nothing is decided any more.
    @discardableResult
    mutating func settle() -> [String] {
        var lines: [String] = []
        for _ in 0..<500 {
            let more = self.plan()
            if more.isEmpty { return lines }
            lines += more
        }
        Issue.record("no rest: \(lines.suffix(10))")
        return lines
    }

    /// The nodes of a shard's live copies.
    func live(_ collection: UInt64, _ shard: UInt32 = 0) -> [UInt64] {
        self.map.shard(ShardID(collection: collection, shard: shard))!.replicas
            .filter { $0.state == .live }.map(\.node.rawValue).sorted()
    }
    func replica(_ collection: UInt64, _ shard: UInt32 = 0, on node: UInt64) -> Incarnation {
        self.map.shard(ShardID(collection: collection, shard: shard))?.replica(on: NodeID(node))?.incarnation ?? 0
    }
    func voters(_ id: PartitionID) -> [UInt64] { self.map.partitions[id]!.voters.map(\.node.rawValue).sorted() }
    func voter(_ id: PartitionID, on node: UInt64) -> Incarnation {
        self.map.partitions[id]!.voters.first { $0.node == NodeID(node) }?.incarnation ?? 0
    }
    func count(on node: UInt64) -> Int {
        self.map.collections.values.flatMap(\.shards).flatMap(\.replicas).filter { $0.node == NodeID(node) }.count
    }
}
