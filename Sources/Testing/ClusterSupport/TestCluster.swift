import Foundation
import GRPC
import Synchronization
package import TestSupport

/// Real nodes on loopback, or each in a network of its own, that a test may kill, stop, cut off and fill up.
package final class TestCluster: Sendable {
    package struct Options: Sendable {
        package var nodes = 3
        /// "all" or "journal".
        package var roles = "all"
        package var settings: [String] = []
        /// Of one node each, beside `settings`.
        package var nodeSettings: [Int: [String]] = [:]
        /// Each node in a network of its own, so that they can be cut off from each other.
        package var hasNetworks = false
        /// Megabytes of a file system of its own for a node's data, by node.
        package var smallDisks: [Int: Int] = [:]
        /// Each node with a wall clock of its own, that a test may set.
        package var hasClocks = false
        /// The cluster runs itself: its nodes, and who holds what, are there.
        package var etcd: EtcdProcess?
        /// Of a cluster that runs itself.
        package var voters = 3
        package var replicas = 2
        /// Of nodes that have not all roles, in a cluster that runs itself.
        package var rolesOf: [Int: String] = [:]
        package var environment: [String: String] = [:]
        package init() {}
    }

    package let options: Options
    package let directory: TemporaryDirectory
    package let network: ClusterNetwork?
    package let disks: [Int: SmallDisk]
    package let clocks: ClockShift?
    private let members: Mutex<[ClusterNode]>

    /// Nodes that have been started, by id.
    package var nodes: [ClusterNode] { self.members.withLock { $0 } }
    package subscript(id: Int) -> ClusterNode { self.members.withLock { $0.first { $0.id == id }! } }

    /// Starts all nodes and waits until they are ready. Ports that somebody takes meanwhile are drawn again.
    package static func start(_ options: Options = Options()) async throws -> TestCluster {
        for attempt in 1... {
            let cluster = try await offThePool { try TestCluster(options) }
            do {
                try await cluster.startAll()
                return cluster
            } catch let failure as ServerProcess.Failure where failure.saysAddressTaken && attempt < 5 {
                await cluster.killAll()
            }
        }
        fatalError("not reached")
    }

    private init(_ options: Options) throws {
        self.options = options
        let directory = try TemporaryDirectory()
        let ids = Array(1...options.nodes)
        let network = options.hasNetworks ? try ClusterNetwork(nodes: ids) : nil
        self.directory = directory
        self.network = network
        self.disks = try Dictionary(
            uniqueKeysWithValues: options.smallDisks.map {
                ($0.key, try SmallDisk(directory.file("node-\($0.key)"), megabytes: $0.value))
            })
        self.clocks = options.hasClocks ? try ClockShift() : nil
        let peers = ids.map { Peer(id: $0, network: network) }
        self.members = Mutex([])
        let nodes = try peers.map { try self.make($0, of: peers, joins: false) }
        self.members.withLock { $0 = nodes }
    }

    private struct Peer {
        let id: Int
        let host: String
        /// For peers, gRPC, HTTP.
        let ports: [Int]
        var address: String { "\(self.host):\(self.ports[0])" }

        init(id: Int, network: ClusterNetwork?) {
            self.id = id
            self.host = network?.address(of: id) ?? "127.0.0.1"
            self.ports = network == nil ? FreePorts.take(3) : [7402, 7400, 7401]
        }

        init(like node: ClusterNode) {
            self.id = node.id
            self.host = node.host
            let port = node.peerAddress.split(separator: ":").last.flatMap { Int($0) } ?? 0
            self.ports = [port, node.grpcPort, node.httpPort]
        }
    }

    private func make(_ peer: Peer, of peers: [Peer], joins: Bool) throws -> ClusterNode {
        var launch = ServerLaunch(dataDirectory: self.directory.file("node-\(peer.id)"))
        launch.grpcPort = peer.ports[1]
        launch.httpPort = peer.ports[2]
        launch.settings = self.options.settings + (self.options.nodeSettings[peer.id] ?? [])
        if let etcd = self.options.etcd {
            launch.arguments = [
                "--host", peer.host, "--etcd", etcd.addresses(at: self.network?.hostAddress ?? "127.0.0.1"), "--listen",
                peer.address, "--set", "node.name=node-\(peer.id)", "--roles",
                self.options.rolesOf[peer.id] ?? "all",
            ]
        } else {
            launch.arguments = [
                "--host", peer.host, "--node-id", "\(peer.id)", "--roles", self.options.roles, "--peers",
                peers.map { "\($0.id)=\($0.address)" }.joined(separator: ","),
            ]
            if joins { launch.arguments.append("--join") }
        }
        launch.through = self.network?.through(peer.id) ?? []
        launch.environment = self.options.environment.merging(try self.clocks?.environment(of: peer.id) ?? [:]) { $1 }
        return try ClusterNode(id: peer.id, host: peer.host, peerAddress: peer.address, launch: launch)
    }

    private func startAll() async throws {
        if self.options.etcd != nil {
            try await self.initialise()
            for node in self.nodes {
                try await node.begin()
                try await self.awaitPlace(node)
            }
            do {
                for node in self.nodes {
                    do { try await node.awaitReady() } catch let failure as ServerProcess.Failure
                        where failure.saysAddressTaken
                    {
                        // Not drawn again: etcd knows this node already.
                        try await node.start()
                    }
                }
            } catch {
                await self.killAll()
                throw error
            }
            return
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for node in self.nodes {
                group.addTask {
                    try await node.begin()
                    try await node.awaitReady()
                }
            }
            // One that cannot start keeps the others from being ready.
            do { try await group.waitForAll() } catch {
                await self.killAll()
                throw error
            }
        }
    }

    /// `vecraft cluster init`.
    package func initialise() async throws {
        guard let etcd = self.options.etcd else { return }
        let (voters, replicas) = (self.options.voters, self.options.replicas)
        _ = try await offThePool {
            try runCommand(
                ServerProcess.binary, "cluster", "init", "--etcd", etcd.addresses(), "--voters", "\(voters)",
                "--replicas", "\(replicas)")
        }
    }

    /// Ends all nodes in order, to be started again; returns those that did not end with 0.
    package func stopEach() async -> [Int: Int32] {
        await withTaskGroup(of: (Int, Int32).self) { group in
            for node in self.nodes where node.isRunning { group.addTask { (node.id, await node.stop()) } }
            var failed: [Int: Int32] = [:]
            for await (id, status) in group where status != 0 { failed[id] = status }
            return failed
        }
    }

    /// The cluster gives ids in the order in which nodes come; here node n is to have the id n.
    private func awaitPlace(_ node: ClusterNode) async throws {
        let path = node.launch.dataDirectory + "/node"
        let text: String
        do {
            text = try await eventually("node \(node.id) has a place in the cluster") {
                if let text = try? String(contentsOfFile: path, encoding: .utf8), text.contains("identity") {
                    return text
                }
                // A port that somebody else has for a moment is waited for.
                if !node.isRunning {
                    try await Task.sleep(for: .milliseconds(200))
                    try await node.begin()
                }
                return nil as String?
            }
        } catch {
            throw CommandFailure(description: "\(error); it said: \(node.logText.suffix(2_000))")
        }
        guard text.contains("node \(node.id)\n") else {
            throw CommandFailure(description: "node \(node.id) was given another id: \(text)")
        }
    }

    /// Starts one more node, which is no member of any group until it is added to them.
    package func join(_ id: Int) async throws -> ClusterNode {
        let node = try await offThePool {
            try self.network?.add(id)
            let others = self.nodes.map { Peer(like: $0) }
            let peer = Peer(id: id, network: self.network)
            return try self.make(peer, of: others + [peer], joins: true)
        }
        self.members.withLock { $0.append(node) }
        try await node.begin()
        if self.options.etcd != nil { try await self.awaitPlace(node) }
        return node
    }

    /// Forgets a node, which must be down.
    package func forget(_ id: Int) { self.members.withLock { $0.removeAll { $0.id == id } } }

    package func killAll() async {
        for node in self.nodes { await node.kill() }
    }

    /// Ends all nodes in order; returns those that did not end with 0.
    package func stopAll() async -> [Int: Int32] {
        await withTaskGroup(of: (Int, Int32).self) { group in
            for node in self.nodes where node.isRunning { group.addTask { (node.id, await node.stop()) } }
            var failed: [Int: Int32] = [:]
            for await (id, status) in group where status != 0 { failed[id] = status }
            for node in self.nodes { await node.client.close() }
            return failed
        }
    }

    /// The last lines of each node's log, for a failure.
    package func logs(_ characters: Int = 2_000) -> String {
        self.nodes.map { "--- node \($0.id)\n\($0.logText.suffix(characters))" }.joined(separator: "\n")
    }
}
