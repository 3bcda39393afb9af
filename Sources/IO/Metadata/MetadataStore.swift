package import Primitives

/// Counts the changes of one store, from 1; 0 is before the first. Every change has one of its own.
package typealias Revision = UInt64

/// A key with its value, as of a revision.
package struct MetadataEntry: Sendable, Equatable {
    package let key: String
    package let value: [UInt8]
    /// When the key was last created; deleting and writing it again is a new creation.
    package let created: Revision
    /// When it was last written: what ``MetadataStore/compareAndSwap(_:expected:value:)`` compares.
    package let modified: Revision

    package init(key: String, value: [UInt8], created: Revision, modified: Revision) {
        self.key = key
        self.value = value
        self.created = created
        self.modified = modified
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
/// is `.resourceExhausted` reason `DISK_FULL`; a store that cannot be asked now is `.unavailable`; one that lost data
/// is `.dataLoss`.
package protocol MetadataStore: Sendable {
    func get(_ key: String) async throws(VecraftError) -> MetadataEntry?

    /// Writes whatever was there. Returns the change's revision.
    func put(_ key: String, _ value: [UInt8]) async throws(VecraftError) -> Revision

    /// Returns the change's revision, or nil if there was nothing to delete.
    func delete(_ key: String) async throws(VecraftError) -> Revision?

    /// Changes a key only if it is as expected.
    /// - Parameters:
    ///   - expected: The ``MetadataEntry/modified`` it must have; nil: it must not exist.
    ///   - value: Nil deletes.
    func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?
    ) async throws(VecraftError) -> MetadataSwap

    /// All keys that begin with `prefix`; the empty prefix is every key.
    func list(prefix: String) async throws(VecraftError) -> MetadataListing

    /// Every later change of a key that begins with `prefix`, once each, in order of revision, without end.
    ///
    /// The usual way: ``list(prefix:)``, then watch from the listing's revision.
    /// - Parameter after: The last revision already seen. The sequence ends with `.outOfRange` reason `COMPACTED` if
    ///   changes since then are no longer kept: list again, and watch from there.
    func watch(prefix: String, after: Revision) -> MetadataWatch
}

/// A watch's changes. Each iterator starts over from the revision the watch was made with.
///
/// Pulls: a slow reader costs nothing but its own delay, since changes wait in the store, not in a queue.
package struct MetadataWatch: AsyncSequence, Sendable {
    /// Gives the next few changes after a revision, waiting until there is one, and the revision to go on from.
    package typealias Pull =
        @Sendable (_ after: Revision) async throws(VecraftError) -> (events: [MetadataEvent], through: Revision)

    private let after: Revision
    private let pull: Pull

    package init(after: Revision, pull: @escaping Pull) {
        self.after = after
        self.pull = pull
    }

    package func makeAsyncIterator() -> Iterator { Iterator(after: self.after, pull: self.pull) }

    package struct Iterator: AsyncIteratorProtocol {
        private var after: Revision
        private var waiting: ArraySlice<MetadataEvent> = []
        private let pull: Pull

        fileprivate init(after: Revision, pull: @escaping Pull) {
            self.after = after
            self.pull = pull
        }

        /// Nil only when the task is cancelled.
        package mutating func next(
            isolation: isolated (any Actor)? = #isolation
        ) async throws(VecraftError) -> MetadataEvent? {
            while self.waiting.isEmpty {
                if Task.isCancelled { return nil }
                let pulled: (events: [MetadataEvent], through: Revision)
                do throws(VecraftError) {
                    pulled = try await self.pull(self.after)
                } catch {
                    if error.code == .cancelled, Task.isCancelled { return nil }
                    throw error
                }
                self.waiting = pulled.events[...]
                self.after = pulled.through
            }
            return self.waiting.popFirst()
        }
    }
}

/// Limits that every store has alike, so that what works embedded works on a cluster.
package enum MetadataLimits {
    package static let keyBytes = 1_024
    /// Below etcd's default request limit of 1.5 MiB.
    package static let valueBytes = 1 << 20

    package static func check(key: String) throws(VecraftError) {
        guard (1...Self.keyBytes).contains(key.utf8.count) else {
            throw .invalid("key", "has \(key.utf8.count) bytes, not 1 to \(Self.keyBytes)")
        }
        guard !key.utf8.contains(0) else { throw .invalid("key", "contains a NUL") }
    }

    package static func check(value: [UInt8]?) throws(VecraftError) {
        guard (value?.count ?? 0) <= Self.valueBytes else {
            throw .invalid("value", "has \(value?.count ?? 0) bytes, more than \(Self.valueBytes)")
        }
    }
}
