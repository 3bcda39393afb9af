package import Primitives

/// The short form of a filter on the command line: `--where 'section=sound' --where 'installed_kib<1000'`, all of which
/// must hold. What it cannot say, `--filter` says as JSON.
package enum FilterExpression {
    private static let operators = ["!=", "<=", ">=", "=", "<", ">"]

    /// - Parameter terms: Each `field OP value`, with OP one of `= != < <= > >=`. A value is a number, `true`, `false` or
    ///   `null` if it reads as one, else text; quotes make it text. `a|b` means either.
    /// - Returns: The filter in the JSON of the API.
    package static func parse(_ terms: [String]) throws(VecraftError) -> JSONValue {
        var must: [JSONValue] = []
        var mustNot: [JSONValue] = []
        for term in terms {
            let (condition, negated) = try Self.parse(term: term)
            if negated { mustNot.append(condition) } else { must.append(condition) }
        }
        var filter: [JSONMember] = []
        if !must.isEmpty { filter.append(JSONMember("must", .array(must))) }
        if !mustNot.isEmpty { filter.append(JSONMember("must_not", .array(mustNot))) }
        return .object(filter)
    }

    private static func parse(term: String) throws(VecraftError) -> (condition: JSONValue, negated: Bool) {
        guard let split = term.firstIndex(where: { "!=<>".contains($0) }),
            let sign = Self.operators.first(where: { term[split...].hasPrefix($0) })
        else {
            throw VecraftError(.invalidArgument, "--where '\(term)': wanted is field=value, with = != < <= > or >=")
        }
        let key = String(term[..<split]).trimmed
        let text = String(term[term.index(split, offsetBy: sign.count)...]).trimmed
        guard !key.isEmpty, !text.isEmpty else {
            throw VecraftError(.invalidArgument, "--where '\(term)': the \(key.isEmpty ? "field" : "value") is missing")
        }
        switch sign {
        case "=", "!=":
            return (Self.equality(key, Self.alternatives(text)), sign == "!=")
        default:
            guard let bound = Self.scalar(text).numberValue else {
                throw VecraftError(.invalidArgument, "--where '\(term)': \(sign) compares with a number")
            }
            let names = ["<": "lt", "<=": "lte", ">": "gt", ">=": "gte"]
            let range = JSONValue.object([JSONMember(names[sign] ?? "", JSONValue(bound))])
            return (["key": .string(key), "range": range], false)
        }
    }

    private static func equality(_ key: String, _ values: [JSONValue]) -> JSONValue {
        if values == [.null] { return ["is_null": ["key": .string(key)]] }
        let match: JSONValue = values.count == 1 ? ["value": values[0]] : ["any": .array(values)]
        return ["key": .string(key), "match": match]
    }

    /// Splits at `|` outside quotes.
    private static func alternatives(_ text: String) -> [JSONValue] {
        var parts = [""]
        var quoted = false
        for character in text {
            if character == "\"" { quoted.toggle() }
            if character == "|", !quoted { parts.append("") } else { parts[parts.count - 1].append(character) }
        }
        return parts.map { Self.scalar($0.trimmed) }
    }

    private static func scalar(_ text: String) -> JSONValue {
        if text.count >= 2, text.hasPrefix("\""), text.hasSuffix("\"") {
            return .string(String(text.dropFirst().dropLast()))
        }
        switch text {
        case "true": return .bool(true)
        case "false": return .bool(false)
        case "null": return .null
        default: break
        }
        // Only what JSON calls a number: "1e3" is one, "0x10", "nan" and "007" are text.
        if let value = try? JSONValue(parsing: text), let number = value.numberValue { return JSONValue(number) }
        return .string(text)
    }
}

extension String {
    /// Without the spaces around it.
    package var trimmed: String {
        var text = self[...]
        while text.first?.isWhitespace == true { text.removeFirst() }
        while text.last?.isWhitespace == true { text.removeLast() }
        return String(text)
    }
}
