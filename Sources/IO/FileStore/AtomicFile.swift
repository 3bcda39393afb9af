/// Replaces a small file whole: after a crash it holds the old bytes or the new ones, never a mixture.
package enum AtomicFile {
    /// Added to the name while the new bytes are written. Files with it are leftovers of a crash: ignore or remove them.
    package static let suffix = ".new"

    /// Writes aside, syncs, renames, syncs the folder.
    ///
    /// - Parameter isDurable: False for what can be made again: nothing is synced. While the machine runs the file is the old one or the new
    ///   one as well, but after a power cut it may hold anything, so whoever reads it must be able to tell.
    package static func replace(
        _ path: String, with bytes: [UInt8], in files: any FileStore, isDurable: Bool = true
    ) throws(FileFault) {
        let aside = path + Self.suffix
        do throws(FileFault) {
            let file = try files.open(aside, .create)
            defer { file.close() }
            try file.truncate(to: 0)
            try file.write(bytes, at: 0)
            if isDurable { try file.sync() }
        } catch {
            // A half-written file would hold space on the very disk that may be full. If it cannot go, nobody reads it.
            try? files.remove(aside)
            throw error
        }
        do throws(FileFault) { try files.rename(aside, to: path) } catch {
            try? files.remove(aside)
            throw error
        }
        if isDurable { try files.syncParent(of: path) }
    }
}
