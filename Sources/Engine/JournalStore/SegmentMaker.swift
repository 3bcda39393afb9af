internal import FileStore
internal import Primitives
internal import Synchronization

/// A segment's file, ready to be written: its header is durable, and so is its name.
struct PreparedSegment: Sendable {
    let sequence: UInt64
    let path: String
    let salt: UInt32
    let file: any File
    /// Reserved on disk.
    let bytes: Int
}

/// Makes segment files.
struct SegmentMaker: Sendable {
    let partition: PartitionID
    let directory: String
    let files: any FileStore
    let settings: JournalSettings
    /// Frames of one segment are not valid in another; see ``Frame``.
    let salt: @Sendable () -> UInt32

    /// A smaller segment than this is not worth its file.
    private static let smallest = 1 << 20

    /// - Parameters:
    ///   - frameBytes: What must fit.
    ///   - mayUseReserve: Free disk kept back may be used: for what makes room.
    /// - Throws: `.resourceExhausted`, reason `DISK_FULL`; nothing is left behind then.
    func make(sequence: UInt64, frameBytes: Int, mayUseReserve: Bool) throws(VecraftError) -> PreparedSegment {
        let path = Paths.join(self.directory, SegmentName.segment(sequence))
        let minimum = SegmentHeader.bytes + frameBytes
        let wanted = max(self.settings.segmentBytes, minimum)
        do throws(FileFault) {
            let free = try self.files.freeBytes(self.directory) - (mayUseReserve ? 0 : self.settings.reserveBytes)
            // The last segment before the disk is full is as small as what is left.
            let bytes = min(wanted, max(free, 0))
            guard bytes >= max(minimum, min(Self.smallest, wanted)) else { throw FileFault.diskFull(path) }
            // A file that is there already is somebody's, and stays.
            let file = try self.files.open(path, .createNew)
            do throws(FileFault) {
                return try self.fill(file, path, sequence: sequence, bytes: bytes)
            } catch {
                // What is left of it would hold the very space that may be missing; recovery removes it too.
                file.close()
                try? self.files.remove(path)
                throw error
            }
        } catch { throw error.vecraftError }
    }

    private func fill(_ file: any File, _ path: String, sequence: UInt64, bytes: Int) throws(FileFault) -> PreparedSegment {
        let header = SegmentHeader(partition: self.partition, sequence: sequence, salt: self.salt())
        try file.preallocate(bytes)
        try file.write(header.encoded(), at: 0)
        try file.sync()
        try self.files.syncDirectory(self.directory)
        return PreparedSegment(sequence: sequence, path: path, salt: header.salt, file: file, bytes: bytes)
    }
}

extension FileFault {
    static func diskFull(_ path: String) -> FileFault {
        FileFault(path: path, operation: .preallocate, errno: 28 /* ENOSPC */)
    }
}
