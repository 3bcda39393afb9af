/// Where a value came from. Later cases win over earlier ones.
package enum SettingSource: Sendable, Equatable, CustomStringConvertible {
    case builtIn
    case file(path: String, line: Int)
    case environment(variable: String)
    /// The file a `..._FILE` variable names.
    case secretFile(variable: String, path: String)
    case flag

    package var description: String {
        switch self {
        case .builtIn: "default"
        case .file(let path, let line): "\(path):\(line)"
        case .environment(let variable): "environment variable \(variable)"
        case .secretFile(let variable, let path): "file \(path) named by \(variable)"
        case .flag: "command line"
        }
    }
}

/// One thing wrong with the settings.
package struct SettingProblem: Sendable, Equatable, CustomStringConvertible {
    /// "journal.segment_bytes"; or what was given instead of a key.
    package let key: String
    package let source: SettingSource
    /// What is wrong, and what is allowed.
    package let message: String

    package var description: String { "\(self.source): \(self.key) \(self.message)" }
}

/// All that is wrong with the settings, so that one attempt shows everything there is to mend.
package struct SettingsError: Error, Sendable, Equatable, CustomStringConvertible {
    package let problems: [SettingProblem]

    package var description: String { self.problems.map(\.description).joined(separator: "\n") }
}
