import FileStore
package import Primitives
import Synchronization

/// A file of a shard, as its manifest lists it. Whoever has bytes of this name, length and checksum need not be sent them.
package struct ShardFileInfo: Hashable, Sendable {
    package var name: String
    package var bytes: UInt64
    /// CRC-32C of these bytes.
    package var checksum: UInt32

    package init(name: String, bytes: UInt64, checksum: UInt32) {
        self.name = name
        self.bytes = bytes
        self.checksum = checksum
    }

    init(_ file: ShardFile) { self.init(name: file.name, bytes: file.bytes, checksum: file.checksum) }
}

/// A shard's files as one manifest lists them, readable until they are released, whatever is merged, sealed or dropped
/// meanwhile.
///
/// They are held by open descriptors: what is removed from a folder stays readable through them, a growing segment's file
/// only gets longer behind what the manifest lists, and a process that dies leaves nothing of them behind. The price is a
/// descriptor a file.
package final class ShardSnapshot: Sendable {
    package let shard: ShardID
    package let applied: JournalOffset
    /// Of the points at `applied`, as ``ShardEngine/state``.
    package let digest: UInt64
    package let points: UInt64
    /// Encoded, with its checksum.
    package let manifest: [UInt8]
    /// In the manifest's order; what each is made from comes before it.
    package let files: [ShardFileInfo]

    /// Nil once released. Dropped rather than closed: whoever reads at that moment keeps its file.
    private let open: Mutex<[any File]?>
    private let lastUse: Atomic<UInt64>

    init(_ manifest: ShardManifest, shard: ShardID, open: [any File]) {
        var manifest = manifest
        manifest.salvage = nil
        self.shard = shard
        self.applied = manifest.applied
        self.digest = manifest.digest
        self.points = manifest.points
        self.manifest = manifest.encoded { SegmentFiles.checksum($0) }
        self.files = manifest.allFiles.map { ShardFileInfo($0) }
        self.open = Mutex(open)
        self.lastUse = Atomic(monotonicNanoseconds())
    }

    package var totalBytes: UInt64 { self.files.reduce(0) { $0 + $1.bytes } }

    /// Reads exactly `buffer.count` bytes of a file, which must lie within its listed length.
    ///
    /// - Throws: UNAVAILABLE, reason SNAPSHOT_RELEASED, when it was released or left alone for too long; what the disk says.
    package func read(
        file index: Int, at position: Int, into buffer: UnsafeMutableRawBufferPointer
    ) throws(VecraftError) {
        precondition(position + buffer.count <= Int(self.files[index].bytes), "beyond what the manifest lists")
        self.lastUse.store(monotonicNanoseconds(), ordering: .relaxed)
        guard let file = self.open.withLock({ $0?[index] }) else {
            throw VecraftError(
                .unavailable, "the snapshot of shard \(self.shard) was released", reason: "SNAPSHOT_RELEASED")
        }
        do throws(FileFault) { try file.readExactly(into: buffer, at: position) } catch { throw error.vecraftError }
        self.lastUse.store(monotonicNanoseconds(), ordering: .relaxed)
    }

    /// Gives the files up. Fine to call twice.
    package func release() { self.open.withLock { $0 = nil } }

    package var isReleased: Bool { self.open.withLock { $0 == nil } }
    var lastUsed: UInt64 { self.lastUse.load(ordering: .relaxed) }
}

/// The snapshots of a shard that are open: a limited number, and none that nobody reads.
final class ShardSnapshots: Sendable {
    private struct State {
        var open: [ShardSnapshot] = []
        /// Being opened.
        var coming = 0
    }
    private let limit: Int
    /// Nanoseconds.
    private let patience: UInt64
    private let state = Mutex(State())

    init(limit: Int, patience: Duration) {
        self.limit = limit
        self.patience =
            UInt64(patience.components.seconds) * 1_000_000_000
            + UInt64(patience.components.attoseconds / 1_000_000_000)
    }

    /// - Throws: RESOURCE_EXHAUSTED when there are as many as may be.
    func make(_ body: () throws(VecraftError) -> ShardSnapshot) throws(VecraftError) -> ShardSnapshot {
        self.expire(at: monotonicNanoseconds())
        let hasRoom = self.state.withLock { state in
            guard state.open.count + state.coming < self.limit else { return false }
            state.coming += 1
            return true
        }
        guard hasRoom else {
            throw VecraftError(
                .resourceExhausted, "\(self.limit) snapshots of the shard are open already",
                reason: "TOO_MANY_SNAPSHOTS",
                retryAfter: .seconds(1))
        }
        do throws(VecraftError) {
            let made = try body()
            self.state.withLock { state in
                state.coming -= 1
                state.open.append(made)
            }
            return made
        } catch {
            self.state.withLock { $0.coming -= 1 }
            throw error
        }
    }

    /// Releases those that were not read for too long.
    /// - Returns: When to look again, in monotonic nanoseconds; nil when none is open.
    @discardableResult
    func expire(at now: UInt64) -> UInt64? {
        self.state.withLock { state in
            for snapshot in state.open where snapshot.lastUsed + self.patience <= now { snapshot.release() }
            state.open.removeAll { $0.isReleased }
            return state.open.map { $0.lastUsed + self.patience }.min()
        }
    }

    var count: Int { self.state.withLock { state in state.open.count { !$0.isReleased } } }
}
