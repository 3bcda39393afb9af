import Primitives

/// Settings with the place each value came from.
package struct LoadedSettings<Root: Sendable>: Sendable {
    package internal(set) var values: Root
    /// By key; a key that nobody set is absent.
    package internal(set) var sources: [String: SettingSource]
    let keys: [SettingKey<Root>]

    package func source(_ key: String) -> SettingSource { self.sources[key] ?? .builtIn }

    /// All settings as a YAML file that can be read back, with the source of each value beside it; secrets are masked.
    /// - Parameter documented: Adds what each key means and may be.
    package func yaml(documented: Bool = false) -> String {
        var text = ""
        var section: Substring?
        for key in self.keys {
            let parts = key.name.split(separator: ".", maxSplits: 1)
            if section != parts[0] {
                section = parts[0]
                text += (text.isEmpty ? "" : "\n") + "\(parts[0]):\n"
            }
            if documented { text += "  # \(key.help) Allowed: \(key.allowed).\n" }
            let value =
                key.isSecret ? (key.show(self.values) == "\"\"" ? "\"\"" : "\"********\"") : key.show(self.values)
            text += "  \(parts[1]): \(value)  # \(self.source(key.name))\n"
        }
        return text
    }
}

/// Text as a YAML scalar.
enum YAMLText {
    /// Plain where that is surely a string, quoted elsewhere.
    static func quote(_ text: String) -> String {
        let plain = text.utf8.allSatisfy {
            (0x61...0x7a).contains($0) || (0x41...0x5a).contains($0) || (0x30...0x39).contains($0)
                || [0x2f, 0x2e, 0x5f, 0x2d].contains($0)
        }
        let words = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        if plain, let first = text.first, first.isLetter || first == "/", !words.contains(text.lowercased()) {
            return text
        }
        // YAML's double-quoted style takes JSON's escapes (YAML 1.2, section 5.7).
        var json = JSONWriter()
        json.string(text)
        return json.text
    }
}
