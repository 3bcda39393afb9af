internal import Foundation
internal import Primitives

/// A folder of its own, for as long as it is wanted.
struct TemporaryFolder: Sendable {
    let path: String

    init(prefix: String) throws(VecraftError) {
        let parent = Environment["TMPDIR"].flatMap { $0.isEmpty ? nil : $0 } ?? "/tmp"
        var template = Array("\(parent)/\(prefix)-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw VecraftError(.internalError, "cannot make a folder in \(parent): \(String(cString: strerror(errno)))")
        }
        self.path = String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    func remove() { try? FileManager.default.removeItem(atPath: self.path) }
}
