internal import FileStore
internal import Logging
internal import Primitives
internal import Raft
internal import Synchronization

/// Which journal each other node has: learnt when it first comes, kept for good.
///
/// A node that comes with another one has lost what it acknowledged and whom it voted for; were it taken for the old one, it could vote
/// again in a term, and what only it and one that is down had stored would be outvoted (Ongaro, thesis section 3.8).
final class PeerIdentities: Sendable {
    private let known: Mutex<[UInt64: UInt64]>
    /// Told already: a node that is refused comes again and again.
    private let said = Mutex<Set<UInt64>>([])
    private let path: String
    private let files: any FileStore
    private let log = Logger(label: "vecraft.journal.peers")

    init(path: String, files: any FileStore) throws(VecraftError) {
        self.path = path
        self.files = files
        guard files.exists(path) else {
            self.known = Mutex([:])
            return
        }
        var found: [UInt64: UInt64] = [:]
        let bytes: [UInt8]
        do throws(FileFault) { bytes = try files.readWhole(path) } catch {
            throw VecraftError(.unavailable, "\(path) cannot be read: \(error)")
        }
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard parts.count == 2, let node = UInt64(parts[0]), let identity = UInt64(parts[1], radix: 16) else {
                throw VecraftError(.dataLoss, "\(path) is damaged at \"\(line.prefix(64))\"; restore it from another copy, or remove it if no node of the cluster has lost its data")
            }
            found[node] = identity
        }
        self.known = Mutex(found)
    }

    /// Durable before it returns: who has been told that a node is known must not take another for it after a crash. Once for each node
    /// that there ever was, so it may wait for the disk where it is called.
    func admit(_ peer: ReplicaID, _ identity: UInt64) throws(VecraftError) {
        let outcome: Result<Void, VecraftError> = self.known.withLock { known in
            if let before = known[peer.rawValue] {
                if before == identity { return .success(()) }
                return .failure(
                    VecraftError(
                        .failedPrecondition,
                        "node \(peer) comes with another journal than before: its data was lost or replaced, and what it had acknowledged with it; remove it with 'vecraft journal remove-replica \(peer)' and add it under another id",
                        reason: "ANOTHER_JOURNAL"))
            }
            known[peer.rawValue] = identity
            let lines = known.sorted { $0.key < $1.key }.map { "\($0.key) \(String($0.value, radix: 16))\n" }
            do throws(FileFault) {
                try AtomicFile.replace(self.path, with: Array(lines.joined().utf8), in: self.files)
                return .success(())
            } catch {
                known[peer.rawValue] = nil
                return .failure(VecraftError(.unavailable, "\(self.path) cannot be written: \(error)"))
            }
        }
        if case .failure(let error) = outcome, error.reason == "ANOTHER_JOURNAL",
            self.said.withLock({ $0.insert(identity).inserted })
        {
            self.log.error("a node is not listened to", metadata: ["peer": "\(peer)", "why": "\(error.message)"])
        }
        try outcome.get()
    }
}
