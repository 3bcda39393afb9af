import FileStore
import Foundation
import JournalFormat
import JournalService
import JournalStore
import MetaManager
import Metadata
import Primitives
import Synchronization
import TestSupport
import Testing

/// The copy of the catalog may be lost, old or damaged; what it may never do is change what collections there are.
@Suite struct CatalogCopyTests {
    private struct Observer: CatalogObserver {
        func create(_ schema: CollectionSchema) throws(VecraftError) {}
        func update(_ schema: CollectionSchema) {}
        func drop(_ schema: CollectionSchema) {}
        func refused(at offset: JournalOffset) {}
    }

    /// A journal and a metadata store in one folder.
    private final class Place: Sendable {
        let directory: TemporaryDirectory
        let journal: LocalJournal
        var file: String { self.directory.file("metadata.sqlite") }

        init(wall: UInt64 = 1_800_000_000_000) throws {
            self.directory = try TemporaryDirectory()
            self.journal = LocalJournal(
                try Journal(
                    directory: self.directory.file("journal"), dataPartitions: 1, files: PosixFileStore(),
                    physicalClock: { wall }))
        }

        deinit { self.journal.journal.close() }

        /// Changes the codes of a collection.
        func requantise(
            _ store: any MetadataStore, _ name: String, _ quantisation: Quantisation, vectors: [String] = []
        ) async throws -> (schema: CollectionSchema, offset: JournalOffset?) {
            let meta = MetaManager(journal: self.journal, copy: try await CatalogCopy(store, journal: self.journal))
            try meta.load()
            try meta.start(Observer())
            let saving = Task { await meta.run() }
            let result: Result<MetaManager.Creation, VecraftError> = await withCheckedContinuation { done in
                meta.update(
                    tenant: "default", name: name, quantisation: quantisation, vectors: vectors, header: Self.header
                ) { done.resume(returning: $0) }
            }
            meta.stop()
            await saving.value
            guard case .done(let schema, let appended) = try result.get() else { preconditionFailure("\(result)") }
            return (schema, appended?.offset)
        }

        /// Makes and drops collections with a catalog that saves its copy into `store`.
        func change(
            _ store: any MetadataStore, create names: [String] = [], drop dropped: [String] = []
        ) async throws -> [UInt64: CollectionSchema] {
            let meta = MetaManager(journal: self.journal, copy: try await CatalogCopy(store, journal: self.journal))
            try meta.load()
            try meta.start(Observer())
            let saving = Task { await meta.run() }
            for name in names {
                try await withCheckedThrowingContinuation { done in
                    let schema = CollectionSchema(
                        id: 0, tenant: "default", name: name, vectors: [VectorSchema(dimension: 4, metric: .l2)],
                        payloadIndexes: [PayloadIndexField(path: "field", type: .keyword)])
                    meta.create(schema, header: Self.header) { done.resume(with: $0.map { _ in }) }
                }
            }
            for name in dropped {
                try await withCheckedThrowingContinuation { done in
                    meta.drop(tenant: "default", name: name, header: Self.header) { done.resume(with: $0.map { _ in }) }
                }
            }
            meta.stop()
            await saving.value
            return meta.catalog.byID
        }

        /// What a start finds with the copy in `store`.
        func load(_ store: any MetadataStore) async throws -> [UInt64: CollectionSchema] {
            let meta = MetaManager(journal: self.journal, copy: try await CatalogCopy(store, journal: self.journal))
            try meta.load()
            return meta.catalog.byID
        }

        static var header: EntryHeader {
            EntryHeader(
                partition: .sys, tier: .critical, operation: .ddl, tenant: "default", requestID: "test",
                trace: .init(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false))
        }
    }

    private func isDoubted(_ store: any MetadataStore, _ place: Place) async -> Bool {
        do {
            _ = try await CatalogCopy(store, journal: place.journal)
            return false
        } catch {
            return error.code == .dataLoss && error.reason == MetadataDamage.reason
        }
    }

    @Test func aCopyIsTakenUpWithWhatCameAfterIt() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        let first = try await place.change(store, create: ["a", "b", "c"], drop: ["b"])
        #expect(first.values.map(\.name).sorted() == ["a", "c"])
        #expect(try await place.load(store) == first)
        let empty = try SQLiteMetadataStore(path: place.directory.file("other.sqlite"))
        defer { try? empty.close() }
        #expect(try await place.load(empty) == first)
        // Another store took the next change: this one is behind, and catches up from the journal.
        let second = try await place.change(empty, create: ["d"])
        #expect(try await place.load(store) == second)
    }

    @Test func codesAreChangedByAnEntryAndKept() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        let made = try await place.change(store, create: ["a", "b"])
        let changed = try await place.requantise(store, "a", .int4)
        #expect(changed.offset == 3 && changed.schema.vectors[0].quantisation == .int4)
        // As it is already: nothing is written.
        #expect(try await place.requantise(store, "a", .int4).offset == nil)
        #expect(try await place.requantise(store, "a", .int4, vectors: [""]).offset == nil)
        await #expect(throws: VecraftError.self) { try await place.requantise(store, "a", .int8, vectors: ["title"]) }
        await #expect(throws: VecraftError.self) { try await place.requantise(store, "nobody", .int8) }
        // From the copy and from the journal alike; all else as it was made.
        var wanted = made
        for (id, schema) in made where schema.name == "a" { wanted[id]!.vectors[0].quantisation = .int4 }
        #expect(try await place.load(store) == wanted)
        let empty = try SQLiteMetadataStore(path: place.directory.file("other.sqlite"))
        defer { try? empty.close() }
        #expect(try await place.load(empty) == wanted)
    }

    /// An update of what is gone changes nothing; one of a vector that is not there is passed over.
    @Test func updatesAreDecidedWhenTheyAreApplied() async throws {
        var catalog = Catalog()
        let schema = CollectionSchema(
            id: 9, tenant: "default", name: "c", vectors: [VectorSchema(dimension: 4, metric: .l2)])
        _ = catalog.create(schema, at: 1)
        func update(_ id: UInt64, _ offset: JournalOffset, _ result: CollectionSchema?) -> Catalog.Change {
            catalog.update(id, at: offset) { _ in result }
        }
        guard case .none = update(8, 2, nil) else { return #expect(Bool(false), "another collection was updated") }
        guard case .refused = update(9, 3, nil) else {
            return #expect(Bool(false), "what does not fit was not refused")
        }
        guard case .none = update(9, 4, schema) else { return #expect(Bool(false), "an update that changes nothing") }
        var other = schema
        other.vectors[0].quantisation = .none
        guard case .updated(let now) = update(9, 5, other) else { return #expect(Bool(false), "not updated") }
        #expect(now == other && catalog.byID[9] == other && catalog.applied == 5)
    }

    @Test func everyFlippedBitOfAnyValueIsNoticed() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        _ = try await place.change(store, create: ["a", "b"])
        for entry in try await store.list(prefix: "").entries {
            for bit in 0..<entry.value.count * 8 {
                var value = entry.value
                value[bit / 8] ^= 1 << UInt8(bit % 8)
                _ = try await store.put(entry.key, value)
                #expect(await self.isDoubted(store, place), "bit \(bit) of \(entry.key)")
            }
            _ = try await store.put(entry.key, entry.value)
        }
        #expect(await !self.isDoubted(store, place))
    }

    @Test func aValueMissingMovedOrAddedIsNoticed() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        _ = try await place.change(store, create: ["a", "b"])
        let before = try await store.list(prefix: "").entries
        try #require(before.count == 3)
        for entry in before {
            _ = try await store.delete(entry.key)
            #expect(await self.isDoubted(store, place), "without \(entry.key)")
            _ = try await store.put(entry.key, entry.value)
        }
        let values = before.filter { $0.key.hasPrefix("/vecraft/v1/catalog/") }
        _ = try await store.put(values[0].key, values[1].value)
        #expect(await self.isDoubted(store, place))
        _ = try await store.put(values[0].key, values[0].value)
        // A value of an older copy: itself whole, but the seal knows nothing of it.
        _ = try await place.change(store, drop: ["a"])
        _ = try await store.put(values[0].key, values[0].value)
        _ = try await store.put(values[1].key, values[1].value)
        #expect(await self.isDoubted(store, place))
    }

    @Test func aCopyThatIsAheadOfTheJournalOrOfAnotherIsRefused() async throws {
        // At one wall clock that stands still both could stamp alike.
        let (longer, shorter) = (try Place(), try Place(wall: 1_800_000_001_000))
        let store = try SQLiteMetadataStore(path: longer.file)
        defer { try? store.close() }
        let own = try SQLiteMetadataStore(path: shorter.file)
        defer { try? own.close() }
        _ = try await longer.change(store, create: ["a", "b"])
        _ = try await shorter.change(own, create: ["x"])
        #expect(await self.isDoubted(store, shorter), "ahead of sys-0's end")
        _ = try await shorter.change(own, create: ["p", "q", "r"])
        #expect(await self.isDoubted(store, shorter), "of another journal")
        #expect(await !self.isDoubted(own, shorter))
    }

    @Test func aSaveCutShortAnywhereLeavesNothingFalse() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        var truth: [UInt64: CollectionSchema] = [:]
        for survived in 0..<8 {
            let dying = DyingStore(store, changes: survived)
            truth = try await place.change(
                dying, create: ["c\(survived)"], drop: survived % 3 == 2 ? ["c\(survived - 1)"] : [])
            #expect(try await place.load(store) == truth, "after \(survived) changes")
        }
        truth = try await place.change(store, create: ["last"])
        #expect(try await place.load(store) == truth)
    }

    /// Not only at the next change, which may never come.
    @Test(.timeLimit(.minutes(10))) func aSaveThatFailedIsTriedAgain() async throws {
        let place = try Place()
        let inner = try SQLiteMetadataStore(path: place.file)
        defer { try? inner.close() }
        let store = DyingStore(inner, changes: 0)
        let meta = MetaManager(journal: place.journal, copy: try await CatalogCopy(store, journal: place.journal))
        try meta.load()
        try meta.start(Observer())
        let saving = Task { await meta.run() }
        let schema = CollectionSchema(
            id: 0, tenant: "default", name: "a", vectors: [VectorSchema(dimension: 4, metric: .l2)], payloadIndexes: [])
        try await withCheckedThrowingContinuation { done in
            meta.create(schema, header: Place.header) { done.resume(with: $0.map { _ in }) }
        }
        while store.refused == 0 { try await Task.sleep(for: .milliseconds(10)) }
        let before = try await inner.list(prefix: "")
        store.revive()
        while try await inner.list(prefix: "") == before { try await Task.sleep(for: .milliseconds(10)) }
        meta.stop()
        await saving.value
        #expect(try await place.load(inner) == meta.catalog.byID)
    }

    @Test func aFlippedBitAnywhereInTheFileChangesNoCollection() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        let truth = try await place.change(store, create: ["a", "b", "c"], drop: ["b"])
        try store.close()
        let whole = try Data(contentsOf: URL(fileURLWithPath: place.file))
        let seed: UInt64 = 41
        var rng = SeededRNG(seed: seed)
        var refused = 0
        for round in 0..<400 {
            var bytes = whole
            let position = Int.random(in: 0..<bytes.count, using: &rng)
            bytes[position] ^= 1 << UInt8.random(in: 0..<8, using: &rng)
            if round % 20 == 19 { bytes = bytes.prefix(Int.random(in: 1..<bytes.count, using: &rng)) }
            let path = place.directory.file("flipped-\(round).sqlite")
            try bytes.write(to: URL(fileURLWithPath: path))
            do {
                let store = try SQLiteMetadataStore(path: path)
                defer { try? store.close() }
                #expect(try await place.load(store) == truth, "seed \(seed), round \(round), byte \(position)")
            } catch let error as VecraftError {
                refused += 1
                #expect(error.reason != nil, "seed \(seed), round \(round), byte \(position): \(error)")
                let aside = try SQLiteMetadataStore.putAside(path)
                #expect(!FileManager.default.fileExists(atPath: path) && FileManager.default.fileExists(atPath: aside))
            }
        }
        #expect(refused > 0)
    }

    @Test func droppedIsOnlyWhatTheJournalSays() async throws {
        let place = try Place()
        let store = try SQLiteMetadataStore(path: place.file)
        defer { try? store.close() }
        let before = try await place.change(store, create: ["a", "b"])
        _ = try await place.change(store, drop: ["a"])
        let ids = Dictionary(uniqueKeysWithValues: before.values.map { ($0.name, $0.id) })
        let meta = MetaManager(journal: place.journal, copy: try await CatalogCopy(store, journal: place.journal))
        try meta.load()
        #expect(try meta.dropped(among: [ids["a"]!, ids["b"]!, 12_345]) == [ids["a"]!])
    }

    @Test func onlyTheNewestDamagedFilesAreKept() throws {
        let directory = try TemporaryDirectory()
        let path = directory.file("metadata.sqlite")
        for i in 1...6 {
            try Data([UInt8(i)]).write(to: URL(fileURLWithPath: path))
            #expect(try SQLiteMetadataStore.putAside(path) == "\(path).damaged-\(i)")
        }
        #expect(try PosixFileStore().list(directory.path) == (3...6).map { "metadata.sqlite.damaged-\($0)" })
    }
}

/// Takes so many changes and then none, as the store of a process that is killed.
private final class DyingStore: MetadataStore {
    private let inner: SQLiteMetadataStore
    private let left: Mutex<Int>

    init(_ inner: SQLiteMetadataStore, changes: Int) {
        self.inner = inner
        self.left = Mutex(changes)
    }

    func revive() { self.left.withLock { $0 = .max } }
    var refused: Int { self.left.withLock { max(0, -$0) } }

    private func die() throws(VecraftError) {
        let isAlive = self.left.withLock { left in
            left -= 1
            return left >= 0
        }
        guard isAlive else { throw VecraftError(.unavailable, "gone") }
    }

    func get(_ key: String) async throws(VecraftError) -> MetadataEntry? { try await self.inner.get(key) }
    func put(_ key: String, _ value: [UInt8], lease: MetadataLease?) async throws(VecraftError) -> Revision {
        try self.die()
        return try await self.inner.put(key, value, lease: lease)
    }
    func delete(_ key: String) async throws(VecraftError) -> Revision? {
        try self.die()
        return try await self.inner.delete(key)
    }
    func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?, lease: MetadataLease?
    ) async throws(VecraftError) -> MetadataSwap {
        try self.die()
        return try await self.inner.compareAndSwap(key, expected: expected, value: value, lease: lease)
    }
    func transact(
        _ key: String, expected: Revision?, changes: [MetadataChange]
    ) async throws(VecraftError) -> MetadataSwap {
        try self.die()
        return try await self.inner.transact(key, expected: expected, changes: changes)
    }
    func grantLease(ttl: Duration) async throws(VecraftError) -> MetadataLease {
        try await self.inner.grantLease(ttl: ttl)
    }
    func list(prefix: String) async throws(VecraftError) -> MetadataListing {
        try await self.inner.list(prefix: prefix)
    }
    func watch(prefix: String, after: Revision) -> MetadataWatch { self.inner.watch(prefix: prefix, after: after) }
}
