internal import Primitives
internal import Wire

/// What is other in a payload than in the one before, field by field.
enum PayloadDifference {
    /// More than this is told as one change of the whole.
    private static let maxChanges = 256

    /// - Parameters: JSON objects as they were stored; nil for none.
    static func between(_ before: [UInt8]?, _ after: [UInt8]?) -> [VecraftV1.PayloadChange] {
        if before == after { return [] }
        let old = before.flatMap { try? JSONValue(parsing: $0) }
        let new = after.flatMap { try? JSONValue(parsing: $0) }
        var changes: [VecraftV1.PayloadChange] = []
        Self.compare(old ?? .object([]), new ?? .object([]), path: "", into: &changes)
        guard changes.count <= Self.maxChanges else { return [Self.change("", old, new)] }
        return changes
    }

    private static func compare(
        _ old: JSONValue, _ new: JSONValue, path: String, into changes: inout [VecraftV1.PayloadChange]
    ) {
        guard case .object(let before) = old, case .object(let after) = new else {
            if old.encoded() != new.encoded() { changes.append(Self.change(path, old, new)) }
            return
        }
        var keys: [String] = []
        var seen: Set<String> = []
        for member in before + after where seen.insert(member.key).inserted { keys.append(member.key) }
        for key in keys.sorted() {
            guard changes.count <= Self.maxChanges else { return }
            let inner = path.isEmpty ? key : "\(path).\(key)"
            switch (old[key], new[key]) {
            case (let a?, let b?): Self.compare(a, b, path: inner, into: &changes)
            case (let a, let b): changes.append(Self.change(inner, a, b))
            }
        }
    }

    private static func change(_ path: String, _ old: JSONValue?, _ new: JSONValue?) -> VecraftV1.PayloadChange {
        VecraftV1.PayloadChange(path: path, beforeJSON: Self.text(old), afterJSON: Self.text(new))
    }

    private static func text(_ value: JSONValue?) -> String {
        value.map { String(decoding: $0.encoded(), as: UTF8.self) } ?? ""
    }
}
