import FileStore
package import Primitives
import Synchronization

extension ShardEngine {
    var segmentFiles: SegmentFiles { SegmentFiles(files: self.files, directory: self.directory, shard: self.id) }

    var isCheckpointDue: Bool {
        self.bytesSinceCheckpoint.load(ordering: .relaxed) >= self.settings.checkpointJournalBytes
    }

    /// Makes everything applied so far durable. Also done in the background and by ``close()``.
    ///
    /// - Throws: RESOURCE_EXHAUSTED (reason DISK_FULL) or UNAVAILABLE; the shard goes on in memory, and the next
    ///   checkpoint tries again.
    package func checkpoint() throws(VecraftError) {
        try self.checkOpen()
        try self.checkpointIfChanged()
    }

    func checkpointIfChanged() throws(VecraftError) {
        let began = monotonicNanoseconds()
        do throws(FileFault) {
            let written = try self.structure.withLock { (store) throws(FileFault) in try self.checkpoint(&store) }
            guard let written else { return }
            self.counters.checkpoints.wrappingAdd(1, ordering: .relaxed)
            self.observer?.shard(
                self.id,
                .checkpointed(
                    through: written.applied, bytes: written.bytes,
                    took: .nanoseconds(monotonicNanoseconds() - began)))
        } catch {
            let error = error.vecraftError
            self.counters.checkpointFailures.wrappingAdd(1, ordering: .relaxed)
            self.observer?.shard(self.id, .checkpointFailed(error))
            throw error
        }
    }

    /// One segment at the moment of the cut.
    private struct Cut {
        var segment: Segment
        var rows: Int
        var deletedCount: Int
        var deletions: UInt64
        var state: ShardManifest.SegmentState
        /// Deleted rows, if they changed since they were stored.
        var deleted: [UInt64]?
    }

    /// - Returns: Nil if the last manifest says it all.
    private func checkpoint(_ store: inout ShardStore) throws(FileFault) -> (applied: JournalOffset, bytes: UInt64)? {
        var manifest = store.manifest
        var layout: UInt64 = 0
        var cuts: [Cut] = []
        let bytes = self.bytesSinceCheckpoint.exchange(0, ordering: .relaxed)
        self.lock.reading {
            manifest.applied = self.applied
            manifest.appliedHLC = self.appliedHLC
            manifest.digest = self.pointsDigest
            manifest.points = UInt64(self.ids.count)
            layout = self.layout
            cuts = self.segments.map(self.cut)
        }
        if manifest.applied == store.manifest.applied, layout == store.layout { return nil }
        do throws(FileFault) {
            var written: UInt64 = 0
            manifest.segments = []
            for cut in cuts where cut.rows > 0 {
                manifest.segments.append(try self.store(cut, &store, &written))
            }
            (manifest.nextSegment, manifest.nextFile) = self.numbers.upcoming
            manifest.salvage = nil
            // Names of the files first, then the manifest that counts on them.
            try self.files.syncDirectory(self.directory)
            let encoded = manifest.encoded { SegmentFiles.checksum($0) }
            try AtomicFile.replace(self.segmentFiles.path(ShardManifest.fileName), with: encoded, in: self.files)
            let wasRestarted = store.manifest.salvage != nil
            store.manifest = manifest
            store.layout = layout
            self.durable.withLock { $0 = Durable(manifest) }
            self.removeObsolete(&store)
            if wasRestarted { try? self.files.removeTree(self.segmentFiles.path(Quarantine.salvage)) }
            return (manifest.applied, written + UInt64(encoded.count))
        } catch {
            self.bytesSinceCheckpoint.wrappingAdd(bytes, ordering: .relaxed)
            if self.isCheckpointDue { self.workers.wake(self) }
            throw error
        }
    }

    private func cut(_ segment: Segment) -> Cut {
        var deleted: [UInt64]?
        if segment.deletions != segment.stored.deletions || segment.stored.deletesFile == nil, segment.deletedCount > 0 {
            let words = Bits.wordCount(segment.rowCount)
            deleted = [UInt64](UnsafeBufferPointer(start: segment.deleted.words, count: words))
        }
        return Cut(
            segment: segment, rows: segment.rowCount, deletedCount: segment.deletedCount, deletions: segment.deletions,
            state: segment.state, deleted: deleted)
    }

    /// Writes what the disk lacks of a segment.
    private func store(
        _ cut: Cut, _ store: inout ShardStore, _ written: inout UInt64
    ) throws(FileFault) -> ShardManifest.Segment {
        let segment = cut.segment
        try self.storeRows(segment, upTo: cut.rows, &store, &written)
        if let deleted = cut.deleted {
            let file = try deleted.withBytes { (raw) throws(FileFault) in
                try self.segmentFiles.create(.deletes, number: self.numbers.file()) { (sink) throws(FileFault) in
                    try sink(raw)
                }
            }
            if let old = segment.stored.deletesFile { store.obsolete.append(old.name) }
            segment.stored.deletesFile = file
            segment.stored.deletions = cut.deletions
            written += file.bytes
        }
        return ShardManifest.Segment(
            number: segment.number, state: cut.state, rows: UInt32(cut.rows), deleted: UInt32(cut.deletedCount),
            files: segment.stored.files + (cut.deletedCount > 0 ? [segment.stored.deletesFile!] : []))
    }

    /// Appends rows, ids, payloads and vectors that are only in memory. Under the structure mutex.
    func storeRows(
        _ segment: Segment, upTo rows: Int, _ store: inout ShardStore, _ written: inout UInt64
    ) throws(FileFault) {
        let from = segment.stored.rows
        guard rows > from else { return }
        let storage = segment.storage
        let last = storage.rows[rows - 1]
        let heapEnd = Int(last.heapOffset) + last.heapBytes
        var parts: [(kind: ShardFile.Kind, column: Int, dimension: Int, raw: UnsafeRawBufferPointer)] = [
            (.rows, 0, 0, UnsafeRawBufferPointer(start: storage.rows + from, count: (rows - from) * RowRecord.bytes)),
            (
                .heap, 0, 0,
                UnsafeRawBufferPointer(
                    start: storage.heap + segment.stored.heapBytes, count: heapEnd - segment.stored.heapBytes)
            ),
        ]
        for (index, column) in segment.shape.columns.enumerated() {
            parts.append(
                (
                    .vectors, index, column.dimension,
                    UnsafeRawBufferPointer(
                        start: storage.columns[index] + from * column.stride, count: (rows - from) * column.rowBytes)
                ))
        }
        var didFailSync = false
        var created: [ShardFile] = []
        do throws(FileFault) {
            var files: [ShardFile] = []
            for part in parts {
                if let known = segment.stored.file(part.kind, part.column) {
                    files.append(try self.segmentFiles.append(part.raw, to: known, didFailSync: &didFailSync))
                } else {
                    created.append(
                        try self.segmentFiles.create(
                            part.kind, column: part.column, number: self.numbers.file(), dimension: part.dimension
                        ) { (sink) throws(FileFault) in try sink(part.raw) })
                    files.append(created.last!)
                }
            }
            written += parts.reduce(0) { $0 + UInt64($1.raw.count) }
            segment.stored.files = files
            segment.stored.rows = rows
            segment.stored.heapBytes = heapEnd
        } catch {
            for file in created { try? self.files.remove(self.segmentFiles.path(file.name)) }
            if didFailSync {
                // After a failed sync nothing is known of what the kernel still holds: write it all again, elsewhere.
                store.obsolete += segment.stored.files.map(\.name)
                segment.stored.files = []
                segment.stored.rows = 0
                segment.stored.heapBytes = 0
            }
            throw error
        }
    }

    /// No manifest lists them any more. What cannot be removed is found as an orphan at the next start.
    private func removeObsolete(_ store: inout ShardStore) {
        let listed = Set(store.manifest.segments.flatMap { $0.files.map(\.name) })
        for name in store.obsolete where !listed.contains(name) { try? self.files.remove(self.segmentFiles.path(name)) }
        store.obsolete = []
    }
}
