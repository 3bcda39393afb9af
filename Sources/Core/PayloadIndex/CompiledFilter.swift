package import Filter
package import Primitives

/// A filter made ready for the segments of a collection: paths split, values sorted, fields resolved to index columns.
///
/// Compile once a query; it serves every segment with the same indexed fields (others compile anew by themselves).
package struct CompiledFilter: Sendable {
    package let filter: Filter
    /// Fields looked at that have no index, sorted: filtering on them reads payloads.
    package let unindexed: [String]
    let fingerprint: UInt64
    let root: Group

    struct Group: Sendable {
        var must: [Node] = []
        var should: [Node] = []
        var mustNot: [Node] = []
        /// Something in it has no index.
        var readsPayload: Bool { (self.must + self.should + self.mustNot).contains { $0.readsPayload } }
    }

    enum Node: Sendable {
        case test(FieldTest)
        case ids([String], TextSet)
        indirect case group(Group, readsPayload: Bool)

        var readsPayload: Bool {
            switch self {
            case .test(let test): test.column == nil
            case .ids: false
            case .group(_, let readsPayload): readsPayload
            }
        }
    }

    /// - Parameters:
    ///   - filter: Validated.
    ///   - fields: The collection's payload indexes.
    package init(_ filter: Filter, fields: [PayloadIndexField]) {
        self.filter = filter
        self.fingerprint = SegmentPayloadIndex.fingerprint(of: fields)
        let indexed = Set(fields.map(\.path))
        self.unindexed = filter.keys.filter { !indexed.contains($0) }
        self.root = Self.compile(filter, fields)
    }

    private static func compile(_ filter: Filter, _ fields: [PayloadIndexField]) -> Group {
        // What reads payloads comes last: by then few candidates are left.
        func nodes(_ conditions: [Filter.Condition]) -> [Node] {
            let all = conditions.map { Self.compile($0, fields) }
            return all.filter { !$0.readsPayload } + all.filter(\.readsPayload)
        }
        return Group(must: nodes(filter.must), should: nodes(filter.should), mustNot: nodes(filter.mustNot))
    }

    private static func compile(_ condition: Filter.Condition, _ fields: [PayloadIndexField]) -> Node {
        switch condition {
        case .match(let key, let value): return .test(FieldTest(key, .any(ScalarSet([value])), fields))
        case .matchAny(let key, let values): return .test(FieldTest(key, .any(ScalarSet(values)), fields))
        case .matchExcept(let key, let values):
            let none = Group(mustNot: [.test(FieldTest(key, .any(ScalarSet(values)), fields))])
            return .group(none, readsPayload: none.readsPayload)
        case .range(let key, let range): return .test(FieldTest(key, .range(range), fields))
        case .isNull(let key): return .test(FieldTest(key, .isNull, fields))
        case .hasID(let ids): return .ids(ids, TextSet(ids))
        case .filter(let inner):
            let group = Self.compile(inner, fields)
            return .group(group, readsPayload: group.readsPayload)
        }
    }

    /// The filter's answer for one point, by reading its payload: for a walk that asks about few points.
    ///
    /// - Parameters:
    ///   - id: UTF-8.
    ///   - payload: A valid JSON object, or nil.
    package func matches(id: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?) -> Bool {
        self.root.matches(id: id, payload: payload)
    }
}

extension CompiledFilter.Group {
    func matches(id: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?) -> Bool {
        self.must.allSatisfy { $0.matches(id: id, payload: payload) }
            && (self.should.isEmpty || self.should.contains { $0.matches(id: id, payload: payload) })
            && !self.mustNot.contains { $0.matches(id: id, payload: payload) }
    }
}

extension CompiledFilter.Node {
    func matches(id: UnsafeRawBufferPointer, payload: UnsafeRawBufferPointer?) -> Bool {
        switch self {
        case .test(let test): test.matches(payload)
        case .ids(_, let set): set.contains(id)
        case .group(let group, _): group.matches(id: id, payload: payload)
        }
    }
}
