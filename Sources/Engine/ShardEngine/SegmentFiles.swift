import CChecksum
import FileStore
import Primitives

/// Why a file of a shard cannot be used.
enum FileProblem: Error {
    /// Not what the manifest says: missing, short, altered, unreadable.
    case damaged(String)
    /// Of a newer release.
    case newer(UInt16)
    /// The system refused for a reason that says nothing of the file.
    case fault(FileFault)
}

/// Reads and writes whole files of a shard, with header and checksum.
struct SegmentFiles {
    /// What is read or written by one call.
    static let piece = 1 << 20

    let files: any FileStore
    let directory: String
    let shard: ShardID

    static func checksum(_ raw: UnsafeRawBufferPointer, continuing crc: UInt32 = 0) -> UInt32 {
        vc_crc32c(crc, raw.baseAddress, raw.count)
    }

    func path(_ name: String) -> String { Paths.join(self.directory, name) }

    private func header(_ kind: ShardFile.Kind, _ column: Int, _ number: UInt64, _ dimension: Int) -> [UInt8] {
        ShardFileHeader(
            kind: kind, column: UInt8(column), shard: self.shard, number: number, dimension: UInt32(dimension)
        ).encoded { Self.checksum($0) }
    }

    // MARK: Writing

    /// Writes a new file through `body` and syncs it. Removes it again if that fails.
    ///
    /// - Parameter body: Hands the content, in order, to the sink it is given.
    func create(
        _ kind: ShardFile.Kind, column: Int = 0, number: UInt64, dimension: Int = 0,
        _ body: ((UnsafeRawBufferPointer) throws(FileFault) -> Void) throws(FileFault) -> Void
    ) throws(FileFault) -> ShardFile {
        var made = ShardFile(kind: kind, column: UInt8(column), number: number, bytes: 0, checksum: 0)
        let path = self.path(made.name)
        let file = try self.files.open(path, .create)
        defer { file.close() }
        do throws(FileFault) {
            try file.truncate(to: 0)
            func sink(_ raw: UnsafeRawBufferPointer) throws(FileFault) { try self.append(raw, to: file, &made) }
            let header = self.header(kind, column, number, dimension)
            try header.withUnsafeBufferPointer { (raw) throws(FileFault) in try sink(UnsafeRawBufferPointer(raw)) }
            try body(sink)
            try file.sync()
        } catch {
            // What cannot be removed now is found as an orphan at the next start.
            try? self.files.remove(path)
            throw error
        }
        return made
    }

    private func append(_ raw: UnsafeRawBufferPointer, to file: any File, _ made: inout ShardFile) throws(FileFault) {
        guard raw.count > 0 else { return }
        var start = 0
        while start < raw.count {
            let piece = UnsafeRawBufferPointer(rebasing: raw[start..<min(start + 4 * Self.piece, raw.count)])
            try file.write(piece, at: Int(made.bytes))
            made.checksum = Self.checksum(piece, continuing: made.checksum)
            made.bytes += UInt64(piece.count)
            start += piece.count
        }
    }

    /// Writes behind what is durable of a file, and syncs. The file is unchanged, as the manifest sees it, until the caller
    /// lists what this returns.
    func append(
        _ raw: UnsafeRawBufferPointer, to known: ShardFile, didFailSync: inout Bool
    ) throws(FileFault) -> ShardFile {
        var grown = known
        guard raw.count > 0 else { return known }
        let file = try self.files.open(self.path(known.name), .readWrite)
        defer { file.close() }
        try self.append(raw, to: file, &grown)
        do throws(FileFault) { try file.sync() } catch {
            didFailSync = true
            throw error
        }
        return grown
    }

    // MARK: Reading

    /// Reads all of a file once, compares header and checksum, and hands the content to `body` in pieces.
    ///
    /// Read by `pread`, not through a mapping: a disk that cannot read a block then gives an error, not a signal.
    func read(
        _ file: ShardFile, dimension: Int, _ body: (UnsafeRawBufferPointer) -> Void
    ) throws(FileProblem) {
        let (open, size) = try Self.disk { () throws(FileFault) in
            let open = try self.files.open(self.path(file.name), .read)
            return (open, try open.size())
        }
        defer { open.close() }
        guard size >= Int(file.bytes) else { throw .damaged("\(size) bytes, not \(file.bytes)") }
        guard file.bytes >= ShardFileHeader.bytes else { throw .damaged("listed with \(file.bytes) bytes") }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.piece, alignment: 4096)
        defer { buffer.deallocate() }
        var crc: UInt32 = 0
        var position = 0
        while position < Int(file.bytes) {
            let wanted = min(Self.piece, Int(file.bytes) - position)
            let part = UnsafeMutableRawBufferPointer(rebasing: buffer[..<wanted])
            try Self.disk { () throws(FileFault) in try open.readExactly(into: part, at: position) }
            let raw = UnsafeRawBufferPointer(part)
            crc = Self.checksum(raw, continuing: crc)
            if position == 0 {
                try self.check(raw, file, dimension)
                body(UnsafeRawBufferPointer(rebasing: raw[ShardFileHeader.bytes...]))
            } else {
                body(raw)
            }
            position += wanted
        }
        guard crc == file.checksum else { throw .damaged("checksum") }
    }

    private static func disk<R>(_ body: () throws(FileFault) -> R) throws(FileProblem) -> R {
        do throws(FileFault) { return try body() } catch {
            throw error.isDamage ? .damaged("\(error)") : .fault(error)
        }
    }

    /// Maps a file that was verified (or just written).
    func map(_ file: ShardFile) throws(FileFault) -> FileMapping {
        let open = try self.files.open(self.path(file.name), .read)
        defer { open.close() }
        let mapping = try open.map()
        guard mapping.bytes.count >= Int(file.bytes) else {
            throw FileFault(path: self.path(file.name), operation: .map, errno: 0)
        }
        return mapping
    }

    private func check(_ raw: UnsafeRawBufferPointer, _ file: ShardFile, _ dimension: Int) throws(FileProblem) {
        let header: ShardFileHeader
        do throws(ShardFileHeader.Fault) {
            header = try ShardFileHeader(decoding: raw) { Self.checksum($0) }
        } catch {
            switch error {
            case .damaged(let what): throw .damaged(what)
            case .newer(let version): throw .newer(version)
            }
        }
        guard header.kind == file.kind, header.column == file.column, header.shard == self.shard,
            header.number == file.number, header.dimension == UInt32(dimension)
        else { throw .damaged("the header of another file") }
    }
}

extension FileMapping {
    /// A file's bytes behind its header.
    func content(_ file: ShardFile) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: self.bytes[ShardFileHeader.bytes..<Int(file.bytes)])
    }
}

extension FileFault {
    /// Says that the file's bytes are lost, rather than that the system is short of something.
    var isDamage: Bool { self.isNotFound || self.errno == 5 /* EIO */ || self.errno == 0 /* early end */ }
}
