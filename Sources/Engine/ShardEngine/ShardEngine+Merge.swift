import FileStore
import HNSW
import PayloadIndex
import Primitives
import Synchronization

extension ShardEngine {
    /// A merged segment holds at most this many times the rows of a grown one: what one rebuild may cost.
    static let mergedSegments = 64
    /// Rows whose id map entries are moved over under one write lock.
    private static let repointRows = 2_048

    /// Begins a merge, or ends one whose rows are linked. In the hands of whoever entered the maintenance.
    func advanceMerge() throws(VecraftError) -> Bool {
        guard let merge = self.maintenance.merge else {
            guard let inputs = self.chooseMerge() else { return false }
            try self.beginMerge(inputs)
            return true
        }
        guard let output = merge.output else {
            try self.finish(merge, .sealed)
            return true
        }
        let areScanned = self.lock.reading {
            merge.inputs.allSatisfy { input in input.graphs.allSatisfy { $0 == nil } }
        }
        if areScanned {
            // Nothing searches worse for having the output at once; it is linked and sealed like any closed segment.
            try self.finish(merge, .closed)
            return true
        }
        if let column = self.unlinkedColumn(output) {
            let linker = self.makeLinker(merge, output, column)
            self.maintenance.linking = nil
            output.graphs[column] = linker.graph
            output.linkers[column] = linker
            if self.unlinkedColumn(output) == nil { self.maintenance.linking = output }
            return true
        }
        guard SegmentDerived(output, graphFrom: self.settings.graphFrom).isLinked else { return false }
        try self.finish(merge, .sealed)
        return true
    }

    // MARK: Choice

    /// Segments to rewrite as one: those with many deleted rows, else `mergeFanIn` of about one size.
    func chooseMerge() -> [Segment]? {
        self.lock.reading {
            let limit = self.shape.capacity * Self.mergedSegments
            let full = self.segments.filter { $0.state != .growing }
            let worn = full.filter { $0.deletedShare >= self.settings.deletedRatio }.sorted {
                $0.liveCount < $1.liveCount
            }
            if !worn.isEmpty { return Self.fitting(worn, most: self.settings.mergeFanIn, limit) }
            var tiers: [Int: [Segment]] = [:]
            for segment in full where segment.state == .sealed && segment.liveCount < limit / 2 {
                tiers[self.tier(segment.liveCount), default: []].append(segment)
            }
            for (_, members) in tiers.sorted(by: { $0.key < $1.key }) where members.count >= self.settings.mergeFanIn {
                let chosen = Self.fitting(
                    members.sorted { $0.liveCount < $1.liveCount }, most: self.settings.mergeFanIn, limit)
                if chosen.count > 1 { return chosen }
            }
            return nil
        }
    }

    /// As many of the first as stay within the limit together; at least one.
    private static func fitting(_ segments: [Segment], most: Int, _ limit: Int) -> [Segment] {
        var chosen: [Segment] = []
        var rows = 0
        for segment in segments.prefix(most) {
            rows += segment.liveCount
            if rows > limit, !chosen.isEmpty { break }
            chosen.append(segment)
        }
        return chosen
    }

    /// Segments of one tier differ in size by at most a factor of `mergeFanIn`, with a grown segment in the middle of its
    /// tier; all smaller ones share one.
    private func tier(_ rows: Int) -> Int {
        var tier = 0
        var bound = Double(self.shape.capacity) / Double(self.settings.mergeFanIn).squareRoot()
        while Double(rows) >= bound {
            tier += 1
            bound *= Double(self.settings.mergeFanIn)
        }
        return tier
    }

    // MARK: Copy

    private func beginMerge(_ chosen: [Segment]) throws(VecraftError) {
        // The largest first: its rows keep their order and their graph.
        let inputs = chosen.sorted { $0.liveCount > $1.liveCount }
        let snapshots = self.lock.writing {
            inputs.map { input in
                input.isMerging = true
                return [UInt64](
                    UnsafeBufferPointer(start: input.deleted.words, count: Bits.wordCount(input.rowCount)))
            }
        }
        let merge = MergeBuild(inputs: inputs, snapshots: snapshots)
        do throws(FileFault) { try self.copyRows(merge) } catch {
            self.lock.writing { for input in inputs { input.isMerging = false } }
            // Stopping is no failure.
            if self.isStopping { return }
            throw error.vecraftError
        }
        self.maintenance.merge = merge
    }

    /// Writes the primary files of the output, one after the other, each in one pass over the inputs.
    private func copyRows(_ merge: MergeBuild) throws(FileFault) {
        var rows = 0
        var heapBytes = 0
        var files: [ShardFile] = []
        for (i, input) in merge.inputs.enumerated() {
            merge.forward[i].initialize(repeating: SegmentViews.gone, count: max(1, input.rowCount))
        }
        try merge.forEachRow { (i, row) throws(FileFault) in
            merge.forward[i][row] = UInt32(rows)
            rows += 1
        }
        guard rows > 0 else { return }
        do throws(FileFault) {
            let record = UnsafeMutablePointer<RowRecord>.allocate(capacity: 1)
            defer { record.deallocate() }
            files.append(
                try self.copy(merge, .rows, 0, 0) { i, row in
                    record.initialize(to: merge.inputs[i].storage.rows[row])
                    record.pointee.heapOffset = UInt64(heapBytes)
                    heapBytes += record.pointee.heapBytes
                    return UnsafeRawBufferPointer(start: record, count: RowRecord.bytes)
                })
            files.append(
                try self.copy(merge, .heap, 0, 0) { i, row in
                    let storage = merge.inputs[i].storage
                    let record = storage.rows[row]
                    return UnsafeRawBufferPointer(
                        start: storage.heap + Int(record.heapOffset), count: record.heapBytes)
                })
            for (index, column) in self.shape.columns.enumerated() {
                files.append(
                    try self.copy(merge, .vectors, index, column.dimension) { i, row in
                        UnsafeRawBufferPointer(
                            start: merge.inputs[i].storage.vector(index, row, stride: column.stride),
                            count: column.rowBytes)
                    })
            }
            merge.output = try self.output(files, rows, heapBytes)
        } catch {
            for file in files { try? self.files.remove(self.segmentFiles.path(file.name)) }
            throw error
        }
    }

    private func copy(
        _ merge: MergeBuild, _ kind: ShardFile.Kind, _ column: Int, _ dimension: Int,
        _ bytes: (Int, Int) -> UnsafeRawBufferPointer
    ) throws(FileFault) -> ShardFile {
        try self.segmentFiles.create(kind, column: column, number: self.numbers.file(), dimension: dimension) {
            (sink) throws(FileFault) in
            var gathering = GatheringSink()
            defer { gathering.free() }
            var copied = 0
            try merge.forEachRow { (i, row) throws(FileFault) in
                try gathering.write(bytes(i, row), to: sink)
                copied += 1
                if copied % 1024 == 0, self.isStopping { throw self.cancelled }
            }
            try gathering.flush(to: sink)
        }
    }

    /// The shard closes: what was begun is dropped.
    var cancelled: FileFault { FileFault(path: self.directory, operation: .write, errno: 125 /* ECANCELED */) }

    private func output(_ files: [ShardFile], _ rows: Int, _ heapBytes: Int) throws(FileFault) -> Segment {
        let storage = try SegmentStorage(
            mapping: files[0], heap: files[1], vectors: Array(files[2...]), count: rows, self.segmentFiles)
        let output = Segment(number: self.numbers.segment(), shape: self.shape, storage: storage, state: .closed)
        output.publish(rows: rows)
        output.stored.files = files
        output.stored.rows = rows
        output.stored.heapBytes = heapBytes
        guard let payloads = SegmentDerived.payloadIndex(output, interrupted: { self.isStopping }) else {
            throw self.cancelled
        }
        output.payloads = payloads
        return output
    }

    // MARK: Graphs

    /// Deleted share of a segment up to which its graph is taken over. With a fifth deleted it would still cost half of a new
    /// one, but recall some thousandths (`index-benchmark`, command `merge`), and merges follow one another.
    private static let reusedShare = 0.05

    /// Who links the output's rows: all, or those behind the first input's, whose links are taken over.
    private func makeLinker(_ merge: MergeBuild, _ output: Segment, _ column: Int) -> Linker {
        let linker = self.makeLinker(output, column)
        let first = merge.inputs[0]
        guard first.state == .sealed, let graph = first.graphs[column], graph.m == linker.graph.m,
            first.deletedShare <= Self.reusedShare
        else { return linker }
        let scratch = SearchScratch()
        linker.graph.adopt(graph, newRows: merge.forward[0], scratch: scratch)
        var rows = 0
        for row in 0..<first.rowCount where merge.forward[0][row] != SegmentViews.gone { rows += 1 }
        for row in 0..<rows where !output.present[column][row] { linker.graph.skip(row: UInt32(row)) }
        precondition(
            Int(linker.graph.linkedPrefix) >= rows, "\(rows) rows adopted, \(linker.graph.linkedPrefix) of them linked")
        self.counters.adopted.wrappingAdd(UInt64(linker.graph.linked), ordering: .relaxed)
        return Linker(column: column, graph: linker.graph, from: rows)
    }

    // MARK: Exchange

    private func finish(_ merge: MergeBuild, _ state: ShardManifest.SegmentState) throws(VecraftError) {
        var output = merge.output
        self.maintenance.linking = nil
        var made: [ShardFile] = []
        do throws(FileFault) {
            if let linked = merge.output, state == .sealed {
                made = try self.writeDerived(linked, linked.stored.files)
                output = try self.structure.withLock { (_) throws(FileFault) in try self.sealedCopy(linked, made) }
            }
        } catch {
            for file in made { try? self.files.remove(self.segmentFiles.path(file.name)) }
            throw error.vecraftError
        }
        self.structure.withLock { store in
            self.swap.withLock { _ in
                self.install(merge, output)
                self.repoint(merge, output)
            }
            for input in merge.inputs {
                store.obsolete += input.stored.files.map(\.name)
                if let deletes = input.stored.deletesFile { store.obsolete.append(deletes.name) }
            }
        }
        self.maintenance.merge = nil
        self.filterGraphs.forget(segments: Set(merge.inputs.map(\.number)))
        self.observer?.shard(
            self.id,
            .merged(
                segments: merge.inputs.count, rows: output?.rowCount ?? 0,
                took: .nanoseconds(monotonicNanoseconds() - merge.began)))
        try self.checkpointIfChanged()
    }

    /// One moment: before it the inputs serve, after it the output, with every deletion made meanwhile.
    private func install(_ merge: MergeBuild, _ output: Segment?) {
        self.lock.writing {
            for (i, input) in merge.inputs.enumerated() {
                for (w, before) in merge.snapshots[i].enumerated() {
                    var since = input.deleted.words[w] & ~before
                    while since != 0 {
                        output!.delete(row: Int(merge.forward[i][w << 6 | since.trailingZeroBitCount]))
                        since &= since &- 1
                    }
                }
            }
            if let output {
                self.table.add(output)
                for (i, input) in merge.inputs.enumerated() {
                    self.table.forward(input, to: output, UnsafePointer(merge.forward[i]))
                }
                self.segments.append(output)
            } else {
                for input in merge.inputs { self.table.release(input.slot) }
            }
            self.segments.removeAll { segment in merge.inputs.contains { $0 === segment } }
            self.layout &+= 1
            self.counters.merges.wrappingAdd(1, ordering: .relaxed)
        }
    }

    /// Moves the id map's entries from the inputs' slots to the output's, some at a time, then frees the slots.
    private func repoint(_ merge: MergeBuild, _ output: Segment?) {
        guard let output else { return }
        var start = 0
        while start < output.rowCount {
            let rows = start..<min(start + Self.repointRows, output.rowCount)
            let hashes = rows.map { StableHash.of(output.storage.id($0)) }
            self.lock.writing {
                let views = self.table.views
                for (i, row) in rows.enumerated() where !output.deleted[row] {
                    let place = Location(slot: output.slot, row: UInt32(row))
                    let entry = self.ids.find(hashes[i]) { views.resolve($0) == place }
                    entry!.pointee.location = place.rawValue
                }
            }
            start = rows.upperBound
        }
        self.lock.writing { for input in merge.inputs { self.table.release(input.slot) } }
    }

    /// At the end: what was copied is dropped, the inputs stay.
    func abandonMerge() {
        guard let merge = self.maintenance.merge else { return }
        self.maintenance.merge = nil
        self.maintenance.linking = nil
        for file in merge.output?.stored.files ?? [] { try? self.files.remove(self.segmentFiles.path(file.name)) }
        self.lock.writing { for input in merge.inputs { input.isMerging = false } }
    }
}
