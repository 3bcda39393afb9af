internal import Primitives

/// What a question of lineage asks for, as 64 bits: entries that have it are candidates, and are read to be sure.
package struct LineageKey: Hashable, Sendable {
    package let hash: UInt64

    /// Entries that name a point.
    package static func point(collection: UInt64, id: UnsafeRawBufferPointer) -> LineageKey {
        var hash = StableHash(seed: 1)
        hash.combine(collection)
        hash.combine(id)
        return LineageKey(hash: hash.finish())
    }

    package static func point(collection: UInt64, id: String) -> LineageKey {
        var id = id
        return id.withUTF8 { Self.point(collection: collection, id: UnsafeRawBufferPointer($0)) }
    }

    package static func request(_ id: UnsafeRawBufferPointer) -> LineageKey {
        LineageKey(hash: StableHash.of(id, seed: 2))
    }

    package static func request(_ id: String) -> LineageKey {
        var id = id
        return id.withUTF8 { Self.request(UnsafeRawBufferPointer($0)) }
    }

    package static func trace(high: UInt64, low: UInt64) -> LineageKey {
        var hash = StableHash(seed: 3)
        hash.combine(high)
        hash.combine(low)
        return LineageKey(hash: hash.finish())
    }

    /// Deletes by filter of a collection: each may have hit any point.
    package static func sweep(collection: UInt64) -> LineageKey {
        var hash = StableHash(seed: 4)
        hash.combine(collection)
        return LineageKey(hash: hash.finish())
    }
}

extension EntryView {
    /// Every key under which this entry must be found; some may come twice.
    ///
    /// A body that cannot be read names no points: replicas pass over it as well.
    package func forEachLineageKey(_ take: (LineageKey) -> Void) {
        let request = self.requestID
        if request.count > 0 { take(.request(request)) }
        let trace = self.trace
        if trace.traceHigh | trace.traceLow != 0 { take(.trace(high: trace.traceHigh, low: trace.traceLow)) }
        let collection = self.collection
        switch self.operation {
        case .upsert:
            guard var body = try? UpsertBody(self.body) else { return }
            while let point = try? body.next() { take(.point(collection: collection, id: point.id)) }
        case .delete:
            guard var body = try? DeleteBody(self.body) else { return }
            while let id = try? body.next() { take(.point(collection: collection, id: id)) }
        case .deleteByFilter: take(.sweep(collection: collection))
        default: break
        }
    }
}
