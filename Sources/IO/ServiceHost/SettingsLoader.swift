import Observability

/// Reads settings from a file, the environment and the command line, in this order; the last to say something wins.
///
/// Unknown keys, wrong types and values out of range are errors that name the key, the place and what is allowed: a
/// setting that is silently ignored is worse than a process that does not start.
package struct SettingsLoader<Root: Sendable>: Sendable {
    package let keys: [SettingKey<Root>]
    private let byName: [String: SettingKey<Root>]
    private let check: @Sendable (Root) -> [(key: String, message: String)]

    /// - Parameter check: What no single key can say; each finding names the key it is about.
    package init(
        _ keys: [SettingKey<Root>], check: @escaping @Sendable (Root) -> [(key: String, message: String)] = { _ in [] }
    ) {
        self.keys = keys
        self.byName = Dictionary(keys.map { ($0.name, $0) }) { key, _ in
            preconditionFailure("setting \(key.name) twice")
        }
        self.check = check
    }

    /// - Parameters:
    ///   - defaults: What holds where nothing else is said.
    ///   - file: The configuration file's path, for messages, and its text.
    ///   - environment: Of the process. Variables that begin with `VECRAFT_` and have a double underscore are ours.
    ///   - flags: "section.key=value", in order.
    ///   - readSecret: Reads the file a `..._FILE` variable names.
    package func load(
        defaults: Root, file: (path: String, text: String)? = nil, environment: [String: String] = [:],
        flags: [String] = [],
        readSecret: (String) throws -> String = SecretFile.read
    ) throws(SettingsError) -> LoadedSettings<Root> {
        var loaded = LoadedSettings(values: defaults, sources: [:], keys: self.keys)
        var problems: [SettingProblem] = []
        if let file {
            for item in SettingsFile.items(file.path, file.text, &problems) {
                self.take(item.value, item.key, .file(path: file.path, line: item.line), &loaded, &problems)
            }
        }
        self.takeEnvironment(environment, readSecret, &loaded, &problems)
        for flag in flags {
            guard let cut = flag.firstIndex(of: "=") else {
                problems.append(
                    SettingProblem(key: flag, source: .flag, message: "is not of the form section.key=value"))
                continue
            }
            let value = String(flag[flag.index(after: cut)...])
            self.take(.scalar(value), flag[..<cut].trimmed, .flag, &loaded, &problems)
        }
        // Only among values that stand by themselves; otherwise one mistake would be told twice.
        if problems.isEmpty {
            for finding in self.check(loaded.values) {
                problems.append(
                    SettingProblem(key: finding.key, source: loaded.source(finding.key), message: finding.message))
            }
        }
        if !problems.isEmpty { throw SettingsError(problems: problems) }
        return loaded
    }

    private func takeEnvironment(
        _ environment: [String: String], _ readSecret: (String) throws -> String, _ loaded: inout LoadedSettings<Root>,
        _ problems: inout [SettingProblem]
    ) {
        // Without a double underscore it is not a setting: Kubernetes makes VECRAFT_SERVICE_HOST of a service's name.
        for (variable, value) in environment.sorted(by: { $0.key < $1.key })
        where variable.hasPrefix("VECRAFT_") && variable.contains("__") {
            if let key = self.keys.first(where: { $0.variable == variable }) {
                self.take(.scalar(value), key.name, .environment(variable: variable), &loaded, &problems)
            } else if let key = self.keys.first(where: { $0.isSecret && $0.variable + "_FILE" == variable }) {
                let source = SettingSource.secretFile(variable: variable, path: value)
                if environment[key.variable] != nil {
                    problems.append(
                        SettingProblem(key: key.name, source: source, message: "is given by \(key.variable) as well"))
                    continue
                }
                do {
                    // Editors and `echo` end a file with a newline that is no part of the secret.
                    var text = try readSecret(value)
                    while text.last?.isNewline == true { text.removeLast() }
                    self.take(.scalar(text), key.name, source, &loaded, &problems)
                } catch {
                    problems.append(SettingProblem(key: key.name, source: source, message: "cannot be read: \(error)"))
                }
            } else {
                problems.append(
                    SettingProblem(
                        key: variable, source: .environment(variable: variable),
                        message: "is not a setting" + self.suggestion(Self.name(variable))))
            }
        }
    }

    private func take(
        _ text: SettingText, _ name: String, _ source: SettingSource, _ loaded: inout LoadedSettings<Root>,
        _ problems: inout [SettingProblem]
    ) {
        guard let key = self.byName[name] else {
            problems.append(
                SettingProblem(key: name, source: source, message: "is not a setting" + self.suggestion(name)))
            return
        }
        do {
            try key.read(text, &loaded.values)
            loaded.sources[name] = source
        } catch {
            // The value itself may be a secret, or a page long.
            let given =
                if case .scalar(let value) = text, !key.isSecret, value.utf8.count <= 64 { " (\"\(value)\")" } else {
                    ""
                }
            problems.append(
                SettingProblem(key: name, source: source, message: "\(error.problem)\(given); allowed: \(key.allowed)"))
        }
    }

    /// "VECRAFT_JOURNAL__SEGMENT_BYTES" as "journal.segment_bytes".
    private static func name(_ variable: String) -> String {
        var name = ""
        var rest = variable.dropFirst("VECRAFT_".count)[...]
        while let byte = rest.first {
            if rest.hasPrefix("__"), !name.contains(".") {
                name += "."
                rest = rest.dropFirst(2)
            } else {
                name += byte.lowercased()
                rest = rest.dropFirst()
            }
        }
        return name
    }

    /// The known key that was most likely meant: at most two letters away.
    private func suggestion(_ name: String) -> String {
        let nearest = self.keys.map { ($0.name, Self.distance(Array($0.name.utf8), Array(name.utf8))) }.min {
            $0.1 < $1.1
        }
        guard let nearest, nearest.1 <= 2 else { return "; `vecraft config print` lists them" }
        return "; did you mean \(nearest.0)?"
    }

    /// Levenshtein distance.
    private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
        var row = Array(0...b.count)
        for i in a.indices {
            var diagonal = row[0]
            row[0] = i + 1
            for j in b.indices {
                let above = row[j + 1]
                row[j + 1] = min(above + 1, row[j] + 1, diagonal + (a[i] == b[j] ? 0 : 1))
                diagonal = above
            }
        }
        return row[b.count]
    }
}
