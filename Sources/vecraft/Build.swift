/// Which program this is.
package enum Build {
    package static let version = "0.1.0"

    /// The commit it was built from: `make build` leaves it beside the program. "unknown" when something else built it.
    package static let revision: String = {
        guard let bytes = try? TextFile.read(ProgramFile.path + ".revision") else { return "unknown" }
        let text = String(decoding: bytes, as: UTF8.self).trimmed
        return text.isEmpty ? "unknown" : text
    }()

    package static let description = "vecraft \(Self.version) (\(Self.revision))"
}
