internal import Dispatch
package import FileStore
internal import Logging
package import Metadata
package import Placement
package import Primitives
internal import Synchronization

/// The cluster map as this process knows it: read from the metadata store, followed by a watch, kept in a file for starts
/// without the store.
///
/// A change writes the record it changes and the map's epoch in one transaction that compares the epoch's revision, so that of
/// two who change the same map one is refused (`docs/CONTROL.md`, "In the metadata store").
package final class MapStore: Sendable {
    static let prefix = "map/"
    private static let epochKey = prefix + MapKey.epoch.description
    /// Between attempts while the store cannot be asked.
    private static let pause: Duration = .milliseconds(500)

    private struct State {
        var map = ClusterMap()
        /// Of the store, that the map is true for; 0: it is the file's.
        var revision: Revision = 0
        /// Of the key `epoch`: what a change is compared with. 0: there is none.
        var epochRevision: Revision = 0
        var listeners: [Int: AsyncStream<Void>.Continuation] = [:]
        var lastListener = 0
        var saved: MapEpoch = 0
        var trouble: String?
    }
    private let store: any MetadataStore
    private let path: String
    private let files: any FileStore
    private let state = Mutex(State())
    private let saving = DispatchQueue(label: "vecraft.control.map")
    private let log = Logger(label: "vecraft.control.map")

    /// - Parameter path: Of the file with the last map known.
    package init(_ store: any MetadataStore, path: String, files: any FileStore) {
        self.store = store
        self.path = path
        self.files = files
        guard let map = self.loadFile() else { return }
        self.state.withLock { state in
            state.map = map
            state.saved = map.epoch
        }
    }

    /// The newest map known here.
    package var map: ClusterMap { self.state.withLock { $0.map } }

    /// Gives one element at once and one after changes, several together.
    package func updates() -> AsyncStream<Void> {
        let (stream, continuation) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
        let id = self.state.withLock { state in
            state.lastListener += 1
            state.listeners[state.lastListener] = continuation
            return state.lastListener
        }
        continuation.onTermination = { [weak self] _ in
            _ = self?.state.withLock { $0.listeners.removeValue(forKey: id) }
        }
        continuation.yield()
        return stream
    }

    /// Returns the first map for which `isGood` is true, or the last one when the task is cancelled.
    @discardableResult
    package func wait(until isGood: @Sendable (ClusterMap) -> Bool) async -> ClusterMap {
        for await _ in self.updates() where isGood(self.map) { break }
        return self.map
    }

    // MARK: Reading

    /// Reads the whole map anew.
    package func refresh() async throws(VecraftError) {
        let listing = try await self.store.list(prefix: Self.prefix)
        let map = try ClusterMap(
            documents: listing.entries.map {
                MapDocument(key: String($0.key.dropFirst(Self.prefix.count)), value: $0.value)
            })
        let epochRevision = listing.entries.first { $0.key == Self.epochKey }?.modified ?? 0
        try self.become(map, listing.revision, epochRevision)
    }

    /// Returns once the map here is the newest there is.
    package func confirm() async throws(VecraftError) {
        let entry = try await self.store.get(Self.epochKey)
        guard (entry?.modified ?? 0) != self.state.withLock({ $0.epochRevision }) else { return }
        try await self.refresh()
    }

    /// Follows the store until the task is cancelled.
    package func run() async {
        while !Task.isCancelled {
            do throws(VecraftError) {
                try await self.refresh()
                self.note(nil)
                let after = self.state.withLock { $0.revision }
                var changes = self.store.watch(prefix: Self.prefix, after: after).makeAsyncIterator()
                while let batch = try await changes.nextBatch() { try self.take(batch) }
            } catch {
                if Task.isCancelled { return }
                self.note(error.message)
            }
            try? await Task.sleep(for: Self.pause)
        }
    }

    private func note(_ trouble: String?) {
        let before = self.state.withLock { state in
            defer { state.trouble = trouble }
            return state.trouble
        }
        guard before != trouble else { return }
        if let trouble {
            self.log.error(
                "the cluster map cannot be followed; the last one known is used",
                metadata: ["error": "\(trouble)", "epoch": "\(self.map.epoch)"])
        } else if before != nil {
            self.log.notice("the cluster map is followed again", metadata: ["epoch": "\(self.map.epoch)"])
        }
    }

    /// Whole revisions. What this process wrote itself is known already.
    private func take(_ events: [MetadataEvent]) throws(VecraftError) {
        let (known, revision, epochRevision) = self.state.withLock { ($0.map, $0.revision, $0.epochRevision) }
        var map = known
        var (newest, epochs) = (revision, epochRevision)
        var documents: [MapDocument] = []
        for event in events where event.revision > revision {
            newest = event.revision
            let key = String(event.key.dropFirst(Self.prefix.count))
            switch event {
            case .put(let entry):
                if event.key == Self.epochKey { epochs = entry.modified }
                documents.append(MapDocument(key: key, value: entry.value))
            case .delete: documents.append(MapDocument(key: key, value: nil))
            }
        }
        guard !documents.isEmpty else { return }
        try map.take(documents)
        try self.become(map, newest, epochs)
    }

    private func become(
        _ map: ClusterMap, _ revision: Revision, _ epochRevision: Revision
    ) throws(VecraftError) {
        var known: MapEpoch?
        let listeners: [AsyncStream<Void>.Continuation]? = self.state.withLock { state in
            // Two may read at once; the older reading comes to nothing.
            guard revision > state.revision else { return nil }
            // Epochs never go back: this is the map of another time, and what it lacks may be there all the same.
            guard map.epoch >= state.map.epoch else {
                known = state.map.epoch
                return nil
            }
            state.revision = revision
            state.epochRevision = epochRevision
            guard state.map != map else { return nil }
            state.map = map
            return Array(state.listeners.values)
        }
        if let known {
            throw VecraftError(
                .dataLoss,
                "the metadata store has a cluster map of epoch \(map.epoch), this node knows one of \(known): the store lost changes; put the newest map back (vecraft cluster init --from)",
                reason: "METADATA_WENT_BACK")
        }
        guard let listeners else { return }
        for listener in listeners { listener.yield() }
        self.saving.async { self.saveFile() }
    }

    // MARK: Changing

    /// Writes one change.
    /// - Parameter epoch: Of the map that it was thought of for.
    /// - Throws: ABORTED, reason STALE_EPOCH, if the map is another one by now; what the map refuses; UNAVAILABLE.
    @discardableResult
    package func commit(_ change: MapChange, expecting epoch: MapEpoch) async throws(VecraftError) -> ClusterMap {
        let (before, expected) = self.state.withLock { ($0.map, $0.epochRevision) }
        let after = try before.applying(change, expecting: epoch)
        let changes = after.documents(changedFrom: before).map { MetadataChange(Self.prefix + $0.key, $0.value) }
        let swap: MetadataSwap
        do throws(VecraftError) {
            swap = try await self.store.transact(
                Self.epochKey, expected: expected == 0 ? nil : expected, changes: changes)
        } catch {
            guard error.reason == "OUTCOME_UNKNOWN" else { throw error }
            try await self.refresh()
            // Nobody else can have made this very map.
            if self.map == after { return after }
            throw error
        }
        guard case .swapped(let revision) = swap else {
            try await self.refresh()
            throw VecraftError(
                .aborted, "the cluster map changed meanwhile, to epoch \(self.map.epoch)", reason: "STALE_EPOCH")
        }
        try self.become(after, revision, revision)
        return after
    }

    /// Writes what `make` says to the newest map, again on each newer one. Nil: nothing is to be changed.
    @discardableResult
    package func change(
        _ make: (ClusterMap) throws(VecraftError) -> MapChange?
    ) async throws(VecraftError) -> ClusterMap {
        var tries = 0
        while true {
            let map = self.map
            guard let change = try make(map) else { return map }
            do throws(VecraftError) {
                return try await self.commit(change, expecting: map.epoch)
            } catch {
                tries += 1
                guard error.reason == "STALE_EPOCH", tries < 32 else { throw error }
            }
        }
    }

    // MARK: The file

    /// A line a document: its key, a space, its JSON.
    private func saveFile() {
        let map = self.map
        guard self.state.withLock({ $0.saved }) != map.epoch else { return }
        var bytes: [UInt8] = []
        for document in map.documents() {
            guard let value = document.value else { continue }
            bytes += Array(document.key.utf8) + [UInt8(ascii: " ")] + value + [UInt8(ascii: "\n")]
        }
        do throws(FileFault) {
            try AtomicFile.replace(self.path, with: bytes, in: self.files)
            self.state.withLock { $0.saved = map.epoch }
        } catch {
            // The store has it; only a start without the store would use an older one.
            self.log.warning("the cluster map could not be kept in a file", metadata: ["error": "\(error)"])
        }
    }

    static func documents(in bytes: [UInt8]) throws(VecraftError) -> [MapDocument] {
        var documents: [MapDocument] = []
        for line in bytes.split(separator: UInt8(ascii: "\n")) {
            guard let space = line.firstIndex(of: UInt8(ascii: " ")) else {
                throw VecraftError(.dataLoss, "a line of the cluster map's file has no key", reason: "BAD_CLUSTER_MAP")
            }
            documents.append(
                MapDocument(
                    key: String(decoding: line[..<space], as: UTF8.self),
                    value: Array(line[line.index(after: space)...])))
        }
        return documents
    }

    private func loadFile() -> ClusterMap? {
        guard self.files.exists(self.path) else { return nil }
        do {
            return try ClusterMap(documents: try Self.documents(in: try self.files.readWhole(self.path)))
        } catch {
            self.log.warning(
                "the file with the last cluster map cannot be used; the metadata store has it",
                metadata: ["file": "\(self.path)", "error": "\(error)"])
            return nil
        }
    }
}
