internal import FileStore
internal import JournalFormat
package import Primitives

/// Which journal this is, of all that ever were under a node's id.
///
/// A replica that lost its log or its vote must not go on as the one it was (Ongaro, thesis section 3.8). So a node's journal has a random
/// name, made once, that other nodes remember beside the node's id: one that comes with another name, or with none because its folder
/// was wiped, is not listened to. And a journal that lacks the state of a partition that it had says so instead of beginning anew.
///
/// Kept in the journal's folder as text, `identity`, written when the partitions' states are all there.
package struct JournalIdentity: Sendable, Equatable {
    package let node: UInt64
    /// Never 0.
    package let value: UInt64
    package var partitions: [PartitionID]

    static let fileName = "identity"
    private static let title = "vecraft journal identity 1"

    var text: String {
        let body = """
            \(Self.title)
            node \(self.node)
            identity \(String(self.value, radix: 16))
            partitions \(self.partitions.map(\.description).joined(separator: " "))

            """
        return body + "checksum \(String(Self.checksum(body), radix: 16))\n"
    }

    init(node: UInt64, value: UInt64, partitions: [PartitionID]) {
        self.node = node
        self.value = value
        self.partitions = partitions
    }

    /// - Returns: Nil for a text that is not one, or is damaged.
    init?(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 6, lines[0] == Self.title[...], lines[5].isEmpty else { return nil }
        func value(_ line: Int, _ name: String) -> Substring? {
            lines[line].hasPrefix(name + " ") ? lines[line].dropFirst(name.count + 1) : nil
        }
        let body = lines[..<4].joined(separator: "\n") + "\n"
        guard let node = value(1, "node").flatMap({ UInt64($0) }),
            let identity = value(2, "identity").flatMap({ UInt64($0, radix: 16) }), identity != 0,
            let names = value(3, "partitions")?.split(separator: " "),
            value(4, "checksum").flatMap({ UInt32($0, radix: 16) }) == Self.checksum(body)
        else { return nil }
        let partitions = names.compactMap { PartitionID(String($0)) }
        guard partitions.count == names.count else { return nil }
        self.init(node: node, value: identity, partitions: partitions)
    }

    private static func checksum(_ text: String) -> UInt32 {
        var text = text
        return text.withUTF8 { CRC32C.of(UnsafeRawBufferPointer($0)) }
    }
}

extension JournalHome {
    /// This node's, or a new one that ``keep(_:)`` has yet to write.
    ///
    /// - Throws: FAILED_PRECONDITION for the journal of another node; DATA_LOSS, reason REPLICA_STATE_LOST, if the state of a partition that
    ///   it had is gone, or the file does not hold.
    package func identity(of node: UInt64) throws(VecraftError) -> JournalIdentity {
        let path = self.file(JournalIdentity.fileName)
        guard self.files.exists(path) else {
            return JournalIdentity(node: node, value: .random(in: 1 ... .max), partitions: [])
        }
        let bytes = try onDisk { () throws(FileFault) in try self.files.readWhole(path) }
        guard let known = JournalIdentity(String(decoding: bytes, as: UTF8.self)) else {
            throw VecraftError(.dataLoss, "\(path) is damaged; \(Self.advice)", reason: "REPLICA_STATE_LOST")
        }
        guard known.node == node else {
            throw VecraftError(
                .failedPrecondition, "\(path) is of node \(known.node), this node is \(node)", field: "cluster.node_id",
                reason: "ANOTHER_REPLICA")
        }
        let lost = known.partitions.filter { !ReplicaStore.isReplica(self.directory(of: $0), self.files) }
        guard lost.isEmpty else {
            throw VecraftError(
                .dataLoss,
                "the term and vote of \(lost.map(\.description).joined(separator: ", ")) are lost (\(ReplicaStateFile.name) is missing), and this node could vote away what it had acknowledged; \(Self.advice)",
                reason: "REPLICA_STATE_LOST")
        }
        return known
    }

    /// Writes it, durably, once all partitions have their state.
    package func keep(_ identity: JournalIdentity) throws(VecraftError) {
        guard identity.partitions != self.partitions else { return }
        var whole = identity
        whole.partitions = self.partitions
        let text = whole.text
        try onDisk { () throws(FileFault) in
            try AtomicFile.replace(self.file(JournalIdentity.fileName), with: Array(text.utf8), in: self.files)
        }
    }

    private static let advice =
        "remove the node from its groups ('vecraft journal remove-replica' at another node), empty its folder and add it under another id"
}
