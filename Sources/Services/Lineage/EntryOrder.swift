internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Primitives

/// Entries of several partitions in one order: (HLC, partition, offset).
struct EntryOrder {
    private struct Cursor {
        let partition: PartitionID
        var next: JournalOffset
        var batch: EntryBatch?
        var index = 0
    }
    private let journal: any JournalClient
    private var cursors: [Cursor]
    /// Entries that were taken out.
    private(set) var scanned: UInt64 = 0
    private static let batchBytes = 1 << 20

    /// - Parameter starts: The first offset of each partition that is wanted; sorted by partition.
    init(_ journal: any JournalClient, starts: [(PartitionID, JournalOffset)]) {
        self.journal = journal
        self.cursors = starts.map { Cursor(partition: $0.0, next: $0.1) }
    }

    /// Where each partition goes on.
    var position: [(PartitionID, JournalOffset)] { self.cursors.map { ($0.partition, $0.next) } }

    /// The HLC below which no entry can come any more that is not here: what is above is not in order yet.
    static func closed(_ journal: any JournalClient, _ partitions: [PartitionID]) throws(VecraftError) -> HLCTimestamp {
        var closed = HLCTimestamp(rawValue: .max)
        for partition in partitions { closed = min(closed, try journal.position(partition).closed) }
        return closed
    }

    /// The next entry with an HLC below `end`; nil if there is none.
    ///
    /// - Parameters:
    ///   - end: At most what is ``closed(_:_:)``.
    ///   - body: Gets the entry in place.
    mutating func next<R>(
        below end: HLCTimestamp, _ body: (EntryView) throws(VecraftError) -> R
    ) throws(VecraftError) -> R? {
        var best: (index: Int, hlc: HLCTimestamp)?
        for i in self.cursors.indices {
            guard let hlc = try self.head(i), hlc < end else { continue }
            if let known = best, known.hlc <= hlc { continue }
            best = (i, hlc)
        }
        guard let best, let batch = self.cursors[best.index].batch else { return nil }
        let index = self.cursors[best.index].index
        self.cursors[best.index].index += 1
        self.cursors[best.index].next += 1
        self.scanned += 1
        return try withExtendedLifetime(batch) { () throws(VecraftError) in try body(batch.view(index)) }
    }

    private mutating func head(_ i: Int) throws(VecraftError) -> HLCTimestamp? {
        if let batch = self.cursors[i].batch, self.cursors[i].index < batch.count {
            return withExtendedLifetime(batch) { batch.view(self.cursors[i].index).hlc }
        }
        self.cursors[i].batch = nil
        let batch = try self.journal.read(
            self.cursors[i].partition, from: self.cursors[i].next, maxBytes: Self.batchBytes)
        guard !batch.isEmpty else { return nil }
        self.cursors[i].batch = batch
        self.cursors[i].index = 0
        return withExtendedLifetime(batch) { batch.view(0).hlc }
    }
}

/// Which entries are wanted.
struct EntrySelection {
    var tenant: [UInt8] = []
    var collection: UInt64 = 0
    var operations: Set<UInt8> = []
    var principal: [UInt8] = []
    /// Of what a token was made for.
    private(set) var hash: UInt64 = 0

    init(tenant: String, collection: UInt64, operations: [String], principal: String) throws(VecraftError) {
        self.tenant = Array(tenant.utf8)
        self.collection = collection
        self.principal = Array(principal.utf8)
        for name in operations {
            guard let kind = OperationKind.allCases.first(where: { $0.name == name }) else {
                throw .invalid(
                    "operations",
                    "\"\(name.prefix(64))\" is none of \(OperationKind.allCases.map(\.name).joined(separator: ", "))")
            }
            self.operations.insert(kind.rawValue)
        }
        var hash = StableHash(seed: 5)
        for part in [tenant, principal] + operations.sorted() { hash.combine(StableHash.of(part)) }
        hash.combine(collection)
        self.hash = hash.finish()
    }

    func wants(_ entry: EntryView) -> Bool {
        if !self.operations.isEmpty, !self.operations.contains(entry.operation.rawValue) { return false }
        if self.collection != 0, entry.collection != self.collection, !self.isSchemaChange(entry) { return false }
        if !self.tenant.isEmpty, !self.tenant.withUnsafeBytes({ RawBytes.equal(entry.tenant, $0) }) { return false }
        return self.principal.isEmpty || self.principal.withUnsafeBytes { RawBytes.equal(entry.principal, $0) }
    }

    /// A collection's making and end belong to its story; they are entries of `sys-0` that name it in their body, or by their HLC.
    private func isSchemaChange(_ entry: EntryView) -> Bool {
        guard entry.operation == .ddl, let change = try? DDLBody(entry.body) else { return false }
        switch change {
        case .create: return entry.hlc.rawValue == self.collection
        case .drop(let collection): return collection == self.collection
        case .update(let update): return update.collection == self.collection
        }
    }
}
