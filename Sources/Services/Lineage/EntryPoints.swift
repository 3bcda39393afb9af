internal import Filter
internal import JournalFormat
internal import Primitives
internal import Wire

/// What an entry did to points, for people to read.
enum EntryPoints {
    /// Counts the points an entry names, and lists up to `listing` of them.
    static func describe(
        _ entry: EntryView, listing: Int, withValues: Bool = false, into made: inout VecraftV1.LineageEntry
    ) throws(DecodingFault) {
        switch entry.operation {
        case .upsert:
            var body = try UpsertBody(entry.body)
            made.pointCount = UInt64(body.count)
            while made.points.count < listing, let point = try body.next() {
                made.points.append(Self.change(point, withValues: withValues))
            }
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

    static func change(_ point: PointView, withValues: Bool = false) -> VecraftV1.PointChange {
        var change = VecraftV1.PointChange(id: String(decoding: point.id, as: UTF8.self), operation: "upsert")
        if let payload = point.payload { change.payload = VecraftV1.Payload(json: [UInt8](payload)) }
        point.forEachVector { name, values in
            let name = String(decoding: name, as: UTF8.self)
            change.vectors[name] = UInt32(values.count)
            if withValues { change.values[name] = VecraftV1.Vector(values: Array(values)) }
        }
        return change
    }

    static func filter(_ entry: EntryView) throws(DecodingFault) -> Filter {
        var reader = ByteReader(DeleteByFilterBody(entry.body).filter)
        return try Filter(decoding: &reader)
    }
}
