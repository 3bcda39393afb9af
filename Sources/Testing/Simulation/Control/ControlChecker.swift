internal import Placement
internal import Primitives

/// The judge: compares what was decided with what is true, after each change and each step.
extension ControlSimulation {
    /// Complete, and not known to be away: for less than ``knowable`` nobody can know.
    private func isGood(_ replica: ShardReplica) -> Bool {
        guard let node = self.node(replica.node) else { return false }
        if !node.isAway(at: self.step, for: Self.knowable), node.shards[replica.incarnation]?.isComplete == true {
            return true
        }
        return self.step - self.lastWipe <= Self.knowable && node.isEmptySince(self.lastWipe)
    }

    private func isAliveOrJustWas(_ which: Incarnation) -> Bool {
        guard let place = self.places[which] else { return false }
        let node = self.nodes[place]
        if !node.isAway(at: self.step, for: Self.knowable), let partition = node.journals[which],
            self.step - (node.halted[partition] ?? self.step) <= Self.knowable
        {
            return true
        }
        return self.step - self.lastWipe <= Self.knowable && node.isEmptySince(self.lastWipe)
    }

    /// - Parameter before: The store's map before the change.
    mutating func check(_ change: MapChange, from before: ClusterMap, by controller: ControlProcess?) {
        if self.store.map.epoch != before.epoch + 1 {
            return self.fail("epochs: \(before.epoch) is followed by \(self.store.map.epoch), by \(change)")
        }
        switch change {
        case .promoteReplicas(let id, let names):
            for name in names {
                let shard = ShardID(collection: id, shard: name.shard)
                guard let replica = before.shard(shard)?.replica(name.incarnation) else { continue }
                if !self.isGood(replica) {
                    return self.fail("\(shard)#\(name.incarnation) is made live and is not complete")
                }
                if let applied = self.node(replica.node)?.shards[name.incarnation]?.applied, applied + 1200 < self.end {
                    return self.fail("\(shard)#\(name.incarnation) is made live \(self.end - applied) entries behind")
                }
            }
        case .placeReplicas(let id, let new): self.checkPlacement(id, new, before, controller)
        case .retireReplica(let id, let which), .forgetReplica(let id, let which):
            let collection = before.collections[id.collection]!
            let shard = before.shard(id)!
            let goer = shard.replica(which)!
            guard
                self.node(goer.node)?.shards[which]?.isComplete == true && self.isGood(goer)
                    || shard.replicas.allSatisfy({ $0.state != .live || $0.incarnation == which })
            else { return self.checkGrace(goer, before, id, controller) }
            let left = shard.replicas.reduce(0) {
                $0 + ($1.state == .live && $1.incarnation != which && self.isGood($1) ? 1 : 0)
            }
            if left < collection.replication {
                self.fail(
                    "\(change): only \(left) good copies of \(collection.replication) are left, though one more was there"
                )
            }
        case .discardReplica(let id, let which):
            let replica = before.shard(id)!.replica(which)!
            if self.node(replica.node)?.shards[which]?.isComplete == true {
                self.fail("\(id)#\(which) is discarded and is there")
            }
        case .addLearner, .removeLearner, .setVoters, .forgetJournalReplica, .startPartition:
            self.checkGroup(change, before)
        default: break
        }
    }

    /// Who is silent for less than the grace loses nothing by it.
    private mutating func checkGrace(
        _ goer: ShardReplica, _ before: ClusterMap, _ id: ShardID, _ controller: ControlProcess?
    ) {
        guard goer.state == .live, before.nodes[goer.node]?.state == .active, let node = self.node(goer.node) else {
            return
        }
        let silence = self.step - (controller?.heardAt[node.id] ?? self.step)
        let isWithinGrace = node.silentSince != nil && silence < Self.grace
        if isWithinGrace, node.shards[goer.incarnation]?.isComplete == true {
            self.fail(
                "grace: \(id)#\(goer.incarnation) is retired, \(goer.node) is silent for \(silence) steps"
            )
        }
    }

    private mutating func checkPlacement(
        _ id: UInt64, _ new: [NewReplica], _ before: ClusterMap, _ controller: ControlProcess?
    ) {
        for replica in new where replica.movesFrom == 0 {
            let shard = before.shard(ShardID(collection: id, shard: replica.shard))!
            guard shard.firstLive > 0 else { continue }
            let there = shard.replicas.reduce(0) { count, other in
                guard other.state == .live, before.nodes[other.node]?.state == .active,
                    let node = self.node(other.node),
                    node.shards[other.incarnation]?.isComplete == true
                else { return count }
                // By what this controller heard: while it stood still, a node may have come and gone.
                let silence = self.step - (controller?.heardAt[node.id] ?? self.step)
                return count + (silence > Self.grace ? 0 : 1)
            }
            // A node that came back while the plan was made is not the planner's mistake.
            let justBack = shard.replicas.contains { other in
                self.node(other.node).map { self.step - $0.lastReturn <= Self.knowable } ?? false
            }
            if there >= before.collections[id]!.replication, !justBack {
                return self.fail(
                    "grace: \(id)/\(replica.shard) is copied to \(replica.node), though \(there) copies are there or were a moment ago"
                )
            }
        }
    }

    private mutating func checkGroup(_ change: MapChange, _ before: ClusterMap) {
        switch change {
        case .forgetJournalReplica(let id, let which):
            if self.groups[id]!.isMember(which) { self.fail("\(id)#\(which) is forgotten and is a member") }
        case .addLearner(let id, _, _), .removeLearner(let id, _), .setVoters(let id, _):
            let group = self.groups[id]!
            let (old, new) = (before.partitions[id]!, self.store.map.partitions[id]!)
            let voters = Set(new.voters.map(\.incarnation))
            if group.joint != nil {
                return self.fail("one change at a time: \(change) while \(id) is in a joint configuration")
            }
            let isSettled =
                Set(group.voters) == Set(old.voters.map(\.incarnation))
                && Set(group.learners) == Set(old.learners.map(\.incarnation))
            if !isSettled && voters != Set(group.voters) {
                return self.fail(
                    "one change at a time: \(change) while \(id) has voters \(group.voters), learners \(group.learners)"
                )
            }
            guard case .setVoters = change, voters != Set(group.voters) else { return }
            for set in [old.voters, new.voters] where !isMajority(set.map(\.incarnation), self.isAliveOrJustWas) {
                return self.fail("majority: \(change), of \(set.map(\.node)) no majority is alive")
            }
        default: break
        }
    }

    // MARK: After each step

    mutating func checkTruth() {
        for (id, collection) in self.store.map.collections.sorted(by: { $0.key < $1.key }) {
            for (i, shard) in collection.shards.enumerated() where shard.firstLive > 0 {
                let isThere = shard.replicas.contains { replica in
                    replica.state != .building
                        && self.node(replica.node)?.shards[replica.incarnation]?.isComplete == true
                }
                if !isThere { return self.fail("no copy is left of \(id)/\(i), and one could have been kept") }
            }
        }
        for group in self.groups.values.sorted(by: { $0.id < $1.id }) {
            let sets = [group.voters, group.joint ?? group.voters]
            // Before its nodes have seen the map, a new group is nowhere.
            guard group.leader != nil || group.changed != self.store.map.partitions[group.id]?.changed else { continue }
            func keeps(_ which: Incarnation) -> Bool {
                let node = self.nodes[self.places[which]!]
                return node.journals[which] != nil
            }
            if !sets.allSatisfy({ isMajority($0, keeps) }), group.wasLed {
                return self.fail("\(group.id) has lost its majority")
            }
            if group.leader != nil { group.wasLed = true }
        }
    }

    // MARK: At the end

    /// Nothing was changed, planned or under way for ten seconds.
    var isWell: Bool { self.isCalm && self.step - max(self.lastChange, self.quietSince) > 40 }

    /// Something is under way, or waits.
    var isBusy: Bool {
        let leaders = self.controllers.filter { $0.isUp && $0.isLeading && self.step >= $0.pausedUntil }
        let isPlanned = leaders.contains { leader in
            let healths = leader.liveness?.healths.values.map { $0 } ?? []
            return !leader.lastPlan.decisions.isEmpty || !leader.lastPlan.blocked.isEmpty
                || leader.view.epoch != self.store.map.epoch || healths.contains(.flapping)
                || healths.contains(.suspected)
        }
        let isAway = self.nodes.contains { node in
            !node.isUp && !node.isGoneForGood && self.store.map.nodes[node.id]?.state != .removed
        }
        return leaders.isEmpty || isPlanned || isAway || self.isMapBusy
    }

    private var isMapBusy: Bool {
        let map = self.store.map
        return map.nodes.values.contains { $0.state == .joining || $0.state == .draining }
            || map.partitions.values.contains { record in
                record.changed == 0 || record.replicas.contains { $0.role != .voter }
                    || self.groups[record.id]?.joint != nil
            }
            || map.collections.values.contains { collection in
                collection.shards.contains { $0.replicas.contains { $0.state != .live } }
            }
    }

    mutating func checkConvergence() {
        guard self.finding == nil else { return }
        let leader = self.controllers.first { $0.isLeading }
        guard self.isWell else {
            return self.fail(
                "convergence: no rest after \(self.options.calmSteps / 4) s; blocked: \(leader?.lastPlan.blocked ?? [])"
            )
        }
        let map = self.store.map
        for node in map.presentNodes where node.state == .draining || node.state == .joining {
            self.fail("convergence: \(node.id) is still \(node.state); blocked: \(leader?.lastPlan.blocked ?? [])")
        }
        for (id, collection) in map.collections.sorted(by: { $0.key < $1.key }) {
            for (i, shard) in collection.shards.enumerated() {
                let good = shard.replicas.filter { replica in
                    guard let node = self.node(replica.node), node.isUp, map.nodes[node.id]?.state == .active else {
                        return false
                    }
                    return replica.state == .live && node.shards[replica.incarnation]?.isComplete == true
                }
                if good.count != collection.replication || shard.replicas.count != good.count {
                    return self.fail(
                        "convergence: \(id)/\(i) has \(good.count) good copies of \(collection.replication); blocked: \(leader?.lastPlan.blocked ?? [])"
                    )
                }
            }
        }
        for record in map.partitions.values.sorted(by: { $0.id < $1.id }) {
            let isGood = record.voters.allSatisfy {
                self.isAlive($0.incarnation) && map.nodes[$0.node]?.state == .active
            }
            if record.voters.count != record.wanted || record.replicas.count != record.wanted || !isGood {
                return self.fail(
                    "convergence: \(record.id) has \(record.voters.count) voters of \(record.wanted); blocked: \(leader?.lastPlan.blocked ?? [])"
                )
            }
        }
        self.checkBalance()
    }

    /// No single move would make a difference worth a copy. Counted anew, from the truth.
    private mutating func checkBalance() {
        let map = self.store.map
        let nodes = map.nodes.values.filter { $0.state == .active }.sorted { $0.id < $1.id }
        let shards = map.collections.keys.sorted().flatMap { id in
            map.collections[id]!.shards.indices.map { ShardID(collection: id, shard: UInt32($0)) }
        }
        func cost(_ id: ShardID) -> Double { Double(1 + ControlNode.bytes(id) >> 30) }
        func load(_ node: NodeRecord) -> Double {
            shards.reduce(0) { $0 + (map.shard($1)!.replica(on: node.id) != nil ? cost($1) : 0) } / Double(node.weight)
        }
        let mean = nodes.reduce(0) { $0 + load($1) } / Double(max(1, nodes.count))
        for from in nodes {
            for to in nodes where to.id != from.id {
                for id in shards {
                    let holders = map.shard(id)!.replicas.map(\.node)
                    guard holders.contains(from.id), !holders.contains(to.id) else { continue }
                    let here = holders.filter { map.nodes[$0]!.zone == from.zone }.count
                    let there = holders.filter { map.nodes[$0]!.zone == to.zone }.count
                    if from.zone != to.zone, here - there >= 2 {
                        return self.fail(
                            "balance: \(id) has \(here) copies in zone \(from.zone) and \(there) in \(to.zone)")
                    }
                    guard from.zone == to.zone || there < here else { continue }
                    let (full, empty) = (load(from), load(to))
                    let after = (full - cost(id) / Double(from.weight), empty + cost(id) / Double(to.weight))
                    if full - empty > mean * 0.1 + 1e-4, after.0 > after.1 + 1e-4 {
                        return self.fail(
                            "balance: \(id) on \(from.id) with load \(full), \(to.id) has \(empty), the mean is \(mean)"
                        )
                    }
                }
            }
        }
    }
}
