package import Primitives

/// The slow, honest meaning of a filter: it parses the whole payload and walks the tree. Payload indexes are judged by it.
extension Filter {
    /// - Parameters:
    ///   - id: The point's id.
    ///   - payload: A JSON object; nil for none. Bytes that are no JSON object count as an empty payload.
    package func matches(id: String, payload: UnsafeRawBufferPointer?) -> Bool {
        guard let payload, let json = try? JSONValue(parsing: payload) else { return self.matches(id: id, json: .object([])) }
        return self.matches(id: id, json: json)
    }

    package func matches(id: String, json: JSONValue) -> Bool {
        self.must.allSatisfy { $0.matches(id: id, json: json) }
            && (self.should.isEmpty || self.should.contains { $0.matches(id: id, json: json) })
            && !self.mustNot.contains { $0.matches(id: id, json: json) }
    }
}

extension Filter.Condition {
    package func matches(id: String, json: JSONValue) -> Bool {
        switch self {
        case .match(let key, let value):
            return Self.scalars(key, in: json).contains { value.equals($0) }
        case .matchAny(let key, let values):
            return Self.scalars(key, in: json).contains { scalar in values.contains { $0.equals(scalar) } }
        case .matchExcept(let key, let values):
            return !Filter.Condition.matchAny(key, values).matches(id: id, json: json)
        case .range(let key, let range):
            return Self.scalars(key, in: json).contains { $0.numberValue.map(range.contains) ?? false }
        case .isNull(let key):
            return Self.nodes(FieldPath(key).components[...], in: json).allSatisfy { $0 == .null || $0 == .array([]) }
        case .hasID(let ids):
            return ids.contains { $0.utf8.elementsEqual(id.utf8) }
        case .filter(let filter):
            return filter.matches(id: id, json: json)
        }
    }

    /// What stands at the end of the path. Arrays met before its end stand for their elements.
    private static func nodes(_ path: ArraySlice<[UInt8]>, in json: JSONValue) -> [JSONValue] {
        guard let key = path.first else { return [json] }
        switch json {
        case .object(let members):
            // Keys are equal as bytes; the parser kept the last of each.
            guard let member = members.last(where: { $0.key.utf8.elementsEqual(key) }) else { return [] }
            return Self.nodes(path.dropFirst(), in: member.value)
        case .array(let elements):
            return elements.flatMap { Self.nodes(path, in: $0) }
        default:
            return []
        }
    }

    /// The same, with arrays at the end flattened too.
    private static func scalars(_ key: String, in json: JSONValue) -> [JSONValue] {
        func flatten(_ json: JSONValue) -> [JSONValue] {
            if case .array(let elements) = json { elements.flatMap(flatten) } else { [json] }
        }
        return Self.nodes(FieldPath(key).components[...], in: json).flatMap(flatten)
    }
}

extension FilterValue {
    fileprivate func equals(_ json: JSONValue) -> Bool {
        switch (self, json) {
        case (.string(let a), .string(let b)): a.utf8.elementsEqual(b.utf8)
        case (.bool(let a), .bool(let b)): a == b
        default: if let a = self.number, let b = json.numberValue { a == b } else { false }
        }
    }
}
