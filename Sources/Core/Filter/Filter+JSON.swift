package import Primitives

/// JSON as in the header of Proto/vecraft/v1/types.proto. Null means absent. What is not known is refused by its path.
extension Filter {
    /// Reads and validates a filter.
    ///
    /// - Parameter path: How the request calls this filter.
    /// - Throws: `.invalidArgument` naming the member at fault ("filter.must[0].match: unknown operator \"like\"").
    package init(json: JSONValue, at path: String = "filter") throws(VecraftError) {
        try self.init(reading: json, at: path)
        try self.validate(at: path)
    }

    /// Reads and validates the filter that comes next in a document.
    package init(reading reader: inout JSONReader, at path: String = "filter") throws(VecraftError) {
        try self.init(json: try reader.readValue(), at: path)
    }

    private init(reading json: JSONValue, at path: String) throws(VecraftError) {
        self.init()
        for member in try JSONShape.members(json, at: path) {
            let here = "\(path).\(member.key)"
            switch member.key {
            case "must": self.must = try Self.conditions(member.value, at: here)
            case "should": self.should = try Self.conditions(member.value, at: here)
            case "must_not", "mustNot": self.mustNot = try Self.conditions(member.value, at: here)
            default: throw .invalid(path, "unknown member \"\(member.key)\"; a filter has must, should and must_not")
            }
        }
    }

    private static func conditions(_ json: JSONValue, at path: String) throws(VecraftError) -> [Condition] {
        var conditions: [Condition] = []
        for (index, element) in try JSONShape.elements(json, at: path).enumerated() {
            conditions.append(try Condition(reading: element, at: "\(path)[\(index)]"))
        }
        return conditions
    }

    package var json: JSONValue {
        var members: [JSONMember] = []
        for (name, list) in [("must", self.must), ("should", self.should), ("must_not", self.mustNot)] where !list.isEmpty {
            members.append(JSONMember(name, .array(list.map(\.json))))
        }
        return .object(members)
    }
}

extension Filter.Condition {
    fileprivate init(reading json: JSONValue, at path: String) throws(VecraftError) {
        let members = try JSONShape.members(json, at: path)
        if let first = members.first, ["must", "should", "must_not", "mustNot"].contains(first.key) {
            self = .filter(try Filter(nested: json, at: path))
            return
        }
        var key: String?
        var test: JSONMember?
        for member in members {
            switch member.key {
            case "key": key = try JSONShape.string(member.value, at: path + ".key")
            case "match", "range", "is_null", "isNull", "has_id", "hasId", "filter":
                if let test { throw .invalid(path, "has both \(test.key) and \(member.key); give exactly one") }
                test = member
            default: throw .invalid(path, "unknown operator \"\(member.key)\"")
            }
        }
        guard let test else { throw .invalid(path, "needs one of match, range, is_null, has_id, filter") }
        let here = "\(path).\(test.key)"
        switch test.key {
        case "match", "range":
            guard let key else { throw .invalid(path, "\(test.key) needs a key") }
            self = try test.key == "match" ? Self.match(key, test.value, at: here) : .range(key, NumericRange(reading: test.value, at: here))
            return
        case "is_null", "isNull":
            self = .isNull(try Self.isNullKey(test.value, at: here))
        case "filter":
            self = .filter(try Filter(nested: test.value, at: here))
        default:
            var ids: [String] = []
            for (index, element) in try JSONShape.elements(test.value, at: here).enumerated() {
                ids.append(try JSONShape.string(element, at: "\(here)[\(index)]"))
            }
            self = .hasID(ids)
        }
        if key != nil { throw .invalid(path, "key goes with match or range, not with \(test.key)") }
    }

    private static func match(_ key: String, _ json: JSONValue, at path: String) throws(VecraftError) -> Self {
        let members = try JSONShape.members(json, at: path)
        guard members.count == 1, let member = members.first else {
            throw .invalid(path, "needs exactly one of value, any, except")
        }
        let here = "\(path).\(member.key)"
        switch member.key {
        case "value": return .match(key, try FilterValue(reading: member.value, at: here))
        case "any": return .matchAny(key, try Self.values(member.value, at: here))
        case "except": return .matchExcept(key, try Self.values(member.value, at: here))
        default: throw .invalid(path, "unknown operator \"\(member.key)\"; match has value, any or except")
        }
    }

    private static func values(_ json: JSONValue, at path: String) throws(VecraftError) -> [FilterValue] {
        var values: [FilterValue] = []
        for (index, element) in try JSONShape.elements(json, at: path).enumerated() {
            values.append(try FilterValue(reading: element, at: "\(path)[\(index)]"))
        }
        return values
    }

    private static func isNullKey(_ json: JSONValue, at path: String) throws(VecraftError) -> String {
        let members = try JSONShape.members(json, at: path)
        guard members.count == 1, let member = members.first, member.key == "key" else {
            throw .invalid(path, "needs a key and nothing else")
        }
        return try JSONShape.string(member.value, at: path + ".key")
    }

    package var json: JSONValue {
        func values(_ list: [FilterValue]) -> JSONValue { .array(list.map(\.json)) }
        return switch self {
        case .match(let key, let value): ["key": .string(key), "match": ["value": value.json]]
        case .matchAny(let key, let list): ["key": .string(key), "match": ["any": values(list)]]
        case .matchExcept(let key, let list): ["key": .string(key), "match": ["except": values(list)]]
        case .range(let key, let range): ["key": .string(key), "range": range.json]
        case .isNull(let key): ["is_null": ["key": .string(key)]]
        case .hasID(let ids): ["has_id": .array(ids.map { .string($0) })]
        case .filter(let filter): ["filter": filter.json]
        }
    }
}

extension Filter {
    /// Validation is left to the outermost filter, which counts conditions and levels over all.
    fileprivate init(nested json: JSONValue, at path: String) throws(VecraftError) { try self.init(reading: json, at: path) }
}

extension FilterValue {
    fileprivate init(reading json: JSONValue, at path: String) throws(VecraftError) {
        switch json {
        case .string(let value): self = .string(value)
        case .integer(let value): self = .integer(value)
        case .double(let value): self = .float(value)
        case .bool(let value): self = .bool(value)
        case .null: throw .invalid(path, "expected a string, number or boolean; for null use is_null")
        case .array, .object: throw .invalid(path, "expected a string, number or boolean, not \(json.kindName)")
        }
    }

    package var json: JSONValue {
        switch self {
        case .string(let value): .string(value)
        case .integer(let value): .integer(value)
        case .float(let value): .double(value)
        case .bool(let value): .bool(value)
        }
    }
}

extension NumericRange {
    fileprivate init(reading json: JSONValue, at path: String) throws(VecraftError) {
        self.init()
        for member in try JSONShape.members(json, at: path) {
            guard let number = member.value.numberValue else {
                throw .invalid("\(path).\(member.key)", "expected a number, not \(member.value.kindName)")
            }
            switch member.key {
            case "gt": self.gt = number
            case "gte": self.gte = number
            case "lt": self.lt = number
            case "lte": self.lte = number
            default: throw .invalid(path, "unknown operator \"\(member.key)\"; a range has gt, gte, lt, lte")
            }
        }
    }

    package var json: JSONValue {
        var members: [JSONMember] = []
        for (name, bound) in [("gt", self.gt), ("gte", self.gte), ("lt", self.lt), ("lte", self.lte)] {
            if let bound { members.append(JSONMember(name, JSONValue(bound))) }
        }
        return .object(members)
    }
}

/// What kind of JSON is expected where.
private enum JSONShape {
    /// Members that are not null.
    static func members(_ json: JSONValue, at path: String) throws(VecraftError) -> [JSONMember] {
        guard case .object(let members) = json else { throw .invalid(path, "expected an object, not \(json.kindName)") }
        return members.filter { !$0.value.isNull }
    }
    static func elements(_ json: JSONValue, at path: String) throws(VecraftError) -> [JSONValue] {
        guard case .array(let elements) = json else { throw .invalid(path, "expected a list, not \(json.kindName)") }
        return elements
    }
    static func string(_ json: JSONValue, at path: String) throws(VecraftError) -> String {
        guard case .string(let text) = json else { throw .invalid(path, "expected a string, not \(json.kindName)") }
        return text
    }
}
