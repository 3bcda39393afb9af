package import FileStore
package import Primitives

/// A shard on its way in from another node: a folder aside, which takes the place of the shard's own once it is whole.
///
/// Files come one after the other, in chunks. Each is synced before it counts, the manifest comes last, and the folder is renamed
/// only then; so after a crash there is the shard as it was, or the new one whole, and else only the folder aside. What is whole
/// in that need not be sent again (``held()``).
///
/// `@unchecked Sendable`: in one hand at a time.
package final class ShardIncoming: @unchecked Sendable {
    /// Of one chunk; what is in memory for a transfer is a few of them.
    package static let chunkBytes = 256 << 10
    /// A manifest lists some 26 bytes a file.
    package static let manifestBytes = 16 << 20
    private static let suffix = ".incoming"
    /// The shard that was there, for the moment between two renames.
    private static let replacedSuffix = ".replaced"

    private struct Reception {
        var manifest: ShardManifest
        var files: [ShardFile]
        /// Positions in `files` that are to come, in order.
        var wanted: [Int]
        /// In `wanted`.
        var next = 0
        var file: (any File)?
        var written: UInt64 = 0
        var checksum: UInt32 = 0
        /// Whole before this transfer began.
        var kept: [ShardFile]
    }

    private let target: String
    private let io: SegmentFiles
    private let schema: CollectionSchema
    private let shard: ShardID
    private let files: any FileStore
    private var reception: Reception?

    /// - Parameter directory: The shard's own, where it shall be in the end.
    package init(directory: String, schema: CollectionSchema, shard: ShardID, files: any FileStore) throws(VecraftError)
    {
        self.target = directory
        self.io = SegmentFiles(files: files, directory: directory + Self.suffix, shard: shard)
        self.schema = schema
        self.shard = shard
        self.files = files
        try Self.disk { () throws(FileFault) in try files.createDirectory(directory + Self.suffix) }
    }

    // MARK: Folders

    /// Where a shard's files come in.
    package static func aside(of directory: String) -> String { directory + Self.suffix }

    /// Whether a name beside the shards' folders is one of these.
    package static func isAside(_ name: String) -> Bool {
        name.hasSuffix(Self.suffix) || name.hasSuffix(Self.replacedSuffix)
    }

    /// Puts right what a crash left between two renames, in the folder of all shards: before any is opened.
    package static func mend(_ root: String, _ files: any FileStore) throws(VecraftError) {
        try Self.disk { () throws(FileFault) in
            for name in try files.list(root) where name.hasSuffix(Self.replacedSuffix) {
                let own = Paths.join(root, String(name.dropLast(Self.replacedSuffix.count)))
                if files.exists(own) {
                    try files.removeTree(Paths.join(root, name))
                } else {
                    try files.rename(Paths.join(root, name), to: own)
                }
                try files.syncDirectory(root)
            }
        }
    }

    /// Removes the folders aside of all shards but those named, by the name of their own folder.
    package static func removeAll(
        in root: String, except kept: Set<String>, _ files: any FileStore
    ) throws(VecraftError) {
        try Self.disk { () throws(FileFault) in
            for name in try files.list(root) where name.hasSuffix(Self.suffix) {
                if kept.contains(String(name.dropLast(Self.suffix.count))) { continue }
                try files.removeTree(Paths.join(root, name))
            }
        }
    }

    /// Removes the folder aside: the shard is not wanted any more.
    package func abandon() throws(VecraftError) {
        self.reception = nil
        try Self.disk { () throws(FileFault) in try self.files.removeTree(self.io.directory) }
    }

    // MARK: Reception

    /// Files that an earlier attempt left, as they are now. Those not whole are no file of any manifest, and so are sent again.
    /// Reads them all.
    package func held() throws(VecraftError) -> [ShardFileInfo] {
        try Self.disk { () throws(FileFault) in
            var found: [ShardFileInfo] = []
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: SegmentFiles.piece, alignment: 4096)
            defer { buffer.deallocate() }
            for name in try self.files.list(self.io.directory) where ShardFile.isOurs(name) {
                let file = try self.files.open(self.io.path(name), .read)
                defer { file.close() }
                var info = ShardFileInfo(name: name, bytes: 0, checksum: 0)
                while true {
                    let count = try file.read(into: buffer, at: Int(info.bytes))
                    if count == 0 { break }
                    info.checksum = SegmentFiles.checksum(
                        UnsafeRawBufferPointer(rebasing: buffer[..<count]), continuing: info.checksum)
                    info.bytes += UInt64(count)
                }
                found.append(info)
            }
            return found
        }
    }

    /// What a transfer consists of.
    package struct Plan: Sendable, Equatable {
        package var applied: JournalOffset
        package var files: Int
        package var bytes: UInt64
        /// Of these, there already.
        package var heldFiles: Int
        package var heldBytes: UInt64
    }

    /// Takes the manifest, which comes first.
    ///
    /// - Parameter held: What the sender was told.
    /// - Throws: INVALID_ARGUMENT for what is no manifest, FAILED_PRECONDITION for that of another shard or a newer release,
    ///   RESOURCE_EXHAUSTED without room on the disk.
    package func begin(manifest raw: UnsafeRawBufferPointer, held: [ShardFileInfo]) throws(VecraftError) -> Plan {
        guard self.reception == nil else { throw Self.broken("a second manifest") }
        let manifest = try self.decode(raw)
        let files = manifest.allFiles
        guard Set(files.map(\.name)).count == files.count else { throw Self.broken("a file listed twice") }
        let held = Set(held)
        let kept = files.filter { held.contains(ShardFileInfo($0)) }
        let wanted = files.indices.filter { !held.contains(ShardFileInfo(files[$0])) }
        let plan = Plan(
            applied: manifest.applied, files: files.count, bytes: files.reduce(0) { $0 + $1.bytes },
            heldFiles: kept.count,
            heldBytes: kept.reduce(0) { $0 + $1.bytes })
        try Self.disk { () throws(FileFault) in
            // Of an older manifest, or not whole.
            let names = Set(kept.map(\.name))
            for name in try self.files.list(self.io.directory) where !names.contains(name) {
                try self.files.remove(self.io.path(name))
            }
        }
        let room = try Self.disk { () throws(FileFault) in try self.files.freeBytes(self.io.directory) }
        guard UInt64(max(0, room)) > plan.bytes - plan.heldBytes else {
            throw VecraftError(
                .resourceExhausted,
                "shard \(self.shard) takes \(plan.bytes - plan.heldBytes) bytes more; the disk has \(room)",
                reason: "DISK_FULL", retryAfter: .seconds(1))
        }
        self.reception = Reception(manifest: manifest, files: files, wanted: wanted, kept: kept)
        return plan
    }

    private func decode(_ raw: UnsafeRawBufferPointer) throws(VecraftError) -> ShardManifest {
        let manifest: ShardManifest
        do throws(ShardManifest.Fault) {
            manifest = try ShardManifest(decoding: raw) { SegmentFiles.checksum($0) }
        } catch {
            switch error {
            case .damaged(let what): throw Self.broken("the manifest: \(what)")
            case .newer(let version):
                throw VecraftError(
                    .failedPrecondition, "manifest format \(version); this release reads \(ShardManifest.version)",
                    reason: "NEWER_FORMAT")
            }
        }
        guard manifest.isOf(self.schema, shard: self.shard.shard) else {
            throw VecraftError(
                .failedPrecondition, "the manifest of another shard than \(self.shard)", reason: "OTHER_SHARD")
        }
        return manifest
    }

    /// Takes the next bytes of the next file.
    ///
    /// - Parameters:
    ///   - index: The file's position in the manifest.
    ///   - checksum: CRC-32C of `bytes`.
    /// - Returns: Whether its file is whole now, and synced.
    /// - Throws: DATA_LOSS for damaged bytes, INVALID_ARGUMENT for others than are due; what the disk says. What is whole stays.
    package func write(
        file index: Int, at position: UInt64, checksum: UInt32, _ bytes: UnsafeRawBufferPointer
    ) throws(VecraftError) -> Bool {
        guard var reception = self.reception else { throw Self.broken("a chunk before the manifest") }
        guard reception.next < reception.wanted.count, reception.wanted[reception.next] == index else {
            throw Self.broken("a chunk of file \(index), which is not due")
        }
        let due = reception.files[index]
        guard position == reception.written, (1...Self.chunkBytes).contains(bytes.count),
            position + UInt64(bytes.count) <= due.bytes
        else { throw Self.broken("\(bytes.count) bytes of \(due.name) at \(position), which are not due") }
        guard SegmentFiles.checksum(bytes) == checksum else {
            throw Self.damaged("a chunk of \(due.name) at \(position)")
        }
        defer { self.reception = reception }
        do throws(FileFault) {
            let file: any File
            if let open = reception.file {
                file = open
            } else {
                file = try self.files.open(self.io.path(due.name), .create)
                try file.truncate(to: 0)
                reception.file = file
            }
            try file.write(bytes, at: Int(position))
            reception.written += UInt64(bytes.count)
            reception.checksum = SegmentFiles.checksum(bytes, continuing: reception.checksum)
            guard reception.written == due.bytes else { return false }
            if reception.checksum == due.checksum { try file.sync() }
        } catch {
            // Nothing is known of what a failed sync left.
            self.drop(due, &reception)
            throw error.vecraftError
        }
        guard reception.checksum == due.checksum else {
            self.drop(due, &reception)
            throw Self.damaged(due.name)
        }
        reception.file?.close()
        reception.file = nil
        reception.written = 0
        reception.checksum = 0
        reception.next += 1
        return true
    }

    private func drop(_ file: ShardFile, _ reception: inout Reception) {
        reception.file?.close()
        reception.file = nil
        reception.written = 0
        reception.checksum = 0
        try? self.files.remove(self.io.path(file.name))
    }

    /// All has come: it takes the shard's place. From here on the shard is the new one, also after a crash.
    package func finish() throws(VecraftError) {
        guard let reception = self.reception, reception.next == reception.wanted.count else {
            throw Self.broken("the end before the last file")
        }
        try Self.disk { () throws(FileFault) in
            for file in reception.kept {
                // The process that wrote it may have died before it synced it.
                let open = try self.files.open(self.io.path(file.name), .readWrite)
                defer { open.close() }
                try open.sync()
            }
            try self.files.syncDirectory(self.io.directory)
            let encoded = reception.manifest.encoded { SegmentFiles.checksum($0) }
            try AtomicFile.replace(self.io.path(ShardManifest.fileName), with: encoded, in: self.files)
            try self.takePlace()
        }
        self.reception = nil
    }

    private func takePlace() throws(FileFault) {
        let replaced = self.target + Self.replacedSuffix
        if self.files.exists(self.target) {
            // Left by an attempt that failed at its very end.
            try self.files.removeTree(replaced)
            try self.files.rename(self.target, to: replaced)
            // Never both names at once, whatever order the disk would choose.
            try self.files.syncParent(of: self.target)
        }
        try self.files.rename(self.io.directory, to: self.target)
        try self.files.syncParent(of: self.target)
        // What cannot be removed is seen to by the next start.
        try? self.files.removeTree(replaced)
    }

    private static func broken(_ what: String) -> VecraftError {
        VecraftError(.invalidArgument, "a transfer that does not hold: \(what)", reason: "PROTOCOL_BROKEN")
    }

    private static func damaged(_ what: String) -> VecraftError {
        VecraftError(.dataLoss, "\(what) came damaged", reason: "CHECKSUM")
    }

    private static func disk<R>(_ body: () throws(FileFault) -> R) throws(VecraftError) -> R {
        do throws(FileFault) { return try body() } catch { throw error.vecraftError }
    }
}

/// CRC-32C of some bytes, as chunks of shards carry it.
package func shardChecksum(_ bytes: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
    SegmentFiles.checksum(bytes, continuing: crc)
}
