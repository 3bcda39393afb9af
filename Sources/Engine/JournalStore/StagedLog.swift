internal import FileStore
package import JournalFormat
package import Primitives
package import Raft

/// A log that comes as a whole, aside, until the replica adopts it or gives it up. One thread at a time.
package final class StagedLog: @unchecked Sendable {  // its users take turns: who stages it, then the disk's thread
    package let transfer: LogTransfer
    let generation: UInt32
    private let partition: PartitionID
    private let folder: String
    private let settings: JournalSettings
    private let files: any FileStore
    private let log: PartitionLog
    private let keeper: SegmentKeeper
    private var writer: RunWriter
    private var keys: [KeyRecord] = []
    private var isClosed = false

    init(
        _ transfer: LogTransfer, partition: PartitionID, generation: UInt32, folder: String, settings: JournalSettings,
        files: any FileStore
    ) throws(VecraftError) {
        self.transfer = transfer
        self.generation = generation
        self.partition = partition
        self.folder = folder
        self.settings = settings
        self.files = files
        do throws(FileFault) {
            try files.removeTree(folder)
            try files.createDirectory(folder)
        } catch { throw error.vecraftError }
        let maker = SegmentMaker(
            partition: partition, directory: folder, files: files, settings: settings, salt: { UInt32.random(in: .min ... .max) })
        // Names of segments are never used twice, so that no reader takes one log's for another's.
        let first = try maker.make(sequence: UInt64(generation) << 32, frameBytes: 0, mayUseReserve: true)
        let segment = Segment(
            sequence: first.sequence, path: first.path, salt: first.salt, firstOffset: transfer.start.position.index + 1,
            fileBytes: first.bytes)
        self.log = PartitionLog(
            partition: partition, directory: folder, files: files, segments: [segment], term: 0,
            start: transfer.start.position.index, committed: transfer.start.position.index)
        self.keeper = SegmentKeeper(maker: maker, log: self.log)
        let mark = try DurableMark(directory: folder, files: files)
        self.writer = RunWriter(
            SegmentAppender(
                log: self.log, settings: settings, maker: maker, keeper: self.keeper, segment: segment, file: first.file),
            mark: mark)
        try self.keeper.start()
    }

    package func write(_ run: FrameRun) throws(VecraftError) {
        guard run.firstOffset == self.log.lastWritten + 1, run.lastOffset <= self.transfer.through.index else {
            throw .invalid("frames", "entries \(run.firstOffset) to \(run.lastOffset) where \(self.log.lastWritten + 1) is due")
        }
        do throws(FileFault) {
            try self.writer.write(run)
            // A bound for what a failing disk can take back.
            try self.writer.sync(committed: self.log.lastWritten)
        } catch { throw error.vecraftError }
    }

    package func write(_ keys: [KeyRecord]) { self.keys += keys }

    /// All is there, checked and durable.
    ///
    /// - Returns: What the replica must know of it.
    package func finish() throws(VecraftError) -> LogSummary {
        guard self.log.lastWritten == self.transfer.through.index else {
            throw .invalid("frames", "the log ends with \(self.log.lastWritten), \(self.transfer.through.index) was said")
        }
        let summary = try ReplicaStore.summary(self.log, start: self.transfer.start).log
        guard summary.last == self.transfer.through else {
            throw .invalid("frames", "the log ends \(summary.last), \(self.transfer.through) was said")
        }
        do throws(FileFault) {
            try TrimmedKeys.store(
                self.keys.filter { $0.offset <= self.transfer.start.position.index }, directory: self.folder, files: self.files)
            try self.writer.sync(committed: self.log.lastWritten)
            try self.writer.mark.sync()
            try self.files.syncDirectory(self.folder)
            try self.files.syncParent(of: self.folder)
        } catch { throw error.vecraftError }
        self.close()
        return summary
    }

    /// Removes what is there.
    package func abandon() {
        self.close()
        try? self.files.removeTree(self.folder)
    }

    private func close() {
        guard !self.isClosed else { return }
        self.isClosed = true
        self.keeper.close()
        self.writer.appender.close()
        self.writer.mark.close()
    }
}

/// Idempotency keys of entries that were trimmed and are still remembered, in a file beside the log. Not derived: what was trimmed
/// cannot be read again. Little-endian: u32 magic "VJTK", u32 crc32c of the rest, u16 format, u16 0, u32 keys, then each as in
/// ``KeyFile``.
enum TrimmedKeys {
    static let name = "trimmed-keys"
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x4B54_4A56

    static func store(_ keys: [KeyRecord], directory: String, files: any FileStore) throws(FileFault) {
        var writer = ByteWriter(reserving: 64 + keys.count * 96)
        writer.write(Self.magic)
        writer.write(UInt32(0))
        writer.write(Self.format)
        writer.write(UInt16(0))
        writer.write(UInt32(keys.count))
        for key in keys { key.encode(into: &writer) }
        writer.patch(writer.bytes.withUnsafeBytes { CRC32C.of(UnsafeRawBufferPointer(rebasing: $0[8...])) }, at: 4)
        try AtomicFile.replace(Paths.join(directory, Self.name), with: writer.bytes, in: files)
    }

    static func load(directory: String, files: any FileStore) throws(VecraftError) -> [KeyRecord] {
        let path = Paths.join(directory, Self.name)
        guard files.exists(path) else { return [] }
        let bytes = try onDisk { () throws(FileFault) in try files.readWhole(path, limit: 256 << 20) }
        return try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
            let raw = UnsafeRawBufferPointer(buffer)
            guard raw.count >= 16, raw.integer(at: 0, as: UInt32.self) == Self.magic,
                CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
            else { throw .damaged(path, byte: 0, "idempotency keys of trimmed entries are damaged") }
            let format = raw.integer(at: 8, as: UInt16.self)
            guard format == Self.format else { throw .formatTooNew(path, "trimmed keys", format, reads: Self.format) }
            var reader = ByteReader(raw, at: 12)
            do throws(DecodingFault) {
                var keys: [KeyRecord] = []
                for _ in 0..<(try reader.read(UInt32.self)) { keys.append(try KeyRecord(decoding: &reader)) }
                return keys
            } catch { throw .damaged(path, byte: error.position, error.what) }
        }
    }
}
