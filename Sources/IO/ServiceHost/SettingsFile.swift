import Foundation
import Yams

/// Sections and keys of a YAML file, with their lines.
enum SettingsFile {
    struct Item {
        let key: String
        let value: SettingText
        let line: Int
    }

    /// What the file sets, in its order. What is no setting by its shape is added to `problems`.
    static func items(_ path: String, _ text: String, _ problems: inout [SettingProblem]) -> [Item] {
        func complain(_ key: String, _ line: Int, _ message: String) {
            problems.append(SettingProblem(key: key, source: .file(path: path, line: line), message: message))
        }
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch let error as YamlError {
            complain("(file)", Self.line(of: error), "is not YAML: \(Self.reason(of: error))")
            return []
        } catch {
            complain("(file)", 1, "is not YAML: \(error)")
            return []
        }
        // An empty file, or one with comments alone, sets nothing.
        guard let root, !Self.isNull(root) else { return [] }
        guard let sections = root.mapping else {
            complain(
                "(file)", root.mark?.line ?? 1, "has no sections; it should read like\njournal:\n  data_partitions: 4")
            return []
        }
        var items: [Item] = []
        for (name, section) in sections {
            let line = name.mark?.line ?? 1
            guard let title = name.string else {
                complain("(file)", line, "has a section without a name")
                continue
            }
            if Self.isNull(section) { continue }
            guard let entries = section.mapping else {
                complain(title, line, "is a section and takes keys, not a value")
                continue
            }
            for (key, value) in entries {
                let line = key.mark?.line ?? line
                let full = title + "." + (key.string ?? "?")
                if Self.isNull(value) {
                    complain(full, line, "has no value")
                } else if let scalar = value.scalar {
                    items.append(Item(key: full, value: .scalar(scalar.string), line: line))
                } else if let sequence = value.sequence {
                    let texts = sequence.compactMap { $0.scalar?.string }
                    guard texts.count == sequence.count else {
                        complain(full, line, "has a list or section inside its list")
                        continue
                    }
                    items.append(Item(key: full, value: .list(texts), line: line))
                } else {
                    complain(full, line, "is a key and takes a value, not further keys")
                }
            }
        }
        return items
    }

    private static func isNull(_ node: Node) -> Bool {
        // A plain empty scalar, `~` and `null` are YAML's nulls; a quoted empty text is a value.
        guard let scalar = node.scalar, scalar.style == .plain || scalar.style == .any else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(scalar.string)
    }

    private static func line(of error: YamlError) -> Int {
        switch error {
        case .scanner(_, _, let mark, _), .parser(_, _, let mark, _), .composer(_, _, let mark, _): mark.line
        case .duplicatedKeysInMapping(_, let context): context.mark.line
        default: 1
        }
    }

    private static func reason(of error: YamlError) -> String {
        switch error {
        case .scanner(_, let problem, _, _), .parser(_, let problem, _, _), .composer(_, let problem, _, _): problem
        case .duplicatedKeysInMapping(let names, _): "it has \(names.map { "\($0)" }.joined(separator: ", ")) twice"
        default: "\(error)"
        }
    }
}

/// The file of a secret, as orchestrators mount them.
package enum SecretFile {
    /// 1 MiB: a secret is far shorter, and a mistaken path may be a disk image.
    private static let maximumBytes = 1 << 20

    package static func read(_ path: String) throws -> String {
        let handle = try FileHandle(forReadingFrom: URL(fileURLWithPath: path))
        defer { try? handle.close() }
        let bytes = try handle.read(upToCount: Self.maximumBytes + 1) ?? Data()
        guard bytes.count <= Self.maximumBytes else { throw TooLong() }
        return String(decoding: bytes, as: UTF8.self)
    }

    private struct TooLong: Error, CustomStringConvertible {
        var description: String { "it is longer than \(SecretFile.maximumBytes) bytes" }
    }
}
