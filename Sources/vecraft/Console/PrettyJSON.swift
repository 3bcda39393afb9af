package import Primitives

/// JSON with one member a line, so that people can read it too; lists of scalars stay on one line.
package enum PrettyJSON {
    package static func text(_ value: JSONValue) -> String { Self.text(value, indent: "") }

    private static func text(_ value: JSONValue, indent: String) -> String {
        let inner = indent + "  "
        switch value {
        case .object(let members) where !members.isEmpty:
            let lines = members.map { "\(inner)\(Self.scalar(.string($0.key))): \(Self.text($0.value, indent: inner))" }
            return "{\n\(lines.joined(separator: ",\n"))\n\(indent)}"
        case .array(let elements) where elements.contains(where: \.isContainer):
            let lines = elements.map { inner + Self.text($0, indent: inner) }
            return "[\n\(lines.joined(separator: ",\n"))\n\(indent)]"
        default:
            return Self.scalar(value)
        }
    }

    private static func scalar(_ value: JSONValue) -> String { String(decoding: value.encoded(), as: UTF8.self) }
}

extension JSONValue {
    fileprivate var isContainer: Bool {
        switch self {
        case .object, .array: true
        default: false
        }
    }
}
