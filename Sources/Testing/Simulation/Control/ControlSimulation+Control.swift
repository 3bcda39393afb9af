internal import Placement
internal import Primitives

extension ControlSimulation {
    /// One step of a controller.
    mutating func act(_ controller: ControlProcess) {
        guard controller.isUp, self.step >= controller.pausedUntil else { return }
        let reaches = !controller.isCutFromStore && self.store.isAvailable
        self.hear(controller)
        // What it had decided before it stood still, it writes before it knows anything new.
        if controller.isLeading, reaches { self.carryOut(controller) }
        guard reaches else { return }
        self.renew(controller)
        guard controller.isLeading, controller.pending.isEmpty, self.step >= controller.nextPlan else { return }
        controller.nextPlan = self.step + 4
        // Its watch may be late.
        if self.isCalm || self.chance(0.9) { controller.view = self.store.map }
        self.plan(controller)
    }

    /// Takes or renews the lease, or learns that another holds it.
    private mutating func renew(_ controller: ControlProcess) {
        if self.store.leader == nil || self.store.leaseUntil < self.step {
            self.store.leader = controller.index
        }
        if self.store.leader == controller.index {
            self.store.leaseUntil = self.step + 40
            guard !controller.isLeading else { return }
            controller.isLeading = true
            controller.liveness = Liveness(now: self.now, bugs: self.options.bugs)
            for node in self.nodes { controller.heardAt[node.id] = self.step }
            controller.view = self.store.map
            self.counts.elections += 1
            self.record("--- c\(controller.index) leads")
        } else if controller.isLeading, !controller.isStubborn {
            controller.stop()
            self.record("--- c\(controller.index) leads no more")
        }
    }

    private func hear(_ controller: ControlProcess) {
        guard controller.liveness != nil else { return }
        for node in self.nodes where node.isHeard {
            controller.heardAt[node.id] = self.step
            if let turn = controller.liveness!.heard(node.id, now: self.now) { self.tell(controller, turn) }
        }
        for turn in controller.liveness!.tick(now: self.now) { self.tell(controller, turn) }
    }

    private func tell(_ controller: ControlProcess, _ turn: Liveness.Transition) {
        guard self.recorder != nil, turn.to != turn.from else { return }
        self.record("    c\(controller.index): \(turn.node) is \(turn.to), \(turn.reason)")
    }

    private mutating func plan(_ controller: ControlProcess) {
        controller.liveness!.watch(controller.view.presentNodes.map(\.id), now: self.now)
        for node in self.nodes {
            controller.liveness!.lease(node.id, isHeld: node.isUp && !node.isCutFromStore)
            if node.isHeard {
                let report = node.report(at: self.step, end: self.end, using: &self.rng)
                controller.reports[node.id] = controller.halts.heard(node.id, report, now: self.now)
            }
        }
        for group in self.groups.values {
            // Leaders are heard by way of their nodes.
            guard let leader = group.leader, self.nodes[self.places[leader]!].isHeard else {
                controller.groups[group.id] = nil
                continue
            }
            controller.groups[group.id] = group.observation(leader: leader, isAlive: self.isAlive)
        }
        let observations = Observations(
            health: controller.liveness!.healths, nodes: controller.reports, groups: controller.groups)
        let plan = Planner(bugs: self.options.bugs).plan(controller.view, observations)
        self.counts.plans += 1
        controller.lastPlan = plan
        controller.pending = plan.decisions
        controller.plannedAt = self.step
        if let mistake = plan.mistakes.first { self.fail("the planner decided what the map refuses: \(mistake)") }
    }

    private mutating func carryOut(_ controller: ControlProcess) {
        guard !controller.pending.isEmpty else { return }
        guard self.step - controller.plannedAt <= ControlProcess.planAge else {
            controller.pending = []
            return
        }
        for _ in 0..<self.pick(2...12) {
            guard self.finding == nil, !controller.pending.isEmpty else { return }
            let decision = controller.pending.removeFirst()
            var after = controller.view
            do throws(VecraftError) {
                try after.apply(decision.change, expecting: decision.epoch, bugs: self.options.bugs)
            } catch {
                return self.fail("c\(controller.index) cannot apply its own decision \(decision): \(error)")
            }
            guard
                self.write(
                    decision.change, controller.view, after, "c\(controller.index)", decision.reason, by: controller)
            else {
                controller.pending = []
                controller.nextPlan = self.step + 2
                return
            }
            controller.view = after
        }
    }

    /// A person's or another service's change, on the newest map.
    @discardableResult
    mutating func administer(_ change: MapChange) -> Bool {
        guard self.store.isAvailable else { return false }
        var after = self.store.map
        do throws(VecraftError) { try after.apply(change, expecting: after.epoch) } catch { return false }
        return self.write(change, self.store.map, after, "admin", "asked for")
    }

    /// The one way to the store: documents, with the epoch compared.
    private mutating func write(
        _ change: MapChange, _ before: ClusterMap, _ after: ClusterMap, _ who: String, _ reason: String,
        by controller: ControlProcess? = nil
    ) -> Bool {
        let truth = self.store.map
        let expected: [UInt8]?? =
            self.options.bugs.contains(.ignoreEpoch) && who != "admin" ? nil : .some(before.epochDocument.value)
        switch self.store.write(after.documents(changedFrom: before), ifEpochIs: expected) {
        case .stale:
            self.counts.stale += 1
            self.record(
                "    \(who): \(change): refused, its map is of epoch \(before.epoch), the store's of \(truth.epoch)")
            return false
        case .broken(let what):
            self.fail("\(who): \(change): \(what)")
            return false
        case .written:
            self.counts.decisions[change.name, default: 0] += 1
            self.lastChange = self.step
            self.record("\(after.epoch) \(who): \(change) (\(reason))")
            if self.store.map != after { self.fail("the map read back is another one than was written") }
            self.check(change, from: truth, by: controller)
            self.follow(change)
            return true
        }
    }

    /// What is true of journal replicas from the moment the map says so.
    private mutating func follow(_ change: MapChange) {
        for record in self.store.map.partitions.values {
            for replica in record.replicas where self.places[replica.incarnation] == nil {
                self.places[replica.incarnation] = self.position(of: replica.node)
            }
        }
        guard case .startPartition(let id, _) = change, let record = self.store.map.partitions[id] else { return }
        self.groups[id] = ControlGroup(id: id, voters: record.voters.map(\.incarnation), changed: record.changed)
    }
}

extension MapChange {
    /// For counting.
    var name: String {
        let text = "\(self)"
        return switch self {
        case .describeNode: "describe"
        case .finishDrain: "drained"
        case .addCollection: "collection"
        case .setReplication: "replication"
        case .addPartition, .setWantedVoters: "partition"
        case .setVoters: "voters"
        case .forgetJournalReplica: "forget journal"
        case .removeLearner: "remove learner"
        default: String(text.split(separator: " ").first ?? "")
        }
    }
}
