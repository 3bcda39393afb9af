import FileStore
import HNSW
import PayloadIndex
import Primitives
import Synchronization

extension ShardEngine {
    /// Seals the first closed segment whose rows are all linked. False if there is none.
    func sealNext() throws(VecraftError) -> Bool {
        let next = self.lock.reading {
            self.segments.first { segment in
                segment.state == .closed && !segment.isMerging && segment.deletedShare < self.settings.deletedRatio
                    && SegmentDerived(segment, graphFrom: self.settings.graphFrom).isLinked
            }
        }
        guard let next else { return false }
        try self.seal(next)
        return true
    }

    /// Seals what is linked to its end, so that the next start need not link it again.
    func sealForClose() {
        let linked = self.lock.writing {
            let linked = self.segments.filter { segment in
                segment.state != .sealed && segment.graphs.contains { $0 != nil }
                    && SegmentDerived(segment, graphFrom: self.settings.graphFrom).isLinked
            }
            for segment in linked { segment.state = .closed }
            return linked
        }
        for segment in linked {
            // Without it the next start has more to do, nothing else. The failure is counted by `seal`.
            try? self.seal(segment)
        }
    }

    /// Writes what is missing of a closed segment and puts one that lies in files in its place.
    func seal(_ segment: Segment) throws(VecraftError) {
        let began = monotonicNanoseconds()
        var made: [ShardFile] = []
        do throws(FileFault) {
            let known = self.structure.withLock { _ in segment.stored.files }
            made = try self.writeDerived(segment, known)
            try self.structure.withLock { (store) throws(FileFault) in
                var written: UInt64 = 0
                try self.storeRows(segment, upTo: segment.rowCount, &store, &written)
                let sealed = try self.sealedCopy(segment, made)
                self.swap.withLock { _ in
                    self.lock.writing {
                        sealed.adopt(deletionsOf: segment)
                        self.table.replace(segment, by: sealed)
                        self.segments[self.segments.firstIndex { $0 === segment }!] = sealed
                        self.layout &+= 1
                    }
                }
            }
        } catch {
            for file in made { try? self.files.remove(self.segmentFiles.path(file.name)) }
            throw error.vecraftError
        }
        self.counters.seals.wrappingAdd(1, ordering: .relaxed)
        self.observer?.shard(
            self.id, .sealed(rows: segment.rowCount, took: .nanoseconds(monotonicNanoseconds() - began)))
        for name in segment.rebuilding {
            self.counters.rebuilt.wrappingAdd(1, ordering: .relaxed)
            self.observer?.shard(self.id, .rebuilt(file: name))
        }
        if !self.isStopping { try self.checkpointIfChanged() }
    }

    /// Derived files a segment lacks. Removes what it made if one of them fails.
    func writeDerived(_ segment: Segment, _ known: [ShardFile]) throws(FileFault) -> [ShardFile] {
        var made: [ShardFile] = []
        let derived = SegmentDerived(segment, graphFrom: self.settings.graphFrom)
        do throws(FileFault) {
            for wanted in derived.wanted
            where !known.contains(where: { $0.kind == wanted.kind && Int($0.column) == wanted.column }) {
                made.append(
                    try self.segmentFiles.create(
                        wanted.kind, column: wanted.column, number: self.numbers.file()
                    ) { (sink) throws(FileFault) in try self.content(wanted.kind, wanted.column, segment, sink) })
            }
        } catch {
            for file in made { try? self.files.remove(self.segmentFiles.path(file.name)) }
            throw error
        }
        return made
    }

    private func content(
        _ kind: ShardFile.Kind, _ column: Int, _ segment: Segment,
        _ sink: (UnsafeRawBufferPointer) throws(FileFault) -> Void
    ) throws(FileFault) {
        if self.isAbandoned.load(ordering: .relaxed) { throw self.cancelled }
        switch kind {
        case .graph:
            try self.serialise(segment.graphs[column]!, self.quantisation(column), segment, sink)
        case .payloadIndex:
            // A closed segment's index takes no more rows, so it is read without the lock.
            try segment.payloads.serialised().withBytes { (raw) throws(FileFault) in try sink(raw) }
        case .order:
            let rows = IDOrder.sort(0..<segment.rowCount, of: segment.storage)
            defer { rows.baseAddress?.deallocate() }
            try sink(UnsafeRawBufferPointer(rows))
        case .rows, .heap, .vectors, .deletes:
            preconditionFailure("\(kind) is not derived")
        }
    }

    /// - Throws: ECANCELED when the shard is abandoned.
    func serialise(
        _ graph: HNSWGraph, _ quantisation: Quantisation, _ segment: Segment,
        _ sink: (UnsafeRawBufferPointer) throws(FileFault) -> Void
    ) throws(FileFault) {
        let report = try graph.serialise(
            quantisation, rowCount: segment.rowCount, interrupted: { self.isAbandoned.load(ordering: .relaxed) }
        ) { (raw) throws(FileFault) in
            var start = 0
            while start < raw.count {
                if self.isAbandoned.load(ordering: .relaxed) { throw self.cancelled }
                let end = min(start + Self.writtenAtOnce, raw.count)
                try sink(UnsafeRawBufferPointer(rebasing: raw[start..<end]))
                start = end
            }
        }
        if report == nil { throw self.cancelled }
    }

    private static let writtenAtOnce = 16 << 20

    /// The same rows, in files. Under the structure mutex.
    func sealedCopy(_ segment: Segment, _ made: [ShardFile]) throws(FileFault) -> Segment {
        let stored = segment.stored
        let isMapped = segment.storage.memory == nil
        let storage =
            isMapped
            ? segment.storage
            : try SegmentStorage(
                mapping: stored.file(.rows)!, heap: stored.file(.heap)!,
                vectors: segment.shape.columns.indices.map { stored.file(.vectors, $0)! }, count: segment.rowCount,
                self.segmentFiles)
        let sealed = Segment(number: segment.number, shape: segment.shape, storage: storage, state: .sealed)
        sealed.publish(rows: segment.rowCount)
        sealed.stored = stored
        sealed.stored.files += made
        // What was loaded from sound files serves on.
        sealed.payloads = segment.payloads
        sealed.order = segment.order
        if isMapped {
            for column in segment.graphs.indices where segment.linkers[column] == nil {
                sealed.graphs[column] = segment.graphs[column]
            }
        }
        for file in made {
            let mapping = try self.segmentFiles.map(file)
            do throws(DecodingFault) { try SegmentDerived.adopt(file, mapping, sealed) } catch {
                preconditionFailure("\(file.name) was written a moment ago and cannot be read: \(error)")
            }
        }
        return sealed
    }
}
