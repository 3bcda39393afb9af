internal import Filter
internal import JournalFormat
internal import Primitives
internal import ShardEngine
internal import Wire

/// Follows one point through the log, so that a delete by filter is known to have hit it or not, and each version says what it changed.
struct RecordHistory {
    private struct Version {
        var payload: [UInt8]?
        var vectors: [String: [Float]]
    }

    private let id: String
    private let utf8: [UInt8]
    private let withValues: Bool
    /// As it stands; nil: the point does not exist.
    private var stored: Version?
    /// What stands is known: from the first entry that wrote the point, or from the journal's beginning.
    private var isKnown: Bool
    /// HLC of the entry that the stored point came from; 0 when there is none.
    private(set) var currentVersion: UInt64 = 0

    /// - Parameter fromTheBeginning: The entries that follow are all that ever were; else those before the first upsert or delete of the
    ///   point are passed over.
    init(id: String, fromTheBeginning: Bool, withValues: Bool) {
        self.id = id
        self.utf8 = Array(id.utf8)
        self.isKnown = fromTheBeginning
        self.withValues = withValues
    }

    /// What the entry did to the point; nil if nothing, as when replicas passed over it.
    mutating func change(by entry: EntryView, _ schema: CollectionSchema) -> VecraftV1.PointChange? {
        var after = self
        let change: VecraftV1.PointChange?
        do throws(DecodingFault) { change = try after.change(by: entry) } catch { return nil }
        // Judging costs as much as applying: only where it makes a difference.
        guard let change, EntryJudgement.refusal(entry, schema) == nil else { return nil }
        self = after
        return change
    }

    private mutating func change(by entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        switch entry.operation {
        case .upsert: try self.upsert(entry)
        case .delete: try self.delete(entry)
        case .deleteByFilter: try self.deleteByFilter(entry)
        default: nil
        }
    }

    private mutating func upsert(_ entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        var body = try UpsertBody(entry.body)
        var found: VecraftV1.PointChange?
        var now: Version?
        // The last of an id counts, so the whole entry is read.
        while let point = try body.next() {
            guard self.isWanted(point.id) else { continue }
            found = EntryPoints.change(point, withValues: self.withValues)
            var vectors: [String: [Float]] = [:]
            point.forEachVector { name, values in vectors[String(decoding: name, as: UTF8.self)] = Array(values) }
            now = Version(payload: point.payload.map { [UInt8]($0) }, vectors: vectors)
        }
        guard let now, var change = found else { return nil }
        if let before = self.stored {
            change.payloadChanges = PayloadDifference.between(before.payload, now.payload)
            change.vectorChanges = Self.differences(before.vectors, now.vectors)
        }
        self.stored = now
        self.isKnown = true
        self.currentVersion = entry.hlc.rawValue
        return change
    }

    private mutating func delete(_ entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        var body = try DeleteBody(entry.body)
        while let id = try body.next() {
            if self.isWanted(id) { return self.gone() }
        }
        return nil
    }

    private mutating func deleteByFilter(_ entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        guard self.isKnown, let stored = self.stored else { return nil }
        let filter = try EntryPoints.filter(entry)
        let matches =
            stored.payload.map { bytes in bytes.withUnsafeBytes { filter.matches(id: self.id, payload: $0) } }
            ?? filter.matches(id: self.id, payload: nil)
        return matches ? self.gone() : nil
    }

    private mutating func gone() -> VecraftV1.PointChange {
        self.stored = nil
        self.isKnown = true
        self.currentVersion = 0
        return VecraftV1.PointChange(id: self.id, operation: "delete")
    }

    private func isWanted(_ id: UnsafeRawBufferPointer) -> Bool {
        self.utf8.withUnsafeBytes { RawBytes.equal(id, $0) }
    }

    private static func differences(_ before: [String: [Float]], _ now: [String: [Float]]) -> [VecraftV1.VectorChange] {
        var changes: [VecraftV1.VectorChange] = []
        for name in Set(before.keys).union(now.keys).sorted() {
            let (old, new) = (before[name], now[name])
            var change = VecraftV1.VectorChange(
                name: name, dimensionBefore: UInt32(old?.count ?? 0), dimension: UInt32(new?.count ?? 0))
            if let old, let new, old.count == new.count {
                change.changedComponents = UInt32(zip(old, new).count { $0.bitPattern != $1.bitPattern })
                if change.changedComponents == 0 { continue }
                (change.distance, change.cosineSimilarity) = Self.compare(old, new)
            }
            changes.append(change)
        }
        return changes
    }

    private static func compare(_ a: [Float], _ b: [Float]) -> (distance: Double, cosine: Double) {
        var square = 0.0
        var dot = 0.0
        var (aa, bb) = (0.0, 0.0)
        for (x, y) in zip(a, b) {
            let (x, y) = (Double(x), Double(y))
            square += (x - y) * (x - y)
            dot += x * y
            aa += x * x
            bb += y * y
        }
        let lengths = (aa * bb).squareRoot()
        return (square.squareRoot(), lengths > 0 ? min(1, max(-1, dot / lengths)) : 0)
    }
}
