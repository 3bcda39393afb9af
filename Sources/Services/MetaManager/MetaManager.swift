internal import Dispatch
internal import HLC
package import JournalFormat
package import JournalService
package import JournalStore
internal import Logging
package import Primitives
internal import Synchronization
internal import Wire

/// Told of schema changes in the order of `sys-0`, on the thread that replays it, before anyone who waits for them.
package protocol CatalogObserver: Sendable {
    func create(_ schema: CollectionSchema) throws(VecraftError)
    func update(_ schema: CollectionSchema)
    func drop(_ schema: CollectionSchema)
    /// A schema change that cannot be carried out was passed over.
    func refused(at offset: JournalOffset)
}

/// The collections: schema changes are entries of `sys-0`, decided when they are applied, alike on every node.
///
/// The metadata store holds a copy of the catalog (``CatalogCopy``), so that a start need not replay `sys-0` from its
/// beginning. The journal is the truth; the copy may be behind.
package final class MetaManager: Sendable {
    /// Collections of a node. Each has threads' scratch, files and a growing segment of its own.
    package static let maxCollections = 10_000

    private let journal: any JournalClient
    private let copy: CatalogCopy
    private let dataPartitions: [PartitionID]
    private let catalogState: Mutex<Catalog>
    private let waiters = AppliedWaiters()
    private let follower: JournalFollower
    private let failure: Mutex<VecraftError?> = Mutex(nil)
    /// Entries that ``load()`` passed over, for the observer that comes later.
    private let refusedAtLoad: Mutex<[JournalOffset]> = Mutex([])
    private let changed: AsyncStream<Void>
    private let change: AsyncStream<Void>.Continuation
    private let isSavingLater = Atomic<Bool>(false)
    /// HLC up to which `sys-0` has been applied here.
    private let reached = Atomic<UInt64>(0)
    private let log = Logger(label: "vecraft.meta")

    package init(journal: any JournalClient, copy: CatalogCopy) {
        self.journal = journal
        self.copy = copy
        self.dataPartitions = journal.partitions.filter { $0.kind == .data }
        self.catalogState = Mutex(Catalog())
        self.follower = JournalFollower(journal, partition: .sys, maxBatchBytes: 1 << 20)
        (self.changed, self.change) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// A copy: cheap, and never half-way through a change.
    package var catalog: Catalog { self.catalogState.withLock { $0 } }

    package func collection(tenant: String, name: String) throws(VecraftError) -> CollectionSchema {
        guard let schema = self.catalogState.withLock({ $0.collection(tenant: tenant, name: name) }) else {
            throw VecraftError(
                .notFound, "there is no collection \"\(name)\"\(tenant == "default" ? "" : " of tenant \"\(tenant)\"")",
                field: "collection", reason: "COLLECTION_NOT_FOUND")
        }
        return schema
    }

    /// HLC up to which `sys-0` has been applied on this node: no schema change at or below it is missing.
    package var reachedHLC: UInt64 { self.reached.load(ordering: .acquiring) }

    private func reach(_ hlc: HLCTimestamp) { _ = self.reached.max(hlc.rawValue, ordering: .acquiringAndReleasing) }

    /// All that is committed is applied: as far as the order is closed nothing more can come.
    private func reachClosed() {
        guard let position = try? self.journal.position(.sys), self.catalog.applied >= position.committed else {
            return
        }
        self.reach(position.closed)
    }

    /// Why `sys-0` stands still, if it does.
    package var standstill: VecraftError? { self.failure.withLock { $0 } }

    // MARK: Start and stop

    /// Takes the copy and replays `sys-0` on top, to its end; without a copy, all of `sys-0`.
    package func load() throws(VecraftError) {
        var catalog = self.copy.catalog ?? Catalog()
        let begun = catalog.applied
        try self.read(from: begun + 1) { (entry) throws(VecraftError) in
            guard case .refused(let what) = self.apply(entry, to: &catalog) else { return }
            self.log(.refused(what), entry)
            self.refusedAtLoad.withLock { $0.append(entry.offset) }
        }
        for schema in catalog.byID.values { self.reach(schema.created) }
        self.waiters.advance(to: catalog.applied)
        self.catalogState.withLock { $0 = catalog }
        if catalog.applied > begun { self.change.yield() }
        self.log.info(
            "catalog loaded", metadata: ["collections": "\(catalog.byID.count)", "applied": "\(catalog.applied)"])
    }

    /// Those of the ids whose collections the journal itself says were dropped. Reads `sys-0` from its beginning.
    package func dropped(among ids: Set<UInt64>) throws(VecraftError) -> Set<UInt64> {
        var found: Set<UInt64> = []
        try self.read(from: 1) { (entry) throws(VecraftError) in
            guard entry.operation == .ddl, case .drop(let id)? = try? DDLBody(entry.body), ids.contains(id) else {
                return
            }
            found.insert(id)
        }
        return found
    }

    private func read(
        from start: JournalOffset, _ body: (EntryView) throws(VecraftError) -> Void
    ) throws(VecraftError) {
        var next = start
        while true {
            let batch = try self.journal.read(.sys, from: next, maxBytes: 1 << 20)
            if batch.isEmpty { return }
            for entry in batch { try body(entry) }
            next = batch.nextOffset
        }
    }

    /// Follows `sys-0` from where ``load()`` ended.
    package func start(_ observer: any CatalogObserver) throws(VecraftError) {
        for offset in self.refusedAtLoad.withLock({ $0 }) { observer.refused(at: offset) }
        try self.follower.start(
            from: self.catalog.applied + 1, name: "replay sys-0", handle: { [self] in self.handle($0, observer) },
            idle: { [self] in self.reachClosed() })
    }

    /// Copies changes into the metadata store until the task is cancelled.
    package func run() async {
        for await _ in self.changed {
            do throws(VecraftError) { try await self.copy.save(self.catalog, journal: self.journal) } catch {
                self.log.error(
                    "the catalog's copy could not be saved and will be tried again",
                    metadata: ["error": "\(error)", "after": "\(Self.saveAgainSeconds) s"])
                self.saveLater()
            }
        }
    }

    private static let saveAgainSeconds = 5

    /// One timer at a time; who ends meanwhile does not wait for it.
    private func saveLater() {
        guard !self.isSavingLater.exchange(true, ordering: .relaxed) else { return }
        DispatchQueue.global().asyncAfter(deadline: .now() + .seconds(Self.saveAgainSeconds)) { [weak self] in
            guard let self else { return }
            self.isSavingLater.store(false, ordering: .relaxed)
            self.change.yield()
        }
    }

    package func stop() {
        self.follower.stop()
        self.waiters.close()
        self.change.finish()
    }

    // MARK: Changes

    package enum Creation: Sendable {
        /// `write` is nil when the collection was there before, with the same schema.
        case done(CollectionSchema, Appended?)
    }

    /// Makes a collection. `completion` runs on a journal thread, after every observer on this node knows it.
    /// - Parameters:
    ///   - schema: Without id and partition.
    ///   - header: Of the entry, as far as the gateway knows it.
    package func create(
        _ schema: CollectionSchema, header: EntryHeader,
        completion: @escaping @Sendable (Result<Creation, VecraftError>) -> Void
    ) {
        self.caughtUp(completion) { self.createNow(schema, header: header, completion: completion) }
    }

    /// What was changed at other nodes before this call is known here: whether a name is taken, or gone, must not be answered from what
    /// this node happens to have heard.
    private func caughtUp<T>(
        _ completion: @escaping @Sendable (Result<T, VecraftError>) -> Void, _ act: @escaping @Sendable () -> Void
    ) {
        guard self.journal.isReplicated else { return act() }
        self.journal.readIndex(.sys) { [self] result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let offset):
                _ = self.waiters.wait(for: offset) { reached in
                    switch reached {
                    case .failure(let error): completion(.failure(error))
                    case .success: act()
                    }
                }
            }
        }
    }

    private func createNow(
        _ schema: CollectionSchema, header: EntryHeader,
        completion: @escaping @Sendable (Result<Creation, VecraftError>) -> Void
    ) {
        let catalog = self.catalog
        if let existing = catalog.collection(tenant: schema.tenant, name: schema.name) {
            completion(Self.compare(existing, schema))
            return
        }
        guard catalog.byID.count < Self.maxCollections else {
            completion(
                .failure(VecraftError(.resourceExhausted, "this node holds \(Self.maxCollections) collections already"))
            )
            return
        }
        var schema = schema
        // A tenant's collections share a partition, so that one session token offset covers them.
        let hash = StableHash.of(schema.tenant, seed: 7)
        schema.partition = self.dataPartitions[Int(hash % UInt64(self.dataPartitions.count))]
        let wanted = schema
        let entry = EncodedEntry.ddl(header: header, .create(wanted))
        self.journal.append(entry, to: .sys) { [self] result in
            self.afterApplied(result, completion) { appended in
                guard let made = self.catalog.collection(tenant: wanted.tenant, name: wanted.name) else {
                    return .failure(VecraftError(.aborted, "the collection was dropped at the same moment"))
                }
                return made.id == appended.hlc.rawValue ? .success(.done(made, appended)) : Self.compare(made, wanted)
            }
        }
    }

    package func drop(
        tenant: String, name: String, header: EntryHeader,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        self.caughtUp(completion) { self.dropNow(tenant: tenant, name: name, header: header, completion: completion) }
    }

    private func dropNow(
        tenant: String, name: String, header: EntryHeader,
        completion: @escaping @Sendable (Result<Appended, VecraftError>) -> Void
    ) {
        do throws(VecraftError) {
            let schema = try self.collection(tenant: tenant, name: name)
            var header = header
            header.collection = schema.id
            let entry = EncodedEntry.ddl(header: header, .drop(collection: schema.id))
            self.journal.append(entry, to: .sys) { [self] result in
                self.afterApplied(result, completion) { .success($0) }
            }
        } catch {
            completion(.failure(error))
        }
    }

    /// Changes the codes that graphs are walked on.
    /// - Parameters:
    ///   - vectors: Names of those meant; none: all.
    ///   - completion: Gets the schema as it is then; without a write if it was so before.
    package func update(
        tenant: String, name: String, quantisation: Quantisation, vectors: [String], header: EntryHeader,
        completion: @escaping @Sendable (Result<Creation, VecraftError>) -> Void
    ) {
        self.caughtUp(completion) {
            self.updateNow(
                tenant: tenant, name: name, quantisation: quantisation, vectors: vectors, header: header,
                completion: completion)
        }
    }

    private func updateNow(
        tenant: String, name: String, quantisation: Quantisation, vectors: [String], header: EntryHeader,
        completion: @escaping @Sendable (Result<Creation, VecraftError>) -> Void
    ) {
        do throws(VecraftError) {
            let schema = try self.collection(tenant: tenant, name: name)
            var update = CollectionUpdate(collection: schema.id, quantisations: [:])
            for vector in vectors.isEmpty ? schema.vectors.map(\.name) : vectors {
                guard let position = schema.vectorIndex(vector) else {
                    throw VecraftError(
                        .notFound, "collection \"\(schema.name)\" has no vector \"\(vector.prefix(64))\"",
                        field: "vectors",
                        reason: "VECTOR_NOT_FOUND")
                }
                update.quantisations[position] = quantisation
            }
            if schema.applying(update) == schema {
                completion(.success(.done(schema, nil)))
                return
            }
            var header = header
            header.collection = schema.id
            self.journal.append(EncodedEntry.ddl(header: header, .update(update)), to: .sys) { [self] result in
                self.afterApplied(result, completion) { appended in
                    guard let now = self.catalog.byID[schema.id] else {
                        return .failure(VecraftError(.aborted, "the collection was dropped at the same moment"))
                    }
                    return .success(.done(now, appended))
                }
            }
        } catch {
            completion(.failure(error))
        }
    }

    private func afterApplied<T>(
        _ result: Result<Appended, VecraftError>, _ completion: @escaping @Sendable (Result<T, VecraftError>) -> Void,
        _ answer: @escaping @Sendable (Appended) -> Result<T, VecraftError>
    ) {
        switch result {
        case .failure(let error): completion(.failure(error))
        case .success(let appended):
            _ = self.waiters.wait(for: appended.offset) { completion($0.flatMap { answer(appended) }) }
        }
    }

    private static func compare(
        _ existing: CollectionSchema, _ wanted: CollectionSchema
    ) -> Result<Creation, VecraftError> {
        if existing.hasSameShape(as: wanted) { return .success(.done(existing, nil)) }
        return .failure(
            VecraftError(
                .alreadyExists, "there is a collection \"\(existing.name)\" with another schema", field: "name",
                reason: "COLLECTION_EXISTS"))
    }

    // MARK: On the follower's thread

    private func handle(
        _ batch: Result<EntryBatch, VecraftError>, _ observer: any CatalogObserver
    ) -> JournalFollower.Step {
        do throws(VecraftError) {
            let batch = try batch.get()
            for entry in batch where entry.offset > self.catalog.applied {
                var catalog = self.catalog
                let change = self.apply(entry, to: &catalog)
                // The storage side first: whoever finds a collection in the catalog finds its shard too.
                if case .created(let schema) = change { try observer.create(schema) }
                self.catalogState.withLock { $0 = catalog }
                if case .updated(let schema) = change { observer.update(schema) }
                if case .dropped(let schema) = change { observer.drop(schema) }
                if case .refused = change { observer.refused(at: entry.offset) }
                self.log(change, entry)
                self.reach(entry.hlc)
                self.waiters.advance(to: entry.offset)
                self.change.yield()
            }
            self.failure.withLock { $0 = nil }
            return .goOn
        } catch {
            if self.failure.withLock({ $0 != error }) {
                self.failure.withLock { $0 = error }
                self.log.error("schema changes stand still and will be tried again", metadata: ["error": "\(error)"])
            }
            return .retry(after: .seconds(1))
        }
    }

    private func apply(_ entry: EntryView, to catalog: inout Catalog) -> Catalog.Change {
        guard entry.operation == .ddl else {
            catalog.skip(to: entry.offset)
            return .none
        }
        do throws(DDLRefusal) {
            switch try self.change(entry) {
            case .create(var schema):
                // Unique without coordination: no other entry has this HLC.
                schema.id = entry.hlc.rawValue
                schema.created = entry.hlc
                return catalog.create(schema, at: entry.offset)
            case .drop(let id):
                return catalog.drop(id, at: entry.offset)
            case .update(let update):
                return catalog.update(update.collection, at: entry.offset) { $0.applying(update) }
            }
        } catch {
            // Every node decides alike, from the entry alone; standing still would stop schema changes for good.
            catalog.skip(to: entry.offset)
            return .refused(error.what)
        }
    }

    private struct DDLRefusal: Error { let what: String }

    private func change(_ entry: EntryView) throws(DDLRefusal) -> DDLBody {
        let body: DDLBody
        do throws(DecodingFault) { body = try DDLBody(entry.body) } catch { throw DDLRefusal(what: "\(error)") }
        if case .create(let schema) = body {
            do throws(VecraftError) {
                try schema.validate(partitions: self.dataPartitions)
            } catch {
                throw DDLRefusal(what: error.message)
            }
        }
        return body
    }

    /// Why a schema change is passed over; nil if it is not.
    package func refusal(_ entry: EntryView) -> String? {
        do throws(DDLRefusal) {
            _ = try self.change(entry)
            return nil
        } catch {
            return error.what
        }
    }

    /// With the ids of the request that changed it.
    private func log(_ change: Catalog.Change, _ entry: EntryView) {
        var fields = entry.logFields
        fields["offset"] = "\(entry.offset)"
        func name(_ schema: CollectionSchema) {
            fields["name"] = "\(schema.name)"
            fields["id"] = "\(schema.id)"
        }
        switch change {
        case .created(let schema):
            name(schema)
            self.log.notice("collection created", metadata: fields)
        case .updated(let schema):
            name(schema)
            fields["quantisation"] = "\(schema.vectors.map(\.quantisation.rawValue).joined(separator: ","))"
            self.log.notice("collection updated", metadata: fields)
        case .dropped(let schema):
            name(schema)
            self.log.notice("collection dropped", metadata: fields)
        case .refused(let what):
            fields["partition"] = "\(PartitionID.sys)"
            fields["why"] = "\(what)"
            self.log.error("a schema change that cannot be carried out was passed over", metadata: fields)
        case .none: break
        }
    }
}

extension CollectionSchema {
    /// Nil if the update is of a vector that is not there.
    func applying(_ update: CollectionUpdate) -> CollectionSchema? {
        var changed = self
        for (position, quantisation) in update.quantisations {
            guard changed.vectors.indices.contains(position) else { return nil }
            changed.vectors[position].quantisation = quantisation
        }
        return changed
    }

    /// The same but for what the server gave it.
    package func hasSameShape(as other: CollectionSchema) -> Bool {
        var other = other
        other.id = self.id
        other.created = self.created
        other.partition = self.partition
        return self == other
    }
}
