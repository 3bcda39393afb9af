package import Primitives

/// Counts the changes of one store, from 1; 0 is before the first. Every change has one of its own, except that all keys of
/// a lease may go at one.
package typealias Revision = UInt64

/// A key with its value, as of a revision.
package struct MetadataEntry: Sendable, Equatable {
    package let key: String
    package let value: [UInt8]
    /// When the key was last created; deleting and writing it again is a new creation.
    package let created: Revision
    /// When it was last written: what ``MetadataStore/compareAndSwap(_:expected:value:lease:)`` compares.
    package let modified: Revision
    /// The lease it goes with; nil: it stays until it is deleted.
    package let lease: LeaseID?

    package init(key: String, value: [UInt8], created: Revision, modified: Revision, lease: LeaseID? = nil) {
        self.key = key
        self.value = value
        self.created = created
        self.modified = modified
        self.lease = lease
    }
}

/// One change of one key.
package enum MetadataEvent: Sendable, Equatable {
    case put(MetadataEntry)
    case delete(key: String, revision: Revision)

    package var key: String {
        switch self {
        case .put(let entry): entry.key
        case .delete(let key, _): key
        }
    }
    package var revision: Revision {
        switch self {
        case .put(let entry): entry.modified
        case .delete(_, let revision): revision
        }
    }
}

/// A key with what it is to be; nil deletes it.
package struct MetadataChange: Sendable, Equatable {
    package let key: String
    package let value: [UInt8]?
    package init(_ key: String, _ value: [UInt8]?) {
        self.key = key
        self.value = value
    }
}

/// What a compare-and-swap came to.
package enum MetadataSwap: Sendable, Equatable {
    case swapped(Revision)
    /// Nothing was changed; this is what is there instead of what was expected.
    case conflict(MetadataEntry?)
}

/// All keys under a prefix at one revision.
package struct MetadataListing: Sendable, Equatable {
    /// The store's revision when the list was read: watch from here to miss nothing.
    package let revision: Revision
    /// In order of their keys' bytes.
    package let entries: [MetadataEntry]

    package init(revision: Revision, entries: [MetadataEntry]) {
        self.revision = revision
        self.entries = entries
    }
}

/// Where the cluster keeps what it agrees on: small keys and values, changed one at a time, watched by everyone.
///
/// Linearizable. A returned change is durable. The contract is a test suite (`MetadataStoreContract`) that each
/// implementation passes.
///
/// Keys are 1 to 1,024 bytes of UTF-8 without NUL and values at most 1 MiB; otherwise `.invalidArgument`. A full disk
/// is `.resourceExhausted` reason `DISK_FULL`; a store that cannot be asked now is `.unavailable`, reason `OUTCOME_UNKNOWN` if
/// a change may have been made all the same, and reason `CLOSED` if it is closed for good; one that lost data is `.dataLoss`. A
/// lease that is not held any more is `.failedPrecondition` reason `LEASE_LOST`.
package protocol MetadataStore: Sendable {
    func get(_ key: String) async throws(VecraftError) -> MetadataEntry?

    /// Writes whatever was there. Returns the change's revision.
    /// - Parameter lease: The key goes with it; nil: the key stays, also if it had a lease before.
    func put(_ key: String, _ value: [UInt8], lease: MetadataLease?) async throws(VecraftError) -> Revision

    /// Returns the change's revision, or nil if there was nothing to delete.
    func delete(_ key: String) async throws(VecraftError) -> Revision?

    /// Changes a key only if it is as expected.
    /// - Parameters:
    ///   - expected: The ``MetadataEntry/modified`` it must have; nil: it must not exist.
    ///   - value: Nil deletes.
    ///   - lease: As of ``put(_:_:lease:)``.
    func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?, lease: MetadataLease?
    ) async throws(VecraftError) -> MetadataSwap

    /// Changes several keys at once, if one of them is as expected; else none.
    /// - Parameters:
    ///   - key: The one that is compared; it must be among the changes, and its revision is the one returned.
    ///   - expected: As of ``compareAndSwap(_:expected:value:lease:)``.
    ///   - changes: 1 to ``MetadataLimits/transactionKeys`` different keys, with values of 1 MiB in sum. The keys have one revision in
    ///     common, or follow each other with nothing between, the compared one last.
    func transact(
        _ key: String, expected: Revision?, changes: [MetadataChange]
    ) async throws(VecraftError) -> MetadataSwap

    /// All keys that begin with `prefix`; the empty prefix is every key.
    /// - Throws: `.resourceExhausted` reason `LISTING_TOO_LARGE` beyond ``MetadataLimits/listingBytes``.
    func list(prefix: String) async throws(VecraftError) -> MetadataListing

    /// Every later change of a key that begins with `prefix`, once each, in order of revision, without end.
    ///
    /// The usual way: ``list(prefix:)``, then watch from the listing's revision. A store that cannot be asked for a while
    /// delays a watch and does not end it. When a watch ends, all changes of the last revision it gave were given.
    /// - Parameter after: The last revision already seen. The sequence ends with `.outOfRange` reason `COMPACTED` if
    ///   changes since then are no longer kept: list again, and watch from there.
    func watch(prefix: String, after: Revision) -> MetadataWatch

    /// A lease that keeps itself alive until it is revoked, lost, or dropped by all who hold it.
    /// - Parameter ttl: How long after the holder's last sign of life its keys go, at the earliest:
    ///   ``MetadataLimits/leaseTTL``. A store may round up.
    func grantLease(ttl: Duration) async throws(VecraftError) -> MetadataLease
}

extension MetadataStore {
    package func put(_ key: String, _ value: [UInt8]) async throws(VecraftError) -> Revision {
        try await self.put(key, value, lease: nil)
    }

    package func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?
    ) async throws(VecraftError) -> MetadataSwap {
        try await self.compareAndSwap(key, expected: expected, value: value, lease: nil)
    }
}

/// Limits that every store has alike, so that what works embedded works on a cluster.
package enum MetadataLimits {
    package static let keyBytes = 1_024
    /// Below etcd's default request limit of 1.5 MiB.
    package static let valueBytes = 1 << 20
    /// Keys and values of one listing: what a reader can be asked to hold at once.
    package static let listingBytes = 256 << 20
    /// Shorter ones would be lost to a busy machine, longer ones keep the dead alive.
    package static let leaseTTL: ClosedRange<Duration> = .seconds(1) ... .seconds(3_600)

    package static func check(key: String) throws(VecraftError) {
        guard (1...Self.keyBytes).contains(key.utf8.count) else {
            throw .invalid("key", "has \(key.utf8.count) bytes, not 1 to \(Self.keyBytes)")
        }
        guard !key.utf8.contains(0) else { throw .invalid("key", "contains a NUL") }
    }

    /// Half of what etcd takes by default.
    package static let transactionKeys = 64

    /// Before a transaction on `key`.
    package static func check(_ changes: [MetadataChange], of key: String) throws(VecraftError) {
        guard (1...Self.transactionKeys).contains(changes.count) else {
            throw .invalid("changes", "are \(changes.count), not 1 to \(Self.transactionKeys)")
        }
        guard Set(changes.map(\.key)).count == changes.count else { throw .invalid("changes", "name a key twice") }
        guard changes.contains(where: { $0.key == key }) else { throw .invalid("changes", "lack the key that is compared") }
        for change in changes { try Self.check(key: change.key) }
        let bytes = changes.reduce(0) { $0 + ($1.value?.count ?? 0) }
        guard bytes <= Self.valueBytes else {
            throw .invalid("changes", "have values of \(bytes) bytes, more than \(Self.valueBytes)")
        }
    }

    package static func check(value: [UInt8]?) throws(VecraftError) {
        guard (value?.count ?? 0) <= Self.valueBytes else {
            throw .invalid("value", "has \(value?.count ?? 0) bytes, more than \(Self.valueBytes)")
        }
    }
    package static func check(ttl: Duration) throws(VecraftError) {
        guard Self.leaseTTL.contains(ttl) else {
            throw .invalid("ttl", "is \(ttl), not \(Self.leaseTTL.lowerBound) to \(Self.leaseTTL.upperBound)")
        }
    }

    /// Before a key is written with a lease.
    package static func check(lease: MetadataLease?) throws(VecraftError) {
        if let lease, !lease.isHeld { throw MetadataLease.lost }
    }

    package static func listingTooLarge(_ prefix: String) -> VecraftError {
        VecraftError(
            .resourceExhausted, "the keys under \"\(prefix)\" take more than \(Self.listingBytes) bytes",
            reason: "LISTING_TOO_LARGE")
    }
}
