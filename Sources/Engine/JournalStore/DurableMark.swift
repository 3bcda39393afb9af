internal import FileStore
internal import JournalFormat
internal import Primitives

/// A small file beside the segments that says how far the log was durable, so that damage to the very last entries is told from a
/// torn tail. Written after each commit without a sync (it survives the process, not the power), synced when the log is closed.
/// What it says is always true: the entries were durable before it was written.
///
/// Two slots of 32 bytes, 512 bytes apart, written in turn, the better one counts:
/// u32 magic "VJDM", u32 crc32c of the rest, u16 format, u16 0, u32 0, u64 sequence, u64 durable offset.
struct DurableMark: Sendable {
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x4D44_4A56
    private static let slotBytes = 32
    private static let slotSpacing = 512
    private static let fileBytes = 4096

    private let file: any File
    private var sequence: UInt64 = 0
    private(set) var durable: JournalOffset = 0

    /// Opens it, made if absent; its block is reserved then, so that a full disk never stops it.
    init(directory: String, name: String = SegmentName.durableMark, files: any FileStore) throws(VecraftError) {
        let path = Paths.join(directory, name)
        do throws(FileFault) {
            self.file = try files.open(path, .create)
            if try self.file.size() < Self.fileBytes {
                try self.file.write([UInt8](repeating: 0, count: Self.fileBytes), at: 0)
                try self.file.sync()
                try files.syncDirectory(directory)
            }
        } catch { throw error.vecraftError }
        for slot in 0..<2 { try self.load(slot) }
    }

    private mutating func load(_ slot: Int) throws(VecraftError) {
        var bytes = [UInt8](repeating: 0, count: Self.slotBytes)
        do throws(FileFault) {
            try bytes.withUnsafeMutableBufferPointer { (buffer) throws(FileFault) in
                try self.file.readExactly(into: UnsafeMutableRawBufferPointer(buffer), at: slot * Self.slotSpacing)
            }
        } catch { throw error.vecraftError }
        let found: (sequence: UInt64, durable: UInt64)? = try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
            let raw = UnsafeRawBufferPointer(buffer)
            // A torn or damaged slot is worth nothing; the other one, or none, is then the mark.
            guard raw.integer(at: 0, as: UInt32.self) == Self.magic,
                CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
            else { return nil }
            let format = raw.integer(at: 8, as: UInt16.self)
            guard format == Self.format else { throw .formatTooNew(self.file.path, "durable mark", format, reads: Self.format) }
            return (raw.integer(at: 16), raw.integer(at: 24))
        }
        guard let found, found.sequence > self.sequence else { return }
        self.sequence = found.sequence
        self.durable = found.durable
    }

    mutating func advance(to offset: JournalOffset) throws(FileFault) {
        let next = self.sequence + 1
        try withUnsafeTemporaryAllocation(byteCount: Self.slotBytes, alignment: 8) { (raw) throws(FileFault) in
            raw.store(Self.magic, at: 0)
            raw.store(UInt64(Self.format), at: 8)
            raw.store(next, at: 16)
            raw.store(offset, at: 24)
            raw.store(CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])), at: 4)
            try self.file.write(UnsafeRawBufferPointer(raw), at: Int(next % 2) * Self.slotSpacing)
        }
        // After a fault the same slot is written again: the other one stays good.
        self.sequence = next
        self.durable = offset
    }

    func sync() throws(FileFault) { try self.file.sync() }
    func close() { self.file.close() }
}

extension VecraftError {
    static func formatTooNew(_ path: String, _ what: String, _ format: UInt16, reads: UInt16) -> VecraftError {
        VecraftError(
            .failedPrecondition, "\(path): \(what) of format \(format); this release reads \(reads)",
            reason: "FORMAT_TOO_NEW")
    }

    /// Something stored is not what was stored: never repaired by guessing.
    static func damaged(_ path: String, byte: Int, _ what: String) -> VecraftError {
        VecraftError(.dataLoss, "\(path), byte \(byte): \(what)", reason: "JOURNAL_DAMAGED")
    }
}
