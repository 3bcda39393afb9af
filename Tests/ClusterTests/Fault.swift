import ClusterSupport
import Primitives
import TestSupport
import Testing
import Wire

/// What goes wrong, and how it is put right again. Each ends with all nodes up, and waits until the one concerned has caught up.
enum Fault: String, CaseIterable, CustomTestStringConvertible {
    case killLeader, killFollower, killAll, suspendLeader, suspendFollower, restartLeader
    /// Needs networks.
    case cutOffLeader, cutOffFollower, muteLeader, deafenLeader
    /// Needs small disks.
    case fillLeader, fillFollower
    /// Of a cluster that runs itself.
    case killController, killEtcdMember, suspendEtcd, cutOffForLong
    /// Needs clocks: one node's wall clock is wrong for a while, or all are.
    case stepClock, stepClockFar, stepLeadersClockFar, driftClock, restartWithWrongClock, stepAllClocks

    var testDescription: String { self.rawValue }
    var needsNetwork: Bool {
        [.cutOffLeader, .cutOffFollower, .muteLeader, .deafenLeader, .cutOffForLong].contains(self)
    }
    var needsEtcd: Bool { [.killController, .killEtcdMember, .suspendEtcd, .cutOffForLong].contains(self) }
    var needsClocks: Bool {
        [.stepClock, .stepClockFar, .stepLeadersClockFar, .driftClock, .restartWithWrongClock, .stepAllClocks].contains(
            self)
    }
    var needsSmallDisks: Bool { [.fillLeader, .fillFollower].contains(self) }

    func strike(_ run: ClusterRun, _ load: ClusterLoad, round: Int) async throws {
        let cluster = run.cluster
        let leader = try await cluster.leader(of: run.partition)
        let follower = try await cluster.follower(of: run.partition)
        switch self {
        case .killLeader: try await self.kill(leader.node, run, load, awaitsOther: true)
        case .killFollower: try await self.kill(follower, run, load, awaitsOther: false)
        case .killAll: try await self.killAll(cluster)
        case .suspendLeader: try await self.suspend(leader.node, run, load)
        case .suspendFollower: try await self.suspend(follower, run, load)
        case .restartLeader:
            let status = await cluster[leader.node].stop()
            guard status == 0 else { throw LoadFailure(description: "node \(leader.node) ended with \(status)") }
            try await load.awaitWrites(20)
            try await cluster[leader.node].start()
        case .cutOffLeader:
            try await self.cut(run, load, from: leader.node) { try $0.isolate(leader.node) }
        case .cutOffFollower:
            try await self.cut(run, load, from: nil) { try $0.isolate(follower) }
        case .muteLeader:
            // It hears and is not heard: its followers elect another.
            let others = cluster.nodes.map(\.id).filter { $0 != leader.node }
            try await self.cut(run, load, from: leader.node) {
                for other in others { try $0.cut(from: leader.node, to: other) }
            }
        case .deafenLeader:
            // It is heard and does not hear: without answers it must step down by itself.
            let others = cluster.nodes.map(\.id).filter { $0 != leader.node }
            try await self.cut(run, load, from: leader.node) {
                for other in others { try $0.cut(from: other, to: leader.node) }
            }
        case .fillLeader: try await self.fill(leader.node, run, load, round)
        case .fillFollower: try await self.fill(follower, run, load, round)
        case .killController:
            let overview: VecraftV1.OverviewResponse = try await cluster.call(
                "vecraft.v1.Cluster/Overview", VecraftV1.OverviewRequest())
            let node = overview.controller > 0 ? Int(overview.controller) : follower
            try await self.kill(node, run, load, awaitsOther: false)
        case .killEtcdMember:
            let etcd = try self.etcd(run)
            let member = round % etcd.ports.count
            etcd.kill(member)
            try await load.awaitWrites(200)
            try etcd.restart(member)
            try await etcd.awaitHealth(member)
        case .suspendEtcd:
            let etcd = try self.etcd(run)
            for member in etcd.ports.indices { try await etcd.suspend(member) }
            try await load.awaitWrites(200)
            try await Task.sleep(for: .seconds(2))
            for member in etcd.ports.indices { etcd.resume(member) }
        case .stepClock, .stepClockFar, .stepLeadersClockFar, .driftClock, .restartWithWrongClock, .stepAllClocks:
            try await self.setClock(run, load, leader: leader.node, follower: follower, round)
        case .cutOffForLong:
            // So long that what it held is made elsewhere.
            try await self.cut(run, load, from: nil, for: .seconds(6)) { try $0.isolate(follower) }
        }
        for node in cluster.nodes { try await cluster.awaitCaughtUp(node.id) }
    }

    private func kill(_ node: Int, _ run: ClusterRun, _ load: ClusterLoad, awaitsOther: Bool) async throws {
        await run.cluster[node].kill()
        if awaitsOther { _ = try await run.cluster.leader(of: run.partition, otherThan: node) }
        try await load.awaitWrites(50)
        try await run.cluster[node].start()
    }

    private func etcd(_ run: ClusterRun) throws -> EtcdProcess {
        guard let etcd = run.cluster.options.etcd else { throw LoadFailure(description: "there is no etcd") }
        return etcd
    }

    private func killAll(_ cluster: TestCluster) async throws {
        await withTaskGroup(of: Void.self) { group in
            for node in cluster.nodes { group.addTask { await node.kill() } }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in cluster.nodes { group.addTask { try await node.start() } }
            try await group.waitForAll()
        }
    }

    /// Two seconds of standing still: far beyond every timeout between the nodes.
    private func suspend(_ node: Int, _ run: ClusterRun, _ load: ClusterLoad) async throws {
        run.cluster[node].suspend()
        defer { run.cluster[node].resume() }
        _ = try await run.cluster.leader(of: run.partition, otherThan: node)
        try await load.awaitWrites(20)
        try await Task.sleep(for: .seconds(2))
    }

    /// - Parameter from: The node that must lead no more, if one must not.
    private func cut(
        _ run: ClusterRun, _ load: ClusterLoad, from node: Int?, for time: Duration = .zero,
        _ body: @escaping @Sendable (ClusterNetwork) throws -> Void
    ) async throws {
        guard let network = run.cluster.network else { throw LoadFailure(description: "no network to cut") }
        try await offThePool { try body(network) }
        do {
            if let node { _ = try await run.cluster.leader(of: run.partition, otherThan: node) }
            try await load.awaitWrites(50)
            try await Task.sleep(for: time)
        } catch {
            try await offThePool { try network.heal() }
            throw error
        }
        try await offThePool { try network.heal() }
    }

    private func fill(_ node: Int, _ run: ClusterRun, _ load: ClusterLoad, _ round: Int) async throws {
        guard let disk = run.cluster.disks[node] else {
            throw LoadFailure(description: "node \(node) has no small disk")
        }
        try await offThePool { try disk.fill() }
        // Its peers go on without it, whether it led or not.
        let outcome: Result<Void, any Error>
        do { outcome = .success(try await self.writeSegments(run, load, round)) } catch { outcome = .failure(error) }
        try await offThePool { try disk.free() }
        try outcome.get()
        // What cannot go on ends, at once or when it next writes; a person would start it again.
        try await eventually("node \(node) goes on", within: .seconds(300)) {
            if !run.cluster[node].isRunning { try await run.cluster[node].start() }
            try await run.cluster.awaitCaughtUp(node, within: .seconds(10))
            return true
        }
    }

    /// Enough for new segments: what was allocated before the disk was full has room for a while.
    private func writeSegments(_ run: ClusterRun, _ load: ClusterLoad, _ round: Int) async throws {
        var bulk = AppendLoad.Settings()
        bulk.partition = run.partition
        bulk.bytes = 64 << 10
        bulk.clients = 4
        bulk.seed = 900 + UInt64(round)
        let appends = AppendLoad(run.cluster, settings: bulk)
        let record = try await appends.run {
            try await eventually("3 MiB more are written") { appends.acknowledged >= 50 }
        }
        if let failure = record.failures.first { throw LoadFailure(description: failure) }
        try await load.awaitWrites(100)
    }
}
