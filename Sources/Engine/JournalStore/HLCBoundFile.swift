internal import FileStore
internal import JournalFormat
internal import Primitives
internal import Synchronization

/// The clock bound on disk: no timestamp at or beyond it was given out. Two slots of 32 bytes, 512 bytes apart, written in turn, in
/// a block reserved when the file is made, so that a full disk stops no clock. The later whole slot counts:
/// u32 magic "VJHB", u32 crc32c of the rest, u16 format, u16 0, u32 0, u64 sequence, u64 bound in milliseconds.
final class HLCBoundFile: Sendable {
    static let format: UInt16 = 1
    private static let magic: UInt32 = 0x4248_4A56
    private static let slotBytes = 32
    private static let slotSpacing = 512
    private static let fileBytes = 4096

    private struct State {
        var sequence: UInt64
        var fault: FileFault?
    }
    private let file: any File
    private let state: Mutex<State>
    /// As it was found; 0 for a new one.
    let found: UInt64

    init(path: String, files: any FileStore) throws(VecraftError) {
        let file = try onDisk { () throws(FileFault) in try files.open(path, .create) }
        let size = try onDisk { () throws(FileFault) in try file.size() }
        var slots: [(sequence: UInt64, bound: UInt64)?] = []
        if size < Self.fileBytes {
            try onDisk { () throws(FileFault) in
                try file.write([UInt8](repeating: 0, count: Self.fileBytes), at: 0)
                try file.sync()
                try files.syncParent(of: path)
            }
        } else {
            for slot in 0..<2 { slots.append(try Self.read(slot, file)) }
        }
        self.file = file
        let last = slots.compactMap { $0 }.max { $0.sequence < $1.sequence }
        self.found = last?.bound ?? 0
        self.state = Mutex(State(sequence: last?.sequence ?? 0))
    }

    /// Nil for a slot never written, or torn by a crash: the other one counts then.
    private static func read(_ slot: Int, _ file: any File) throws(VecraftError) -> (sequence: UInt64, bound: UInt64)? {
        let buffer = AlignedBytes(bytes: Self.slotBytes)
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.raw[..<Self.slotBytes])
        try onDisk { () throws(FileFault) in try file.readExactly(into: bytes, at: slot * Self.slotSpacing) }
        defer { withExtendedLifetime(buffer) {} }
        let raw = UnsafeRawBufferPointer(bytes)
        guard raw.integer(at: 0, as: UInt32.self) == Self.magic,
            CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self)
        else { return nil }
        let format = raw.integer(at: 8, as: UInt16.self)
        guard format == Self.format else { throw .formatTooNew(file.path, "clock bound", format, reads: Self.format) }
        return (raw.integer(at: 16), raw.integer(at: 24))
    }

    /// Makes a bound durable. A fault is kept in ``fault``: the clock goes on, for entries of the log are above each other without it.
    func persist(_ bound: UInt64) {
        self.state.withLock { state in
            state.sequence += 1
            let slot = AlignedBytes(bytes: Self.slotBytes)
            let raw = UnsafeMutableRawBufferPointer(rebasing: slot.raw[..<Self.slotBytes])
            raw.store(Self.magic, at: 0)
            raw.store(UInt64(Self.format), at: 8)
            raw.store(state.sequence, at: 16)
            raw.store(bound, at: 24)
            raw.store(CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])), at: 4)
            do throws(FileFault) {
                try self.file.write(UnsafeRawBufferPointer(raw), at: Int(state.sequence % 2) * Self.slotSpacing)
                try self.file.sync()
                state.fault = nil
            } catch { state.fault = error }
        }
    }

    /// Why the last bound is not durable, if it is not.
    var fault: FileFault? { self.state.withLock { $0.fault } }

    func close() { self.file.close() }
}
