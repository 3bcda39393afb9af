import Observability

/// One setting: its name, what it means, what it may be, and where it lives in a settings struct.
///
/// The default is what the struct is initialised with. A subsystem's keys are one table, and a new key is one line of
/// it.
package struct SettingKey<Root: Sendable>: Sendable {
    /// "journal.segment_bytes": section and name, snake case.
    package let name: String
    /// One sentence, with the unit.
    package let help: String
    /// What is allowed, for a person: "1...64", "text | json".
    package let allowed: String
    /// Never printed; may be given by a file named in `..._FILE`.
    package let isSecret: Bool
    /// Takes the text of a scalar or the items of a list into the struct.
    let read: @Sendable (SettingText, inout Root) throws(SettingRefusal) -> Void
    /// The value as YAML.
    let show: @Sendable (Root) -> String

    /// The environment variable that sets it.
    package var variable: String {
        let parts = self.name.split(separator: ".", maxSplits: 1).map { $0.uppercased() }
        return "VECRAFT_" + parts.joined(separator: "__")
    }
}

/// A value as it was written, before it has a type.
package enum SettingText: Sendable, Equatable {
    case scalar(String)
    case list([String])
}

/// Why a value was not taken. The key, the place and what is allowed are added by whoever has them.
struct SettingRefusal: Error {
    let problem: String
}

extension SettingKey {
    /// A whole number.
    package static func int(
        _ name: String, _ path: any WritableKeyPath<Root, Int> & Sendable, _ range: ClosedRange<Int>, _ help: String
    ) -> SettingKey {
        SettingKey(
            name: name, help: help, allowed: Self.text(range), isSecret: false,
            read: { text, root throws(SettingRefusal) in
                guard let value = Int(try Self.scalar(text, "a whole number")) else {
                    throw SettingRefusal(problem: "is not a whole number")
                }
                guard range.contains(value) else { throw SettingRefusal(problem: "is out of range") }
                root[keyPath: path] = value
            }, show: { String($0[keyPath: path]) })
    }

    /// A size in bytes; "64MiB", "64 MiB" and "67108864" are the same.
    package static func bytes(
        _ name: String, _ path: any WritableKeyPath<Root, Int> & Sendable, _ range: ClosedRange<Int>, _ help: String
    ) -> SettingKey {
        SettingKey(
            name: name, help: help, allowed: "\(ByteSize.text(range.lowerBound))...\(ByteSize.text(range.upperBound))",
            isSecret: false,
            read: { text, root throws(SettingRefusal) in
                guard let value = ByteSize.parse(try Self.scalar(text, "a size")) else {
                    throw SettingRefusal(problem: "is not a size in bytes (67108864, 64MiB)")
                }
                guard range.contains(value) else { throw SettingRefusal(problem: "is out of range") }
                root[keyPath: path] = value
            }, show: { ByteSize.text($0[keyPath: path]) })
    }

    /// A number.
    package static func number(
        _ name: String, _ path: any WritableKeyPath<Root, Double> & Sendable, _ range: ClosedRange<Double>,
        _ help: String
    ) -> SettingKey {
        SettingKey(
            name: name, help: help, allowed: "\(range.lowerBound)...\(range.upperBound)", isSecret: false,
            read: { text, root throws(SettingRefusal) in
                guard let value = Double(try Self.scalar(text, "a number")), value.isFinite else {
                    throw SettingRefusal(problem: "is not a number")
                }
                guard range.contains(value) else { throw SettingRefusal(problem: "is out of range") }
                root[keyPath: path] = value
            }, show: { String($0[keyPath: path]) })
    }

    /// true or false.
    package static func flag(
        _ name: String, _ path: any WritableKeyPath<Root, Bool> & Sendable, _ help: String
    ) -> SettingKey {
        SettingKey(
            name: name, help: help, allowed: "true | false", isSecret: false,
            read: { text, root throws(SettingRefusal) in
                guard let value = Bool(try Self.scalar(text, "true or false")) else {
                    throw SettingRefusal(problem: "is neither true nor false")
                }
                root[keyPath: path] = value
            }, show: { String($0[keyPath: path]) })
    }

    /// Any text up to a length in bytes.
    /// - Parameter required: Whether the empty text is refused.
    package static func text(
        _ name: String, _ path: any WritableKeyPath<Root, String> & Sendable, upTo limit: Int = 4_096,
        required: Bool = false,
        secret: Bool = false, _ help: String
    ) -> SettingKey {
        SettingKey(
            name: name, help: help, allowed: required ? "1 to \(limit) bytes of text" : "text of up to \(limit) bytes",
            isSecret: secret,
            read: { text, root throws(SettingRefusal) in
                let value = try Self.scalar(text, "text")
                guard value.utf8.count <= limit else { throw SettingRefusal(problem: "is too long") }
                guard !required || !value.isEmpty else { throw SettingRefusal(problem: "is empty") }
                root[keyPath: path] = value
            }, show: { YAMLText.quote($0[keyPath: path]) })
    }

    /// One of a few words: the raw values of an enum.
    package static func choice<Choice: RawRepresentable & CaseIterable & Sendable>(
        _ name: String, _ path: any WritableKeyPath<Root, Choice> & Sendable, _ help: String
    ) -> SettingKey where Choice.RawValue == String {
        SettingKey(
            name: name, help: help, allowed: Choice.allCases.map(\.rawValue).joined(separator: " | "), isSecret: false,
            read: { text, root throws(SettingRefusal) in
                guard let value = Choice(rawValue: try Self.scalar(text, "one word")) else {
                    throw SettingRefusal(problem: "is not one of these")
                }
                root[keyPath: path] = value
            }, show: { $0[keyPath: path].rawValue })
    }

    /// A list of such words, each at most once, at least one; in the environment and in flags separated by commas.
    package static func choices<Choice: RawRepresentable & CaseIterable & Hashable & Sendable>(
        _ name: String, _ path: any WritableKeyPath<Root, [Choice]> & Sendable, _ help: String
    ) -> SettingKey where Choice.RawValue == String {
        SettingKey(
            name: name, help: help, allowed: "list of " + Choice.allCases.map(\.rawValue).joined(separator: ", "),
            isSecret: false,
            read: { text, root throws(SettingRefusal) in
                var chosen: [Choice] = []
                for word in text.items {
                    guard let value = Choice(rawValue: word) else {
                        throw SettingRefusal(problem: "has \"\(word)\", which is not one of these")
                    }
                    guard !chosen.contains(value) else { throw SettingRefusal(problem: "has \"\(word)\" twice") }
                    chosen.append(value)
                }
                guard !chosen.isEmpty else { throw SettingRefusal(problem: "is an empty list") }
                root[keyPath: path] = chosen
            }, show: { "[" + $0[keyPath: path].map(\.rawValue).joined(separator: ", ") + "]" })
    }

    private static func scalar(_ text: SettingText, _ wanted: String) throws(SettingRefusal) -> String {
        guard case .scalar(let value) = text else { throw SettingRefusal(problem: "is a list where \(wanted) belongs") }
        return value
    }

    private static func text(_ range: ClosedRange<Int>) -> String {
        range.upperBound == Int.max ? "\(range.lowerBound) or more" : "\(range.lowerBound)...\(range.upperBound)"
    }
}

extension SettingText {
    /// A scalar is a list with commas.
    fileprivate var items: [String] {
        switch self {
        case .list(let items): items
        case .scalar(let text): text.split(separator: ",").map { $0.trimmed }
        }
    }
}

/// Sizes with binary suffixes.
package enum ByteSize {
    private static let units: [(suffix: String, shift: Int)] = [("GiB", 30), ("MiB", 20), ("KiB", 10)]

    package static func parse(_ text: String) -> Int? {
        for unit in Self.units where text.hasSuffix(unit.suffix) {
            guard let count = Int(text.dropLast(unit.suffix.count).trimmed), count >= 0 else { return nil }
            let (bytes, overflow) = count.multipliedReportingOverflow(by: 1 << unit.shift)
            return overflow ? nil : bytes
        }
        return Int(text).flatMap { $0 >= 0 ? $0 : nil }
    }

    /// With the largest suffix that loses nothing.
    package static func text(_ bytes: Int) -> String {
        for unit in Self.units where bytes != 0 && bytes % (1 << unit.shift) == 0 {
            return "\(bytes >> unit.shift)\(unit.suffix)"
        }
        return String(bytes)
    }
}
