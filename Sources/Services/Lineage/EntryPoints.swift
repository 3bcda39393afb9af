internal import Filter
internal import JournalFormat
internal import Primitives
internal import ShardEngine
internal import Wire

/// What an entry did to points, for people to read.
enum EntryPoints {
    /// Counts the points an entry names, and lists up to `listing` of them.
    static func describe(
        _ entry: EntryView, listing: Int, into made: inout VecraftV1.LineageEntry
    ) throws(DecodingFault) {
        switch entry.operation {
        case .upsert:
            var body = try UpsertBody(entry.body)
            made.pointCount = UInt64(body.count)
            while made.points.count < listing, let point = try body.next() { made.points.append(Self.change(point)) }
        case .delete:
            var body = try DeleteBody(entry.body)
            made.pointCount = UInt64(body.count)
            while made.points.count < listing, let id = try body.next() {
                made.points.append(
                    VecraftV1.PointChange(id: String(decoding: id, as: UTF8.self), operation: "delete"))
            }
        case .deleteByFilter:
            let filter = try Self.filter(entry)
            made.filterJSON = String(decoding: filter.json.encoded(), as: UTF8.self)
        case .decision: made.decisionJSON = String(decoding: entry.body, as: UTF8.self)
        default:
            break
        }
    }

    static func change(_ point: PointView) -> VecraftV1.PointChange {
        var change = VecraftV1.PointChange(id: String(decoding: point.id, as: UTF8.self), operation: "upsert")
        if let payload = point.payload { change.payload = VecraftV1.Payload(json: [UInt8](payload)) }
        point.forEachVector { name, values in
            change.vectors[String(decoding: name, as: UTF8.self)] = UInt32(values.count)
        }
        return change
    }

    static func filter(_ entry: EntryView) throws(DecodingFault) -> Filter {
        var reader = ByteReader(DeleteByFilterBody(entry.body).filter)
        return try Filter(decoding: &reader)
    }
}

/// Follows one point through the log, so that a delete by filter is known to have hit it or not.
struct RecordHistory {
    private let id: String
    private let utf8: [UInt8]
    /// The point's payload as it stands; outer nil: the point does not exist.
    private var payload: [UInt8]??
    /// HLC of the entry that the stored point came from; 0 when there is none.
    private(set) var currentVersion: UInt64 = 0

    init(id: String, utf8: [UInt8]) {
        self.id = id
        self.utf8 = utf8
        self.payload = .none
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
        // The last of an id counts, so the whole entry is read.
        while let point = try body.next() {
            guard self.isWanted(point.id) else { continue }
            found = EntryPoints.change(point)
            self.payload = .some(point.payload.map { [UInt8]($0) })
        }
        if found != nil { self.currentVersion = entry.hlc.rawValue }
        return found
    }

    private mutating func delete(_ entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        var body = try DeleteBody(entry.body)
        while let id = try body.next() {
            if self.isWanted(id) { return self.gone() }
        }
        return nil
    }

    private mutating func deleteByFilter(_ entry: EntryView) throws(DecodingFault) -> VecraftV1.PointChange? {
        guard case .some(let payload) = self.payload else { return nil }
        let filter = try EntryPoints.filter(entry)
        let matches = payload.map { bytes in bytes.withUnsafeBytes { filter.matches(id: self.id, payload: $0) } }
            ?? filter.matches(id: self.id, payload: nil)
        return matches ? self.gone() : nil
    }

    private mutating func gone() -> VecraftV1.PointChange {
        self.payload = .none
        self.currentVersion = 0
        return VecraftV1.PointChange(id: self.id, operation: "delete")
    }

    private func isWanted(_ id: UnsafeRawBufferPointer) -> Bool {
        self.utf8.withUnsafeBytes { RawBytes.equal(id, $0) }
    }
}
