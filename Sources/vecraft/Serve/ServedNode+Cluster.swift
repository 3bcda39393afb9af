internal import ControlPlane
internal import Etcd
internal import FileStore
internal import Foundation
internal import GRPC
internal import Glibc
internal import JournalService
internal import JournalStore
internal import Logging
internal import Metadata
internal import NIOCore
internal import Observability
internal import PeerTransport
internal import Placement
internal import Primitives
internal import Raft
internal import ServiceHost
internal import Synchronization

/// A node's place in a cluster that runs itself, before its journal is open.
struct ClusterPlace: Sendable {
    let member: ClusterMember
    let store: EtcdMetadataStore
    /// Of the data directory.
    let lock: any FileLock

    func leave() async {
        await self.member.close()
        await self.store.close()
    }
}

extension ServedNode {
    /// Nil for a node of no such cluster. Waits for etcd, and for somebody to make the cluster.
    func takePlace(_ directory: String) async throws -> ClusterPlace? {
        let cluster = self.settings.cluster
        guard cluster.runsItself else { return nil }
        // Before the cluster hears of this process: another one may live from these data.
        let lock: any FileLock
        do throws(FileFault) { lock = try self.files.lock(Paths.join(directory, "lock")) } catch {
            guard error.isHeldElsewhere else { throw error.vecraftError }
            throw VecraftError(
                .failedPrecondition, "node.data_directory: \(directory) is in use by another process",
                field: "node.data_directory",
                reason: "DIRECTORY_LOCKED")
        }
        let store = try EtcdMetadataStore(try self.settings.etcd(), group: self.group)
        do {
            let metrics = ControlMetrics(self.registry)
            let member = try await ClusterMember.join(
                cluster: cluster.id, description: try self.description(), directory: directory, store: store,
                files: self.files,
                metrics: metrics, condition: { self.condition(directory) }, waiting: { self.tell($0) })
            self.registry.onScrape {
                metrics.show(epoch: member.map.map.epoch, isStoreReachable: member.isStoreReachable)
            }
            self.readiness.add("cluster") {
                let epoch = member.map.map.epoch
                if member.map.map.nodes[member.id]?.state == .removed {
                    return .init(ok: false, "node \(member.id.rawValue) was removed from the cluster: stop it")
                }
                // Reads and writes go on without it, so the node stays ready; it says that nothing is repaired.
                guard member.isStoreReachable else {
                    return .init(
                        ok: true,
                        "node \(member.id.rawValue), map of epoch \(epoch); etcd does not answer: no changes, no repairs"
                    )
                }
                return .init(ok: true, "node \(member.id.rawValue), map of epoch \(epoch)")
            }
            return ClusterPlace(member: member, store: store, lock: lock)
        } catch {
            await store.close()
            throw error
        }
    }

    /// Listens for the other nodes, waits for the cluster's first nodes, and opens the journal.
    func openJournal(
        _ place: ClusterPlace, _ directory: String, _ methods: [String: GRPCMethod]
    ) async throws -> (NodeJournal, JournalReporting) {
        let cluster = self.settings.cluster
        let member = place.member
        guard let listen = PeerAddress(parsing: cluster.listen) else {
            throw VecraftError.invalid("cluster.listen", "is not host:port")
        }
        let control = ControlAPI()
        control.serve(member)
        let host = try await PeerHost.open(
            self.settings, node: ReplicaID(member.id.rawValue), at: listen, given: [:],
            dataPartitions: member.document.dataPartitions, directory: Paths.join(directory, "journal"),
            files: self.files,
            registry: self.registry, group: self.group, methods: methods.merging(control.methods) { own, _ in own })
        do {
            var liveness = LivenessSettings()
            liveness.downAfter = .milliseconds(cluster.downAfterMilliseconds)
            liveness.downAfterWithLease = max(liveness.downAfter * 3, liveness.downAfterWithLease)
            try liveness.validate()
            member.start(
                clients: host.clients, peers: host.directory,
                decides: try self.settings.clusterRoles().contains(.control),
                liveness: liveness, planner: self.planner)
            try await member.awaitPartitions { self.tell($0) }
        } catch {
            await member.close()
            await host.close()
            throw error
        }
        let reporting = self.journalReporting(directory)
        let journal = try await host.journal(self.settings, reporting) { member.membership(of: $0) }
        if let replicated = journal.replicated { member.lead(replicated) }
        return (journal, reporting)
    }

    /// Clients of the cluster find the node where it listens, which a port of 0 leaves open until then.
    func announce(_ member: ClusterMember, http: String) async {
        let grpc = self.addresses.grpc
        do throws(VecraftError) {
            try await member.map.change { map in
                guard var record = map.nodes[member.id],
                    record.addresses["client"] != grpc || record.addresses["http"] != http
                else { return nil }
                record.addresses["client"] = grpc
                record.addresses["http"] = http
                return .describeNode(record)
            }
        } catch {
            // Only `cluster status` shows them.
            self.log.warning(
                "the cluster map could not be told where this node listens", metadata: ["error": "\(error.message)"])
        }
    }

    private func tell(_ what: String) {
        self.readiness.enter(.starting, progress: "waiting for \(what)")
        // Said again and again: a line each time it is something else, and one in a while.
        guard self.waiting.isNews(what) else { return }
        self.log.notice("waiting", metadata: ["for": "\(what)"])
    }

    private var planner: PlannerSettings {
        var settings = PlannerSettings()
        // What a sender gives in a second is bounded (storage.transfer_bytes_per_second), so that many at once harm nobody; of small shards
        // two at a time would take all day.
        settings.maxBuildsPerNode = 4
        settings.maxBuilds = 96
        return settings
    }

    /// A node without the gateway's role has no business with clients.
    var answersClients: Bool {
        !self.settings.cluster.runsItself || !Set(self.settings.node.roles).isDisjoint(with: [.all, .gateway])
    }

    private func description() throws(VecraftError) -> NodeRecord {
        let cluster = self.settings.cluster
        let name = self.settings.node.name.isEmpty ? ProcessInfo.processInfo.hostName : self.settings.node.name
        return NodeRecord(
            id: NodeID(0), name: name,
            addresses: ["peer": cluster.advertise.isEmpty ? cluster.listen : cluster.advertise],
            roles: try self.settings.clusterRoles(), zone: self.settings.node.zone,
            weight: UInt32(self.settings.node.weight))
    }

    private func condition(_ directory: String) -> NodeCondition {
        let disk = try? FileManager.default.attributesOfFileSystem(forPath: directory)
        let failing = self.readiness.state == .ready ? self.readiness.results.filter { !$0.ok } : []
        var loads = [0.0, 0.0, 0.0]
        let busy = getloadavg(&loads, 3) < 2 ? 0 : loads[1] / Double(ProcessInfo.processInfo.activeProcessorCount)
        return NodeCondition(
            state: self.readiness.state.rawValue, version: Build.version,
            uptimeMilliseconds: SystemTime.steadyNanoseconds / 1_000_000 - self.startedMilliseconds,
            diskFree: UInt64((try? self.files.freeBytes(directory)) ?? 0),
            diskTotal: (disk?[.systemSize] as? NSNumber)?.uint64Value ?? 0, busy: Int(min(busy, 1) * 1000),
            problem: failing.map { "\($0.name): \($0.detail)" }.joined(separator: "; "))
    }
}

/// What a start waits for, so that its log says it once.
final class WaitingFor: Sendable {
    private static let again: Duration = .seconds(30)
    private let last = Mutex<(what: String, at: ContinuousClock.Instant)?>(nil)

    func isNews(_ what: String) -> Bool {
        self.last.withLock { last in
            if let last, last.what == what, last.at.duration(to: .now) < Self.again { return false }
            last = (what, .now)
            return true
        }
    }
}

extension Settings {
    /// What a node of a cluster that runs itself is given and does.
    func clusterRoles() throws(VecraftError) -> NodeRoles {
        var roles: NodeRoles = []
        for role in self.node.roles {
            switch role {
            case .all: roles.formUnion(.all)
            case .storage: roles.insert(.storage)
            case .journal: roles.insert(.journal)
            case .query: roles.insert(.query)
            case .gateway: roles.insert(.gateway)
            case .meta, .failover: roles.insert(.control)
            case .flow, .snapshot, .compactor, .metrics:
                throw .invalid("node.roles", "\"\(role.rawValue)\" is no service of this release")
            }
        }
        return roles
    }

    /// Where the cluster's metadata are.
    func etcd() throws(VecraftError) -> EtcdSettings {
        let cluster = self.cluster
        var endpoints: [EtcdSettings.Endpoint] = []
        for text in cluster.etcdEndpoints { endpoints.append(try EtcdSettings.Endpoint(parsing: text)) }
        var settings = EtcdSettings(endpoints: endpoints, cluster: cluster.id)
        if !cluster.etcdCA.isEmpty || !cluster.etcdCertificate.isEmpty {
            settings.tls = GRPCTLS(
                certificateChain: cluster.etcdCertificate.isEmpty ? nil : .file(cluster.etcdCertificate),
                privateKey: cluster.etcdKey.isEmpty ? nil : .file(cluster.etcdKey),
                trustRoots: cluster.etcdCA.isEmpty ? nil : .file(cluster.etcdCA))
        }
        if !cluster.etcdUser.isEmpty {
            settings.credentials = EtcdSettings.Credentials(user: cluster.etcdUser, password: cluster.etcdPassword)
        }
        try settings.validate()
        return settings
    }
}
