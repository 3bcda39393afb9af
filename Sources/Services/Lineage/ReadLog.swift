package import FileStore
internal import JournalFormat
internal import Observability
package import Primitives
internal import Synchronization
package import Wire

/// What a gateway answered to reads that carried a request id, or why it could not: for the question which index version of each shard
/// answered.
///
/// Notes, not data: they reach the disk a moment later and are not synced, so a crash may cost the last of them. Two files take turns,
/// each at most half of the limit; when the newer is full the older one goes.
package final class ReadLog: Sendable {
    /// What waits for the disk; beyond it notes are dropped and counted.
    private static let maxBuffered = 4 << 20
    private static let headBytes = 8

    private struct State {
        var buffer: [UInt8] = []
        /// Notes in it.
        var buffered = 0
        var file: (any File)?
        var fileBytes = 0
        var isClosed = false
    }
    private let state = Mutex(State())
    private let writing = Mutex<Void>(())
    private let directory: String
    private let files: any FileStore
    private let halfBytes: Int
    private let dropped: Counter

    /// - Parameter limitBytes: Of both files; at least 64 KiB.
    package init(
        directory: String, files: any FileStore, limitBytes: Int, metrics: LineageMetrics
    ) throws(VecraftError) {
        self.directory = directory
        self.files = files
        self.halfBytes = max(32 << 10, limitBytes / 2)
        self.dropped = metrics.readsDropped
        do throws(FileFault) {
            try files.createDirectory(directory)
            let file = try files.open(self.newer, .create)
            // What a crash left half written is cut off: notes behind it would never be found.
            let bytes = (try? files.readWhole(self.newer, limit: 1 << 30)) ?? []
            let end = Self.scan(bytes) { _ in }
            if try file.size() > end { try file.truncate(to: end) }
            self.state.withLock { state in
                state.file = file
                state.fileBytes = end
            }
        } catch { throw VecraftError(.unavailable, "the log of reads cannot be kept: \(error)") }
    }

    private var newer: String { Paths.join(self.directory, "reads-new") }
    private var older: String { Paths.join(self.directory, "reads-old") }

    /// Notes an answer, or a failure. Short, never waits for the disk.
    package func note(_ read: VecraftV1.AnsweredRead) {
        let bytes = read.encode()
        let crc = bytes.withUnsafeBytes { CRC32C.of($0) }
        let isKept = self.state.withLock { state in
            guard !state.isClosed, state.buffer.count + bytes.count + Self.headBytes <= Self.maxBuffered else {
                return false
            }
            var head = ByteWriter(reserving: Self.headBytes)
            head.write(UInt32(bytes.count))
            head.write(crc)
            state.buffer += head.bytes
            state.buffer += bytes
            state.buffered += 1
            return true
        }
        if !isKept { self.dropped.increment() }
    }

    /// Writes what waits, now and then, until cancelled.
    package func run() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(500))
            self.flush()
        }
    }

    package func close() {
        self.flush()
        self.state.withLock { state in
            state.isClosed = true
            state.file?.close()
            state.file = nil
        }
    }

    private func flush() {
        self.writing.withLock { _ in
            let (bytes, notes, file, at) = self.state.withLock { state in
                defer {
                    state.buffer = []
                    state.buffered = 0
                }
                return (state.buffer, state.buffered, state.file, state.fileBytes)
            }
            guard !bytes.isEmpty, let file else { return }
            guard (try? file.write(bytes, at: at)) != nil else {
                // A full disk: the place is tried again, what was to stand there is lost, and what of it stands there goes too.
                try? file.truncate(to: at)
                self.dropped.increment(by: UInt64(notes))
                return
            }
            self.state.withLock { $0.fileBytes = at + bytes.count }
            if at + bytes.count >= self.halfBytes { self.turn() }
        }
    }

    private func turn() {
        do throws(FileFault) {
            if self.files.exists(self.newer) { try self.files.rename(self.newer, to: self.older) }
            let file = try self.files.open(self.newer, .create)
            self.state.withLock { state in
                state.file?.close()
                state.file = file
                state.fileBytes = 0
            }
        } catch {
            // The old file goes on growing until a later turn succeeds.
        }
    }

    /// Notes of a request, oldest first; at most 1,000, the newest.
    package func find(_ requestID: String) -> [VecraftV1.AnsweredRead] {
        self.flush()
        var found: [VecraftV1.AnsweredRead] = []
        for path in [self.older, self.newer] {
            guard let bytes = try? self.files.readWhole(path, limit: 4 * self.halfBytes + Self.maxBuffered) else {
                continue
            }
            Self.scan(bytes, for: requestID, into: &found)
        }
        return found.suffix(1_000)
    }

    /// Hands out the notes of a file, up to the first that is torn or damaged.
    ///
    /// - Returns: Where the last good one ends.
    @discardableResult
    private static func scan(_ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) -> Void) -> Int {
        bytes.withUnsafeBytes { raw in
            var position = 0
            while position + Self.headBytes <= raw.count {
                let count = Int(raw.integer(at: position, as: UInt32.self))
                let crc = raw.integer(at: position + 4, as: UInt32.self)
                guard count <= raw.count - position - Self.headBytes else { break }
                let note = UnsafeRawBufferPointer(
                    rebasing: raw[position + Self.headBytes..<position + Self.headBytes + count])
                guard CRC32C.of(note) == crc else { break }
                position += Self.headBytes + count
                body(note)
            }
            return position
        }
    }

    private static func scan(_ bytes: [UInt8], for requestID: String, into found: inout [VecraftV1.AnsweredRead]) {
        let wanted = Array(requestID.utf8)
        Self.scan(bytes) { note in
            // The request id is the message's first field: tag, length (one byte, or two of those that are longer), bytes.
            let start = wanted.count < 128 ? 2 : 3
            guard note.count > start + wanted.count, note[0] == 0x0a,
                wanted.count >= 128 || Int(note[1]) == wanted.count,
                wanted.withUnsafeBytes({
                    RawBytes.equal(UnsafeRawBufferPointer(rebasing: note[start..<start + wanted.count]), $0)
                }), let read = try? VecraftV1.AnsweredRead.decode([UInt8](note)), read.requestID == requestID
            else { return }
            found.append(read)
        }
    }
}
