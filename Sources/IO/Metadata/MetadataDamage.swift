import Foundation
package import Primitives

/// What is done with a metadata store that cannot be trusted any more.
package enum MetadataDamage {
    /// The reason of an error that says so.
    package static let reason = "METADATA_DAMAGED"
    /// Damaged stores kept to be looked at; the oldest go.
    fileprivate static let kept = 4
}

extension SQLiteMetadataStore {
    /// Moves the files of a store that nobody has open out of the way, to `<path>.damaged-<n>` beside it.
    /// - Returns: Where they are now.
    package static func putAside(_ path: String) throws(VecraftError) -> String {
        let folder = (path as NSString).deletingLastPathComponent
        let name = (path as NSString).lastPathComponent + ".damaged-"
        do {
            let numbers = try FileManager.default.contentsOfDirectory(atPath: folder.isEmpty ? "." : folder)
                .compactMap { $0.hasPrefix(name) ? Int($0.dropFirst(name.count)) : nil }.sorted()
            let target = "\(path).damaged-\((numbers.last ?? 0) + 1)"
            for suffix in ["-wal", "-shm", ""] where FileManager.default.fileExists(atPath: path + suffix) {
                try FileManager.default.moveItem(atPath: path + suffix, toPath: target + suffix)
            }
            for number in numbers.dropLast(MetadataDamage.kept - 1) {
                for suffix in ["-wal", "-shm", ""] {
                    try? FileManager.default.removeItem(atPath: "\(path).damaged-\(number)\(suffix)")
                }
            }
            return target
        } catch {
            throw VecraftError(
                .unavailable, "\(path) is damaged and cannot be put aside: \(error.localizedDescription)")
        }
    }
}
