package import FileStore
internal import Logging
package import Metadata
package import Placement
package import Primitives
internal import Synchronization

/// This node's place in the cluster: an id that its data directory keeps, a record in the map, a lease while it lives.
///
/// The id is the data's: an emptied directory gets another one, so nobody takes the node for what it was.
package final class NodeRegistration: Sendable {
    /// Long enough for a machine that stands still for a moment; what it delays is only the judgement of a node that is silent and may live.
    private static let leaseTTL: Duration = .seconds(5)
    static let prefix = "live/"

    package let id: NodeID
    private let store: any MetadataStore
    private let lease: Mutex<MetadataLease?> = Mutex(nil)
    private let log = Logger(label: "vecraft.control.node")

    private init(_ id: NodeID, _ store: any MetadataStore) {
        self.id = id
        self.store = store
    }

    /// Finds this node's id, or takes a new one, and writes down where it is.
    ///
    /// - Parameters:
    ///   - directory: Of the node's data.
    ///   - description: Its id and state are not looked at.
    /// - Throws: FAILED_PRECONDITION for a directory with other data, and for a node that was removed. Without the store a node
    ///   starts that the last map knows.
    package static func enroll(
        _ description: NodeRecord, cluster: String, identity: UInt64, directory: String, map: MapStore,
        store: any MetadataStore, files: any FileStore
    ) async throws(VecraftError) -> NodeRegistration {
        let path = Paths.join(directory, "node")
        if let known = try Self.known(directory, cluster, files) {
            let id = known.id
            let registration = NodeRegistration(id, store)
            do throws(VecraftError) {
                try await map.refresh()
                try await map.change { (map) throws(VecraftError) in try Self.changed(description, id, map) }
            } catch {
                guard error.code == .unavailable, map.map.nodes[id] != nil else { throw error }
                registration.log.error(
                    "the metadata store does not answer; the node starts from the last cluster map known",
                    metadata: ["error": "\(error.message)", "epoch": "\(map.map.epoch)"])
            }
            return registration
        }
        guard !files.exists(Paths.join(directory, "journal")) else {
            throw VecraftError(
                .failedPrecondition,
                "node.data_directory: \(directory) holds the data of a node that is in no such cluster; give it an empty folder",
                field: "node.data_directory")
        }
        try await map.refresh()
        let alive = try await Self.alive(store)
        var taken = NodeID(0)
        try await map.change { (map) throws(VecraftError) in
            // A start that died before it could keep its id.
            let left = map.nodes.values.filter {
                $0.state == .joining && $0.name == description.name && $0.addresses == description.addresses
                    && !alive.contains($0.id)
            }
            if let left = left.map(\.id).min() {
                taken = left
                return try Self.changed(description, left, map)
            }
            taken = NodeID((map.nodes.keys.map(\.rawValue).max() ?? 0) + 1)
            return .describeNode(Self.record(description, taken))
        }
        let text = "cluster \(cluster)\nnode \(taken.rawValue)\nidentity \(String(identity, radix: 16))\n"
        do throws(FileFault) { try AtomicFile.replace(path, with: Array(text.utf8), in: files) } catch {
            throw VecraftError(.unavailable, "\(path) cannot be written: \(error)")
        }
        return NodeRegistration(taken, store)
    }

    private static func record(_ description: NodeRecord, _ id: NodeID) -> NodeRecord {
        NodeRecord(
            id: id, name: description.name, addresses: description.addresses, roles: description.roles,
            zone: description.zone,
            weight: description.weight)
    }

    /// Nil if the map says so already.
    private static func changed(
        _ description: NodeRecord, _ id: NodeID, _ map: ClusterMap
    ) throws(VecraftError) -> MapChange? {
        guard let known = map.nodes[id] else { return .describeNode(Self.record(description, id)) }
        guard known.state != .removed else {
            throw VecraftError(
                .failedPrecondition,
                "node \(id.rawValue) was removed from the cluster; give it an empty folder, and it joins as a new one",
                reason: "NODE_REMOVED")
        }
        // Where it listens for clients is said once it does.
        var record = Self.record(description, id)
        record.addresses = known.addresses.merging(description.addresses) { $1 }
        let isSame =
            known.name == record.name && known.addresses == record.addresses && known.roles == record.roles
            && known.zone == record.zone && known.weight == record.weight
        return isSame ? nil : .describeNode(record)
    }

    /// Whose the data are; nil for a directory of no node yet.
    ///
    /// - Throws: FAILED_PRECONDITION, reason OTHER_CLUSTER, for another cluster's.
    package static func known(
        _ directory: String, _ cluster: String, _ files: any FileStore
    ) throws(VecraftError) -> (id: NodeID, identity: UInt64)? {
        let path = Paths.join(directory, "node")
        guard files.exists(path) else { return nil }
        let text: String
        do throws(FileFault) { text = String(decoding: try files.readWhole(path), as: UTF8.self) } catch {
            throw VecraftError(.unavailable, "\(path) cannot be read: \(error)")
        }
        var fields: [Substring: Substring] = [:]
        for line in text.split(separator: "\n") {
            let parts = line.split(separator: " ", maxSplits: 1)
            if parts.count == 2 { fields[parts[0]] = parts[1] }
        }
        guard let name = fields["cluster"], let id = fields["node"].flatMap({ UInt64($0) }), id > 0,
            let identity = fields["identity"].flatMap({ UInt64($0, radix: 16) })
        else {
            throw VecraftError(
                .dataLoss, "\(path) is damaged; it should say \"cluster NAME\", \"node ID\" and \"identity NUMBER\"")
        }
        guard name == cluster else {
            throw VecraftError(
                .failedPrecondition, "the data is of cluster \"\(name)\", not of \"\(cluster)\"", field: "cluster.id",
                reason: "OTHER_CLUSTER")
        }
        return (NodeID(id), identity)
    }

    // MARK: The lease

    /// Nodes whose leases are held.
    package static func alive(_ store: any MetadataStore) async throws(VecraftError) -> Set<NodeID> {
        let keys = try await store.list(prefix: Self.prefix).entries.map(\.key)
        return Set(keys.compactMap { UInt64($0.dropFirst(Self.prefix.count)).map { NodeID($0) } })
    }

    /// The metadata store was heard of lately.
    package var isHeld: Bool { self.lease.withLock { $0?.isHeld ?? false } }

    /// Keeps a lease until the task is cancelled.
    package func run() async {
        var said: String?
        while !Task.isCancelled {
            do throws(VecraftError) {
                let lease = try await self.store.grantLease(ttl: Self.leaseTTL)
                _ = try await self.store.put("\(Self.prefix)\(self.id.rawValue)", [], lease: lease)
                self.lease.withLock { $0 = lease }
                if said != nil { self.log.notice("the metadata store answers again") }
                said = nil
                await lease.lost()
                continue
            } catch {
                if !Task.isCancelled, said != error.message {
                    said = error.message
                    self.log.error("the metadata store does not answer", metadata: ["error": "\(error.message)"])
                }
            }
            try? await Task.sleep(for: .milliseconds(500))
        }
        let lease = self.lease.withLock { $0.take() }
        // Also though this task is cancelled. Should it fail, the lease runs out by itself.
        await Task { try? await lease?.revoke() }.value
    }
}
