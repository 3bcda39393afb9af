package import FileStore
package import Metadata
package import Placement
package import Primitives

/// What was decided when the cluster was made: written once, read by every node before all else.
package struct ClusterDocument: Equatable, Sendable {
    package static let key = "cluster"
    private static let format: Int64 = 1

    /// Partitions that order the points of collections; beside them there are `sys-0` and `txn-0`.
    package var dataPartitions: Int
    /// Nodes that vote on each partition: 1, 3 or 5.
    package var voters: Int
    /// Copies of each shard.
    package var replicas: Int
    /// Drawn when the cluster was made: one made again under the name is another, whose map says nothing of the old one's data.
    package private(set) var identity: UInt64

    /// - Throws: `.invalidArgument`, naming the field.
    package init(
        dataPartitions: Int, voters: Int, replicas: Int, identity: UInt64 = .random(in: 1 ... .max)
    ) throws(VecraftError) {
        guard (1...Self.maxDataPartitions).contains(dataPartitions) else {
            throw .invalid("data_partitions", "is \(dataPartitions), not 1 to \(Self.maxDataPartitions)")
        }
        guard [1, 3, 5].contains(voters) else { throw .invalid("voters", "is \(voters), not 1, 3 or 5") }
        guard (1...7).contains(replicas) else { throw .invalid("replicas", "is \(replicas), not 1 to 7") }
        self.dataPartitions = dataPartitions
        self.voters = voters
        self.replicas = replicas
        self.identity = identity
    }

    /// The same but for the identity.
    private func isAlike(_ other: ClusterDocument) -> Bool {
        (self.dataPartitions, self.voters, self.replicas) == (other.dataPartitions, other.voters, other.replicas)
    }

    package static let maxDataPartitions = 64

    package init(parsing bytes: [UInt8]) throws(VecraftError) {
        let value = try JSONValue(parsing: bytes, maxDepth: 2)
        var fields: [String: Int] = [:]
        var identity: UInt64?
        for member in value.objectValue ?? [] {
            if member.key == "identity" {
                identity = member.value.stringValue.flatMap { UInt64($0, radix: 16) }
                continue
            }
            guard let number = member.value.integerValue else { throw Self.bad("\(member.key) is no number") }
            fields[member.key] = Int(number)
        }
        guard let format = fields["format"], format >= 1 else { throw Self.bad("it has no format") }
        guard format <= Self.format else {
            throw VecraftError(
                .unimplemented, "the cluster's document has format \(format); this release reads \(Self.format)",
                reason: "NEWER_FORMAT")
        }
        func take(_ key: String) throws(VecraftError) -> Int {
            guard let value = fields[key] else { throw Self.bad("\(key) is missing") }
            return value
        }
        guard let identity, identity != 0 else { throw Self.bad("identity is missing") }
        try self.init(
            dataPartitions: try take("data_partitions"), voters: try take("voters"), replicas: try take("replicas"),
            identity: identity)
    }

    package func encoded() -> [UInt8] {
        JSONValue.object([
            JSONMember("format", .integer(Self.format)),
            JSONMember("data_partitions", .integer(Int64(self.dataPartitions))),
            JSONMember("voters", .integer(Int64(self.voters))), JSONMember("replicas", .integer(Int64(self.replicas))),
            JSONMember("identity", .string(String(self.identity, radix: 16))),
        ]).encoded()
    }

    private static func bad(_ what: String) -> VecraftError {
        VecraftError(.dataLoss, "the cluster's document in the metadata store: \(what)", reason: "BAD_CLUSTER_DOCUMENT")
    }

    /// Nil: no cluster was made under this name.
    package static func read(_ store: any MetadataStore) async throws(VecraftError) -> ClusterDocument? {
        guard let entry = try await store.get(Self.key) else { return nil }
        return try ClusterDocument(parsing: entry.value)
    }

    /// Makes the cluster.
    /// - Throws: ALREADY_EXISTS if there is another one of the name; the same again is fine.
    package func write(_ store: any MetadataStore) async throws(VecraftError) {
        guard case .conflict(let entry) = try await store.compareAndSwap(Self.key, expected: nil, value: self.encoded())
        else { return }
        let found = try entry.map { entry throws(VecraftError) in try ClusterDocument(parsing: entry.value) }
        guard let found, found.isAlike(self) else {
            throw VecraftError(
                .alreadyExists,
                found.map {
                    "the cluster was made before, with \($0.dataPartitions) data partitions, \($0.voters) voters and \($0.replicas) replicas"
                } ?? "the cluster was made and removed at the same moment", reason: "CLUSTER_EXISTS")
        }
    }

    /// Puts a cluster back whose metadata are lost, from what one of its nodes keeps.
    ///
    /// - Parameter directory: Of the node's data; of all nodes the one with the highest epoch, for others do not start with a map older than theirs.
    /// - Returns: The epoch of the map.
    /// - Throws: ALREADY_EXISTS if there is a cluster of the name.
    package static func restore(
        from directory: String, to store: any MetadataStore, files: any FileStore
    ) async throws(VecraftError) -> MapEpoch {
        func read(_ name: String) throws(VecraftError) -> [UInt8] {
            let path = Paths.join(directory, name)
            do throws(FileFault) { return try files.readWhole(path) } catch {
                throw VecraftError(.invalidArgument, "\(path) cannot be read: \(error)", field: "from")
            }
        }
        let document = try ClusterDocument(parsing: try read("cluster"))
        let documents = try MapStore.documents(in: try read("cluster-map"))
        let map = try ClusterMap(documents: documents)
        let epochKey = MapStore.prefix + MapKey.epoch.description
        let present = try await store.get(epochKey)?.value
        // The map is there and the document is not: an earlier attempt died between the two.
        if present != nil, present == map.epochDocument.value, try await store.get(Self.key) == nil {
            try await document.write(store)
            return map.epoch
        }
        guard try await store.get(Self.key) == nil, present == nil else {
            throw VecraftError(
                .alreadyExists, "the metadata store has a cluster of this name; nothing was changed",
                reason: "CLUSTER_EXISTS")
        }
        // Without an epoch it is what an attempt left that did not end.
        for left in try await store.list(prefix: MapStore.prefix).entries { _ = try await store.delete(left.key) }
        // What nodes look for first comes last.
        for document in map.documents() where document.key != MapKey.epoch.description {
            if let value = document.value { _ = try await store.put(MapStore.prefix + document.key, value) }
        }
        if let value = map.epochDocument.value {
            _ = try await store.put(epochKey, value)
        }
        try await document.write(store)
        return map.epoch
    }

    /// All partitions of the cluster.
    package var partitions: [PartitionID] {
        (0..<self.dataPartitions).map { PartitionID.data(UInt16($0)) } + [.txn, .sys]
    }
}
