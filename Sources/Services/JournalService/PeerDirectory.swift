internal import Dispatch
package import FileStore
package import JournalFormat
internal import Logging
package import PeerTransport
package import Primitives
package import Raft
internal import Synchronization

/// Where the cluster's nodes are reached: given by settings, learnt from configuration entries, kept over restarts.
///
/// Kept in the journal's folder as text, one node a line: "4 10.0.0.4:7500".
package final class PeerDirectory: Sendable {
    private struct State {
        var addresses: [ReplicaID: String]
        /// What the settings or the cluster map say goes before what is learnt.
        var given: [ReplicaID: String]
        var changed: (@Sendable ([ReplicaID: PeerAddress]) -> Void)?
    }
    private let state: Mutex<State>
    private let own: ReplicaID
    private let path: String
    private let files: any FileStore
    /// Who learns an address may be a replica's thread, which must not wait for a disk.
    private let saving = DispatchQueue(label: "vecraft.journal.peers")
    private let log = Logger(label: "vecraft.journal.peers")

    /// - Parameter given: "host:port" by node.
    /// - Throws: `.invalidArgument`, naming the node, for an address that is none.
    package init(
        own: ReplicaID, given: [ReplicaID: String], path: String, files: any FileStore
    ) throws(VecraftError) {
        for (node, address) in given where PeerAddress(parsing: address) == nil {
            throw .invalid("cluster.peers", "node \(node): \"\(address)\" is not host:port")
        }
        self.own = own
        self.path = path
        self.files = files
        var addresses = Self.load(path, files)
        addresses.merge(given) { $1 }
        self.state = Mutex(State(addresses: addresses, given: given))
    }

    package func address(of node: ReplicaID) -> String { self.state.withLock { $0.addresses[node] ?? "" } }

    package var peers: [ReplicaID: PeerAddress] {
        self.state.withLock { $0.addresses }.compactMapValues { PeerAddress(parsing: $0) }.filter { $0.key != self.own }
    }

    /// Calls back with all other nodes, now and after each change.
    package func onChange(_ callback: @escaping @Sendable ([ReplicaID: PeerAddress]) -> Void) {
        self.state.withLock { $0.changed = callback }
        callback(self.peers)
    }

    /// Takes in an address; what the settings say stays.
    package func learn(_ node: ReplicaID, _ address: String) {
        guard PeerAddress(parsing: address) != nil else { return }
        let (isNew, changed) = self.state.withLock { state in
            if state.given[node] != nil { return (false, state.changed) }
            let isNew = state.addresses[node] != address
            state.addresses[node] = address
            return (isNew, state.changed)
        }
        guard isNew else { return }
        self.saving.async { self.save() }
        changed?(self.peers)
    }

    /// The cluster map says where all nodes are: what was learnt otherwise is not asked any more, and who is not in it is gone.
    package func give(_ addresses: [ReplicaID: String]) {
        let (isNew, changed) = self.state.withLock { state in
            let isNew = state.addresses != addresses
            state.given = addresses
            state.addresses = addresses
            return (isNew, state.changed)
        }
        guard isNew else { return }
        self.saving.async { self.save() }
        changed?(self.peers)
    }

    package func learn(_ body: ConfigurationBody) {
        for member in body.members where !member.address.isEmpty { self.learn(ReplicaID(member.id), member.address) }
    }

    private func save() {
        let lines = self.state.withLock { $0.addresses }.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)\n" }
        do throws(FileFault) {
            try AtomicFile.replace(self.path, with: Array(lines.joined().utf8), in: self.files)
        } catch {
            // The next start learns it from the log, or from whoever calls.
            self.log.warning("addresses of peers could not be saved", metadata: ["error": "\(error)"])
        }
    }

    private static func load(_ path: String, _ files: any FileStore) -> [ReplicaID: String] {
        guard let bytes = try? files.readWhole(path) else { return [:] }
        var found: [ReplicaID: String] = [:]
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ")
            if parts.count == 2, let id = UInt64(parts[0]) { found[ReplicaID(id)] = String(parts[1]) }
        }
        return found
    }
}

extension PeerAddress {
    /// "host:port", "[::1]:7500".
    package init?(parsing text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]), (1...65_535).contains(port)
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { return nil }
        self.init(host: String(host), port: port)
    }
}
