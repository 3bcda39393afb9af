import Foundation
import GRDB
package import Primitives
import Synchronization

/// The embedded metadata store: one SQLite file, one process, durable at each change.
///
/// Two tables: `entry` has what is, `change` the last changes in order for watchers to resume from. WAL with
/// `synchronous = FULL`: a commit is one fsync of the log. The file is locked for this process, since a second one
/// would not be told of changes.
///
/// Leases live in the process, which is their only holder: they hold until they are revoked or dropped, and the keys of an
/// earlier process's leases are deleted when the store is opened.
package final class SQLiteMetadataStore: MetadataStore {
    /// "VcMd", so that a stranger's database is not taken for ours.
    private static let applicationID = 0x5663_4d64
    /// 2: entries know their lease.
    private static let formatVersion = 2

    package let path: String
    /// Changes kept for watchers to resume from.
    package let history: Int
    private let database: DatabaseQueue
    private let signal: ChangeSignal
    /// Those that keys may still be written with.
    private let leases = Mutex<[LeaseID: HeldLease]>([:])
    /// Changes taken out of the store at once by a watcher.
    private static let pullLimit = 256

    /// Opens or creates the store.
    /// - Parameters:
    ///   - history: 100,000 changes: a watcher may be away for hours of busy DDL, at some 20 MB of disk.
    /// - Throws: `.failedPrecondition` if another process has it or its format is newer, `.dataLoss` naming the file if
    ///   it is damaged.
    package init(path: String, history: Int = 100_000) throws(VecraftError) {
        precondition(history > 0)
        self.path = path
        self.history = history
        var configuration = Configuration()
        configuration.label = "vecraft.metadata"
        configuration.prepareDatabase { database in
            // Before the journal mode: WAL without shared memory, and the lock that keeps a second process out.
            try database.execute(sql: "PRAGMA locking_mode = EXCLUSIVE")
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            try database.execute(sql: "PRAGMA synchronous = FULL")
        }
        do {
            self.database = try DatabaseQueue(path: path, configuration: configuration)
            self.signal = ChangeSignal(revision: try self.database.write { try Self.prepare($0, history: history) })
        } catch {
            throw Self.fault(error, path)
        }
    }

    /// `@unchecked Sendable`: only the mutex's owner looks inside.
    private struct HeldLease: @unchecked Sendable {
        weak var lease: MetadataLease?
    }

    /// Ends all watches and leases and gives the file back.
    package func close() throws(VecraftError) {
        self.signal.close()
        let held = self.leases.withLock { leases in
            defer { leases = [:] }
            return leases.values.compactMap(\.lease)
        }
        for lease in held { lease.end(.gone) }
        do { try self.database.close() } catch { throw Self.fault(error, self.path) }
    }

    // MARK: MetadataStore

    package func get(_ key: String) async throws(VecraftError) -> MetadataEntry? {
        try MetadataLimits.check(key: key)
        return try await self.read { try Self.entry(key, $0) }
    }

    package func put(
        _ key: String, _ value: [UInt8], lease: MetadataLease?
    ) async throws(VecraftError) -> Revision {
        try MetadataLimits.check(key: key)
        try MetadataLimits.check(value: value)
        return try await self.change { database in
            try self.check(lease)
            return try self.write(key, value, lease?.id, over: try Self.entry(key, database), database)
        }
    }

    package func delete(_ key: String) async throws(VecraftError) -> Revision? {
        try MetadataLimits.check(key: key)
        return try await self.change { database in
            guard let present = try Self.entry(key, database) else { return nil }
            return try self.write(key, nil, nil, over: present, database)
        }
    }

    package func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?, lease: MetadataLease?
    ) async throws(VecraftError) -> MetadataSwap {
        try MetadataLimits.check(key: key)
        try MetadataLimits.check(value: value)
        return try await self.change { database in
            try self.check(lease)
            let present = try Self.entry(key, database)
            guard present?.modified == expected else { return .conflict(present) }
            // Deleting what is rightly absent changes nothing, and so has no revision of its own.
            if present == nil, value == nil { return .swapped(try Self.revision(database)) }
            return .swapped(try self.write(key, value, value == nil ? nil : lease?.id, over: present, database))
        }
    }

    package func transact(
        _ key: String, expected: Revision?, changes: [MetadataChange]
    ) async throws(VecraftError) -> MetadataSwap {
        try MetadataLimits.check(changes, of: key)
        let ordered = changes.filter { $0.key != key } + changes.filter { $0.key == key }
        return try await self.change { database in
            let present = try Self.entry(key, database)
            guard present?.modified == expected else { return .conflict(present) }
            var last = try Self.revision(database)
            for change in ordered {
                let there = try Self.entry(change.key, database)
                if there == nil, change.value == nil { continue }
                last = try self.write(change.key, change.value, nil, over: there, database)
            }
            return .swapped(last)
        }
    }

    package func list(prefix: String) async throws(VecraftError) -> MetadataListing {
        try await self.read { database in
            let (condition, arguments) = Self.range(prefix)
            let rows = try Row.fetchCursor(
                try database.cachedStatement(
                    sql: "SELECT key, value, created, modified, lease FROM entry WHERE \(condition) ORDER BY key"),
                arguments: arguments)
            var entries: [MetadataEntry] = []
            var bytes = 0
            while let entry = try rows.next().map(Self.entry(of:)) {
                bytes += entry.key.utf8.count + entry.value.count
                guard bytes <= MetadataLimits.listingBytes else { throw MetadataLimits.listingTooLarge(prefix) }
                entries.append(entry)
            }
            return MetadataListing(revision: try Self.revision(database), entries: entries)
        }
    }

    package func watch(prefix: String, after: Revision) -> MetadataWatch {
        MetadataWatch(after: after) { after throws(VecraftError) in
            while true {
                if Task.isCancelled { throw VecraftError(.cancelled, "the watch was cancelled") }
                if self.signal.isClosed { throw Self.closed }
                let (events, through) = try await self.changes(prefix, after: after)
                if !events.isEmpty { return (events, through) }
                await self.signal.wait(beyond: through)
            }
        }
    }

    package func grantLease(ttl: Duration) async throws(VecraftError) -> MetadataLease {
        try MetadataLimits.check(ttl: ttl)
        if self.signal.isClosed { throw Self.closed }
        // Not counted: watchers may still hear of an earlier process's leases.
        let id = LeaseID.random(in: 1...LeaseID(Int64.max))
        let lease = MetadataLease(
            id: id, ttl: ttl, until: nil,
            withdraw: { () throws(VecraftError) in
                _ = self.leases.withLock { $0.removeValue(forKey: id) }
                try await self.change { try self.deleteKeys(of: id, $0) }
            },
            dropped: {
                guard self.leases.withLock({ $0.removeValue(forKey: id) != nil }) else { return }
                // Should this fail, the keys go when the store is next opened.
                self.database.asyncWriteWithoutTransaction { database in
                    try? self.transaction(database) { try self.deleteKeys(of: id, database) }
                }
            })
        self.leases.withLock { $0[id] = HeldLease(lease: lease) }
        // Closed between the two: nobody else would end it.
        guard !self.signal.isClosed else {
            lease.end(.gone)
            throw Self.closed
        }
        return lease
    }

    /// Within a transaction, so that none is written behind the deletion of a lease's keys.
    private func check(_ lease: MetadataLease?) throws(VecraftError) {
        try MetadataLimits.check(lease: lease)
        guard let lease else { return }
        guard self.leases.withLock({ $0[lease.id] != nil }) else { throw MetadataLease.lost }
    }

    private func deleteKeys(of lease: LeaseID, _ database: Database) throws {
        try Self.deleteKeys("lease = \(lease)", history: self.history, database)
    }

    /// - Returns: Up to ``pullLimit`` changes of the prefix, and the revision up to which that is all of them.
    private func changes(
        _ prefix: String, after: Revision
    ) async throws(VecraftError) -> (events: [MetadataEvent], through: Revision) {
        try await self.read { database in
            let last = try Self.revision(database)
            let first =
                try Int64.fetchOne(
                    try database.cachedStatement(sql: "SELECT coalesce(min(revision), 1) FROM change")) ?? 1
            guard after + 1 >= UInt64(first) else {
                throw VecraftError(
                    .outOfRange, "changes after revision \(after) are no longer kept; the oldest is \(first)",
                    field: "after", reason: "COMPACTED")
            }
            let (condition, range) = Self.range(prefix)
            let rows = try Row.fetchAll(
                try database.cachedStatement(
                    sql: """
                        SELECT key, value, created, revision, lease, value IS NULL AS gone FROM change
                        WHERE revision > ? AND \(condition) ORDER BY revision LIMIT \(Self.pullLimit)
                        """), arguments: StatementArguments([Int64(after)]) + range)
            let events = try rows.map { row -> MetadataEvent in
                if try row.decode(Bool.self, atIndex: 5) {
                    return .delete(key: try Self.key(of: row), revision: try Self.revision(of: row, 3))
                }
                return .put(try Self.entry(of: row))
            }
            return (events, events.count == Self.pullLimit ? events.last?.revision ?? last : last)
        }
    }

    // MARK: SQL

    private static let closed = VecraftError(.unavailable, "the metadata store is closed", reason: "CLOSED")

    private static func prepare(_ database: Database, history: Int) throws -> Revision {
        let application = try Int.fetchOne(database, sql: "PRAGMA application_id") ?? 0
        let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
        let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") ?? 0
        if tables == 0 {
            try database.execute(
                sql: """
                    PRAGMA application_id = \(Self.applicationID);
                    PRAGMA user_version = \(Self.formatVersion);
                    CREATE TABLE entry (
                        key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, created INTEGER NOT NULL,
                        modified INTEGER NOT NULL, lease INTEGER
                    ) WITHOUT ROWID;
                    CREATE TABLE change (
                        revision INTEGER PRIMARY KEY NOT NULL, key BLOB NOT NULL, value BLOB, created INTEGER NOT NULL,
                        lease INTEGER
                    );
                    CREATE INDEX entry_lease ON entry (lease) WHERE lease IS NOT NULL;
                    CREATE TABLE counter (revision INTEGER NOT NULL);
                    INSERT INTO counter VALUES (0);
                    """)
            return 0
        }
        guard application == Self.applicationID else {
            throw VecraftError(
                .failedPrecondition, "the file is a SQLite database, but no metadata store", reason: "NOT_METADATA")
        }
        guard version <= Self.formatVersion else {
            throw VecraftError(
                .failedPrecondition,
                "metadata format \(version) is newer than this release, which knows formats up to \(Self.formatVersion)",
                reason: "FORMAT_TOO_NEW")
        }
        // Small enough to be looked through whole at each start.
        let finding = try String.fetchOne(database, sql: "PRAGMA integrity_check(1)") ?? "no answer"
        guard finding == "ok" else { throw Self.damaged(finding) }
        let revision = try Self.revision(database)
        let newest = try Int64.fetchOne(
            database,
            sql:
                "SELECT max(coalesce((SELECT max(modified) FROM entry), 0), coalesce((SELECT max(revision) FROM change), 0))"
        )
        guard UInt64(exactly: newest ?? 0) == revision else {
            throw Self.damaged("the revisions do not fit each other")
        }
        if version == 1 {
            try database.execute(
                sql: """
                    ALTER TABLE entry ADD COLUMN lease INTEGER;
                    ALTER TABLE change ADD COLUMN lease INTEGER;
                    CREATE INDEX entry_lease ON entry (lease) WHERE lease IS NOT NULL;
                    PRAGMA user_version = \(Self.formatVersion);
                    """)
        }
        try Self.deleteKeys("lease IS NOT NULL", history: history, database)
        return try Self.revision(database)
    }

    private static func deleteKeys(_ condition: String, history: Int, _ database: Database) throws {
        let rows = try Row.fetchAll(
            database, sql: "SELECT key, value, created, modified, lease FROM entry WHERE \(condition) ORDER BY key")
        for entry in try rows.map(Self.entry(of:)) {
            _ = try Self.write(entry.key, nil, nil, over: entry, history: history, database)
        }
    }

    private static func damaged(_ what: String) -> VecraftError {
        VecraftError(.dataLoss, "the metadata store is damaged: \(what)", reason: MetadataDamage.reason)
    }

    private static func revision(_ database: Database) throws -> Revision {
        let row = try Row.fetchOne(try database.cachedStatement(sql: "SELECT revision FROM counter"))
        guard let row else { throw Self.damaged("it has no revision") }
        return try Self.revision(of: row, 0)
    }

    // Damage may have made any column of any type: what does not fit is an error.
    private static func revision(of row: Row, _ column: Int) throws -> Revision {
        guard let revision = UInt64(exactly: try row.decode(Int64.self, atIndex: column)) else {
            throw Self.damaged("a negative revision")
        }
        return revision
    }

    private static func key(of row: Row) throws -> String {
        guard let key = String(validating: try row.decode(Data.self, atIndex: 0), as: UTF8.self) else {
            throw Self.damaged("a key is not UTF-8")
        }
        return key
    }

    private static func entry(_ key: String, _ database: Database) throws -> MetadataEntry? {
        try Row.fetchOne(
            try database.cachedStatement(sql: "SELECT key, value, created, modified, lease FROM entry WHERE key = ?"),
            arguments: [Data(key.utf8)]
        ).map(Self.entry(of:))
    }

    private static func entry(of row: Row) throws -> MetadataEntry {
        MetadataEntry(
            key: try Self.key(of: row), value: [UInt8](try row.decode(Data.self, atIndex: 1)),
            created: try Self.revision(of: row, 2), modified: try Self.revision(of: row, 3),
            lease: try row.decode(Int64?.self, atIndex: 4).map { LeaseID(bitPattern: $0) })
    }

    /// Writes or deletes, and tells the history. Nil deletes.
    private func write(
        _ key: String, _ value: [UInt8]?, _ lease: LeaseID?, over present: MetadataEntry?, _ database: Database
    ) throws -> Revision {
        try Self.write(key, value, lease, over: present, history: self.history, database)
    }

    private static func write(
        _ key: String, _ value: [UInt8]?, _ lease: LeaseID?, over present: MetadataEntry?, history: Int,
        _ database: Database
    ) throws -> Revision {
        let revision = Int64(try Self.revision(database)) + 1
        let created = present.map { Int64($0.created) } ?? revision
        let name = Data(key.utf8)
        let bytes = value.map { Data($0) }
        let lease = lease.map { Int64(bitPattern: $0) }
        try database.cachedStatement(sql: "UPDATE counter SET revision = ?").execute(arguments: [revision])
        if let bytes {
            try database.cachedStatement(sql: "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)")
                .execute(arguments: [name, bytes, created, revision, lease])
        } else {
            try database.cachedStatement(sql: "DELETE FROM entry WHERE key = ?").execute(arguments: [name])
        }
        try database.cachedStatement(sql: "INSERT INTO change VALUES (?, ?, ?, ?, ?)")
            .execute(arguments: [revision, name, bytes, created, lease])
        // Revisions have no gaps, so this keeps exactly the newest `history`.
        try database.cachedStatement(sql: "DELETE FROM change WHERE revision <= ?")
            .execute(arguments: [revision - Int64(history)])
        return UInt64(revision)
    }

    /// The keys of a prefix as a range of bytes: from it, to before its successor.
    private static func range(_ prefix: String) -> (condition: String, arguments: StatementArguments) {
        let from = Data(prefix.utf8)
        // UTF-8 has no byte FF, so the last byte can always be raised.
        guard let last = from.last else { return ("key >= ?", [from]) }
        return ("key >= ? AND key < ?", [from, from.dropLast() + [last + 1]])
    }

    // Looked at on the database's own queue, where the closing is done too: GRDB's `read` of a closed database ends the process.
    private func checkOpen() throws {
        if self.signal.isClosed { throw Self.closed }
    }

    /// Nobody else has the connection meanwhile, so what is read is of one state.
    private func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws(VecraftError) -> T {
        do {
            return try await self.database.writeWithoutTransaction { database in
                try self.checkOpen()
                return try body(database)
            }
        } catch {
            throw Self.fault(error, self.path)
        }
    }

    private func change<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws(VecraftError) -> T
    {
        do {
            return try await self.database.writeWithoutTransaction { database in
                try self.transaction(database) { try body(database) }
            }
        } catch {
            throw Self.fault(error, self.path)
        }
    }

    private func transaction<T>(_ database: Database, _ body: () throws -> T) throws -> T {
        try self.checkOpen()
        var result: T?
        try database.inTransaction(.immediate) {
            result = try body()
            self.announce(try Self.revision(database), database)
            return .commit
        }
        // It is there if nothing was thrown.
        return result!
    }

    /// At the commit itself: a caller cancelled just after it must not keep watchers asleep.
    private func announce(_ revision: Revision, _ database: Database) {
        database.afterNextTransaction { _ in self.signal.advance(to: revision) }
    }

    private static func fault(_ error: any Error, _ path: String) -> VecraftError {
        switch error {
        case let error as VecraftError:
            return VecraftError(error.code, "\(path): \(error.message)", field: error.field, reason: error.reason)
        case is CancellationError: return VecraftError(.cancelled, "the call was cancelled")
        case let error as DatabaseError:
            let what = "\(path): \(error.message ?? error.resultCode.description)"
            switch error.resultCode {
            case .SQLITE_FULL: return VecraftError(.resourceExhausted, what, reason: "DISK_FULL")
            // Our statements are fixed, so one that the file makes no sense of speaks of the file.
            case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_ERROR, .SQLITE_SCHEMA, .SQLITE_CONSTRAINT, .SQLITE_MISMATCH,
                .SQLITE_FORMAT, .SQLITE_TOOBIG, .SQLITE_EMPTY:
                return VecraftError(.dataLoss, what, reason: MetadataDamage.reason)
            case .SQLITE_IOERR where error.extendedResultCode == .SQLITE_IOERR_SHORT_READ:
                return VecraftError(.dataLoss, what, reason: MetadataDamage.reason)
            case .SQLITE_BUSY, .SQLITE_LOCKED:
                return VecraftError(.failedPrecondition, "\(path) is in use by another process", reason: "IN_USE")
            case .SQLITE_INTERRUPT, .SQLITE_ABORT: return VecraftError(.cancelled, "the call was cancelled")
            case .SQLITE_MISUSE: return VecraftError(.unavailable, "\(path) is closed", reason: "CLOSED")
            default: return VecraftError(.unavailable, what)
            }
        case let error as RowDecodingError:
            return VecraftError(.dataLoss, "\(path): \(error)", reason: MetadataDamage.reason)
        default: return VecraftError(.unavailable, "\(path): \(error)")
        }
    }
}
