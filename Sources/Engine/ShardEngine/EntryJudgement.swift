internal import Filter
package import JournalFormat
package import Primitives

/// Whether an entry can be applied, decided without applying it: a function of entry and schema alone, so every replica
/// decides alike. ``ShardEngine/apply(_:through:)`` takes exactly what passes here.
package enum EntryJudgement {
    /// Reason of the error that ``ShardEngine/apply(_:through:)`` throws for an entry that is refused here.
    package static let reason = "INVALID_ENTRY"

    /// - Parameter schema: Of the collection the entry names.
    /// - Returns: What is wrong; nil if nothing is. Kinds without points have nothing to be wrong.
    package static func refusal(_ entry: EntryView, _ schema: CollectionSchema) -> String? {
        do throws(EntryRefusal) {
            switch entry.operation {
            case .upsert: try Self.checkUpsert(entry.body, schema)
            case .delete: try Self.checkDelete(entry.body)
            case .deleteByFilter: _ = try Self.filter(entry)
            case .ddl, .configuration, .barrier, .decision, .payloadPatch, .transactionPrepare, .transactionCommit,
                .transactionAbort:
                break
            }
            return nil
        } catch {
            return error.what
        }
    }

    /// The filter of a delete by filter.
    static func filter(_ entry: EntryView) throws(EntryRefusal) -> Filter {
        do throws(DecodingFault) {
            var reader = ByteReader(DeleteByFilterBody(entry.body).filter)
            let filter = try Filter(decoding: &reader)
            guard reader.remaining == 0 else {
                throw DecodingFault(position: reader.position, what: "bytes behind the filter")
            }
            return filter
        } catch {
            throw EntryRefusal("\(error)")
        }
    }

    private static func checkDelete(_ raw: UnsafeRawBufferPointer) throws(EntryRefusal) {
        do {
            var body = try DeleteBody(raw)
            while let id = try body.next() {
                guard id.count > 0 else { throw EntryRefusal("an empty id") }
            }
        } catch {
            throw EntryRefusal(error)
        }
    }

    private static func checkUpsert(_ raw: UnsafeRawBufferPointer, _ schema: CollectionSchema) throws(EntryRefusal) {
        do {
            var body = try UpsertBody(raw)
            while let point = try body.next() {
                try Self.checkText(point)
                var seen = Set<Int>()
                try point.forEachVector { (name, values) throws(EntryRefusal) in
                    try Self.check(String(decoding: name, as: UTF8.self), values, schema, &seen)
                }
            }
        } catch {
            throw EntryRefusal(error)
        }
    }

    /// Id and payload of a point.
    static func checkText(_ point: PointView) throws(EntryRefusal) {
        guard (1...Limits.idBytes).contains(point.id.count) else {
            throw EntryRefusal("an id of \(point.id.count) bytes")
        }
        guard let payload = point.payload else { return }
        // Together with the id it must fit a segment of any size.
        guard payload.count <= Limits.payloadBytes else { throw EntryRefusal("a payload of \(payload.count) bytes") }
        do throws(VecraftError) {
            try JSONScanner.validateObject(payload, maxDepth: Limits.payloadDepth)
        } catch {
            throw EntryRefusal("a payload that is refused: \(error.message)")
        }
    }

    private static func check(
        _ name: String, _ values: UnsafeBufferPointer<Float>, _ schema: CollectionSchema, _ seen: inout Set<Int>
    ) throws(EntryRefusal) {
        guard let index = schema.vectorIndex(name) else {
            throw EntryRefusal("a vector \"\(name.prefix(64))\" that the collection does not have")
        }
        let vector = schema.vectors[index]
        guard values.count == vector.dimension else {
            throw EntryRefusal("vector \"\(name)\" of \(values.count) components, not \(vector.dimension)")
        }
        guard seen.insert(index).inserted else { throw EntryRefusal("vector \"\(name)\" given twice") }
        guard let start = values.baseAddress, ExactArithmetic.isFinite(start, values.count) else {
            throw EntryRefusal("vector \"\(name)\" has a component that is not finite")
        }
        guard vector.metric != .cosine || values.contains(where: { $0 != 0 }) else {
            throw EntryRefusal("vector \"\(name)\" has no direction")
        }
    }
}

/// What is wrong with an entry.
struct EntryRefusal: Error {
    let what: String

    init(_ what: String) { self.what = what }
    init(_ error: any Error) { self.what = (error as? EntryRefusal)?.what ?? "\(error)" }
}
