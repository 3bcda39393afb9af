import FileStore
package import Primitives
import Synchronization

extension ShardEngine {
    /// The shard's files at one applied offset, which stay readable while the shard goes on: for a replica that is built from
    /// them. What was applied since the last checkpoint is written first.
    ///
    /// - Throws: RESOURCE_EXHAUSTED while ``ShardSettings/snapshots`` are open, or without descriptors; UNAVAILABLE if the disk
    ///   refuses or the shard is closed.
    package func openSnapshot() throws(VecraftError) -> ShardSnapshot {
        try self.checkOpen()
        let snapshot = try self.snapshots.make { () throws(VecraftError) in
            // If the disk takes no more, the manifest before is as good: the journal has the rest. The failure is counted there.
            try? self.checkpointIfChanged()
            do throws(FileFault) {
                // No file of the manifest can go while the structure is held.
                return try self.structure.withLock { (store) throws(FileFault) in
                    var open: [any File] = []
                    for file in store.manifest.allFiles {
                        open.append(try self.files.open(self.segmentFiles.path(file.name), .read))
                    }
                    return ShardSnapshot(store.manifest, shard: self.id, open: open)
                }
            } catch {
                throw error.isOutOfDescriptors
                    ? VecraftError(
                        .resourceExhausted, "no descriptors for a snapshot (\(error))", reason: "NO_DESCRIPTORS",
                        retryAfter: .seconds(1))
                    : error.vecraftError
            }
        }
        // It is looked after from now on.
        self.workers.wake(self)
        return snapshot
    }

    /// Of the files that the last manifest lists.
    package var durableBytes: UInt64 { self.durable.withLock { $0.bytes } }

    /// Snapshots held now.
    package var openSnapshots: Int { self.snapshots.count }
}

extension FileFault {
    fileprivate var isOutOfDescriptors: Bool { self.errno == 24 /* EMFILE */ || self.errno == 23 /* ENFILE */ }
}
