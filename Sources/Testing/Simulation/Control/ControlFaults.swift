internal import Placement
internal import Primitives

enum ControlFault: CaseIterable {
    case kill, killLong, wipe, killForGood, flap, cutFromStore, cutFromControl, haltJournal
    case killController, pauseController, cutController, storeOutage
    case drain, cancelDrain, remove, addNode, addCollection, dropCollection, setReplication, setWanted
}

extension ControlSimulation {
    mutating func cause(_ fault: ControlFault) {
        let node = self.nodes.randomElement(using: &self.rng)!
        let controller = self.controllers.randomElement(using: &self.rng)!
        switch fault {
        case .kill: self.kill(node, self.pick(4...60))
        case .killLong: self.kill(node, self.pick(60...400))
        case .haltJournal:
            guard node.isUp, let id = node.journals.values.sorted().randomElement(using: &self.rng) else { return }
            node.halted[id] = node.halted[id] ?? self.step
            self.counts.halts += 1
            self.record("--- \(id) halts on \(node.id)")
        case .flap: for i in 0..<self.pick(2...5) { node.flaps.append(self.step + 1 + i * self.pick(4...16)) }
        case .wipe:
            guard self.mayLoseData(node) else { return }
            self.kill(node, self.pick(4...150))
            node.wipe(at: self.step)
            self.loses(node, "its disk")
        case .killForGood:
            guard self.mayLoseData(node), self.nodes.filter(\.isGoneForGood).count * 4 < self.nodes.count else {
                return
            }
            self.kill(node, .max / 2)
            node.wipe(at: self.step)
            node.isGoneForGood = true
            self.loses(node, "all of it")
        case .cutFromStore:
            node.isCutFromStore.toggle()
            self.record("--- \(node.id) \(node.isCutFromStore ? "does not reach" : "reaches") the store")
        case .cutFromControl:
            node.isCutFromControl.toggle()
            self.record("--- \(node.id) \(node.isCutFromControl ? "is not heard" : "is heard") by controllers")
        case .killController:
            guard controller.isUp else { return }
            controller.stop()
            controller.isUp = false
            controller.returnAt = self.step + self.pick(4...80)
            self.record("--- c\(controller.index) dies")
        case .pauseController:
            controller.pausedUntil = self.step + self.pick(4...100)
            self.record("--- c\(controller.index) stands still")
        case .cutController:
            controller.isCutFromStore.toggle()
            self.record(
                "--- c\(controller.index) \(controller.isCutFromStore ? "does not reach" : "reaches") the store")
        case .storeOutage:
            guard self.store.isAvailable else { return }
            self.store.isAvailable = false
            self.storeBackAt = self.step + self.pick(4...100)
            self.counts.outages += 1
            self.record("--- the store is not available")
        default: self.administer(fault, node)
        }
    }

    private mutating func administer(_ fault: ControlFault, _ node: ControlNode) {
        let map = self.store.map
        switch fault {
        case .drain:
            // As many stay as the most copied shard needs, or the drain could never end.
            guard self.stayingNodes(without: node.id) >= self.nodesNeeded else { return }
            self.administer(.drainNode(node.id))
        case .cancelDrain: if !node.isGoneForGood { self.administer(.cancelDrain(node.id)) }
        case .remove: if self.administer(.removeNode(node.id)) { self.kill(node, .max / 2) }
        case .addNode: if self.nodes.count < 12 { self.addNode(self.pick(1...3)) }
        case .addCollection: if map.collections.count < 4 { self.addCollection() }
        case .dropCollection:
            guard map.collections.count > 1, let id = map.collections.keys.sorted().randomElement(using: &self.rng)
            else { return }
            self.administer(.dropCollection(id))
        case .setReplication:
            guard let id = map.collections.keys.sorted().randomElement(using: &self.rng) else { return }
            self.administer(.setReplication(id, self.pick(1...3)))
        case .setWanted:
            guard let id = map.partitions.keys.sorted().randomElement(using: &self.rng) else { return }
            self.administer(.setWantedVoters(id, [1, 3, 5].randomElement(using: &self.rng)!))
        default: preconditionFailure("\(fault) is not an administrator's")
        }
    }

    /// A person starts nodes anew where without it a group has no majority; elsewhere what halted stays so, and is to be replaced.
    private mutating func restartHalted() {
        for group in self.groups.values.sorted(by: { $0.id < $1.id }) {
            func goesOn(_ which: Incarnation) -> Bool {
                let node = self.nodes[self.places[which]!]
                return node.journals[which] != nil && node.halted[group.id] == nil
            }
            let record = self.store.map.partitions[group.id]
            let sets = [group.voters, group.joint ?? group.voters, record?.voters.map(\.incarnation) ?? group.voters]
            guard !sets.allSatisfy({ isMajority($0, goesOn) }) else { continue }
            for node in self.nodes where node.halted[group.id] != nil { node.halted = [:] }
        }
    }

    private func stayingNodes(without node: NodeID) -> Int {
        self.nodes.reduce(0) { count, other in
            let state = self.store.map.nodes[other.id]?.state
            return count + (other.id != node && !other.isGoneForGood && (state == .active || state == .joining) ? 1 : 0)
        }
    }
    /// So that all that is wanted can be had.
    var nodesNeeded: Int {
        let replication = self.store.map.collections.values.map(\.replication).max() ?? 1
        let voters = self.store.map.partitions.values.map { max($0.wanted, $0.voters.count) }.max() ?? 1
        return max(replication, voters)
    }

    private mutating func kill(_ node: ControlNode, _ steps: Int) {
        guard !node.isGoneForGood else { return }
        if node.isUp {
            self.counts.crashes += 1
            self.record("--- \(node.id) dies")
        }
        node.isUp = false
        node.halted = [:]
        node.returnAt = steps > 1_000_000 ? nil : self.step + steps
    }

    private mutating func loses(_ node: ControlNode, _ what: String) {
        self.counts.wipes += 1
        self.lastWipe = self.step
        self.record("--- \(node.id) loses \(what)")
    }

    /// Whether losing the node's data leaves all that a control plane can be expected to keep: of each shard another live copy, of
    /// each group a majority with its log. One disk in ten seconds: two at once are more than copies are for.
    private func mayLoseData(_ node: ControlNode) -> Bool {
        guard self.step - self.lastWipe > 40, !node.isGoneForGood else { return false }
        // A partition that is being started has no second copy of the little it has.
        guard self.store.map.partitions.values.allSatisfy({ $0.changed > 0 }) else { return false }
        for collection in self.store.map.collections.values {
            for shard in collection.shards where shard.firstLive == 0 {
                // It may be made live this very moment, the only one so far.
                if let own = shard.replica(on: node.id), node.shards[own.incarnation]?.isComplete == true {
                    return false
                }
            }
            for shard in collection.shards where shard.firstLive > 0 {
                guard let own = shard.replica(on: node.id), node.shards[own.incarnation]?.isComplete == true else {
                    continue
                }
                let others = shard.replicas.filter { replica in
                    replica.state == .live && replica.node != node.id
                        && self.node(replica.node)?.shards[replica.incarnation]?.isComplete == true
                }
                // With one copy wanted, another may be on its way out already.
                guard !others.isEmpty, collection.replication > 1 else { return false }
            }
        }
        func keeps(_ which: Incarnation) -> Bool {
            let holder = self.nodes[self.places[which]!]
            return holder.id != node.id && holder.journals[which] != nil
        }
        return self.groups.values.allSatisfy { group in
            guard let record = self.store.map.partitions[group.id] else { return true }
            return [group.voters, group.joint ?? group.voters, record.voters.map(\.incarnation)].allSatisfy {
                isMajority($0, keeps)
            }
        }
    }

    // MARK: Coming back

    mutating func comeBack() {
        for node in self.nodes where !node.isGoneForGood {
            if node.flaps.first.map({ $0 <= self.step }) ?? false {
                node.flaps.removeFirst()
                if self.store.map.nodes[node.id]?.state != .removed { self.kill(node, self.pick(4...12)) }
            }
            guard !node.isUp, let at = node.returnAt, at <= self.step else { continue }
            node.isUp = true
            node.returnAt = nil
            node.catchUpUntil = self.step + self.pick(2...20)
            self.record("--- \(node.id) is back\(node.isEmpty ? ", empty" : "")")
        }
        for controller in self.controllers where !controller.isUp && controller.returnAt <= self.step {
            controller.isUp = true
            self.record("--- c\(controller.index) is back")
        }
    }

    /// The faults end; what is gone for good is removed by a person, and as many nodes are added as are needed.
    mutating func calmDown() {
        self.isCalm = true
        self.record("--- calm")
        self.store.isAvailable = true
        for node in self.nodes {
            node.isCutFromStore = false
            node.isCutFromControl = false
            node.flaps = []
            guard self.store.map.nodes[node.id]?.state != .removed else { continue }
            if node.isGoneForGood {
                self.administer(.drainNode(node.id))
            } else if !node.isUp {
                node.returnAt = min(node.returnAt ?? self.step, self.step + 40)
            }
        }
        for controller in self.controllers {
            controller.isCutFromStore = false
            controller.pausedUntil = min(controller.pausedUntil, self.step + 40)
            controller.returnAt = min(controller.returnAt, self.step + 40)
        }
        self.restartHalted()
        // Those whose replicas stay halted are not to be counted on.
        let halted = self.nodes.filter { !$0.halted.isEmpty }.count
        while self.stayingNodes(without: NodeID(0)) < self.nodesNeeded + halted { self.addNode(1) }
        self.quietSince = self.step
    }
}
