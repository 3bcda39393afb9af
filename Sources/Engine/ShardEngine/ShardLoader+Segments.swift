import FileStore
import HNSW
import PayloadIndex
import Primitives

extension ShardLoader {
    /// One segment as the manifest lists it. A growing one is copied into memory with room for more rows; others are
    /// mapped.
    mutating func load(_ stored: ShardManifest.Segment) throws(LoadProblem) -> Segment {
        let rows = try self.primary(stored, .rows)
        let heap = try self.primary(stored, .heap)
        var vectors: [ShardFile] = []
        for column in self.shape.columns.indices { vectors.append(try self.primary(stored, .vectors, column)) }
        let hasRoom = Int(stored.rows) < self.shape.capacity && Int(heap.bytes) < self.shape.heapCapacity
        let grows = stored.state == .growing && hasRoom
        let storage = try grows
            ? self.copied(rows, heap, vectors, Int(stored.rows)) : self.mapped(rows, heap, vectors, Int(stored.rows))
        try self.check(storage, Int(stored.rows), Int(heap.bytes) - ShardFileHeader.bytes, rows.name)

        let segment = Segment(
            number: stored.number, shape: self.shape, storage: storage, state: grows ? .growing : .closed)
        segment.publish(rows: Int(stored.rows))
        segment.stored.rows = Int(stored.rows)
        segment.stored.heapBytes = Int(heap.bytes) - ShardFileHeader.bytes
        segment.stored.files = [rows, heap] + vectors
        segment.stagedRows = segment.stored.rows
        segment.stagedHeap = segment.stored.heapBytes
        try self.loadDeletions(stored, segment)
        if grows {
            for row in 0..<segment.rowCount { segment.payloads.add(row: UInt32(row), payload: storage.payload(row)) }
        } else {
            try self.loadDerived(stored, segment)
        }
        return segment
    }

    // MARK: Primary files

    private func primary(
        _ stored: ShardManifest.Segment, _ kind: ShardFile.Kind, _ column: Int = 0
    ) throws(LoadProblem) -> ShardFile {
        guard let file = stored.file(kind, column) else {
            throw .damaged(name: ShardManifest.fileName, why: "segment \(stored.number) without \(kind.suffix)")
        }
        return file
    }

    private mutating func read(
        _ file: ShardFile, _ dimension: Int = 0, _ body: (UnsafeRawBufferPointer) -> Void = { _ in }
    ) throws(LoadProblem) {
        do throws(FileProblem) { try self.io.read(file, dimension: dimension, body) } catch {
            switch error {
            case .damaged(let why): throw .damaged(name: file.name, why: why)
            case .newer(let version):
                throw self.refusal("\(file.name) has format \(version); this release reads \(ShardFileHeader.version)", "NEWER_FORMAT")
            case .fault(let fault): throw .refused(fault.vecraftError)
            }
        }
        self.opening.verifiedBytes += file.bytes
    }

    private func size(_ file: ShardFile, _ expected: Int) throws(LoadProblem) {
        guard Int(file.bytes) == ShardFileHeader.bytes + expected else {
            throw .damaged(name: ShardManifest.fileName, why: "\(file.name) listed with \(file.bytes) bytes")
        }
    }

    private mutating func mapped(
        _ rows: ShardFile, _ heap: ShardFile, _ vectors: [ShardFile], _ count: Int
    ) throws(LoadProblem) -> SegmentStorage {
        try self.size(rows, count * RowRecord.bytes)
        try self.read(rows)
        try self.read(heap)
        for (file, column) in zip(vectors, self.shape.columns) {
            try self.size(file, count * column.rowBytes)
            try self.read(file, column.dimension)
        }
        let io = self.io
        return try Self.disk { () throws(FileFault) in
            try SegmentStorage(mapping: rows, heap: heap, vectors: vectors, count: count, io)
        }
    }

    private mutating func copied(
        _ rows: ShardFile, _ heap: ShardFile, _ vectors: [ShardFile], _ count: Int
    ) throws(LoadProblem) -> SegmentStorage {
        let storage: SegmentStorage
        do throws(VecraftError) {
            storage = try SegmentStorage(reserving: self.shape)
            try storage.memory!.rows.commit(through: Int(rows.bytes))
            try storage.memory!.heap.commit(through: min(Int(heap.bytes), self.shape.heapCapacity))
            for (memory, file) in zip(storage.memory!.columns, vectors) {
                try memory.commit(through: min(Int(file.bytes), memory.reserved))
            }
        } catch {
            throw .refused(error)
        }
        func copier(_ target: UnsafeMutableRawPointer) -> (UnsafeRawBufferPointer) -> Void {
            var place = target
            return { raw in
                guard raw.count > 0 else { return }
                place.copyMemory(from: raw.baseAddress!, byteCount: raw.count)
                place += raw.count
            }
        }
        try self.size(rows, count * RowRecord.bytes)
        try self.read(rows, 0, copier(UnsafeMutableRawPointer(storage.rows)))
        try self.read(heap, 0, copier(storage.heap))
        for (index, column) in self.shape.columns.enumerated() {
            try self.size(vectors[index], count * column.rowBytes)
            try self.read(vectors[index], column.dimension, copier(UnsafeMutableRawPointer(storage.columns[index])))
        }
        return storage
    }

    /// No record points outside the heap.
    private func check(_ storage: SegmentStorage, _ rows: Int, _ heapBytes: Int, _ name: String) throws(LoadProblem) {
        let vectors = self.shape.columns.count
        for row in 0..<rows {
            let record = storage.rows[row]
            guard record.idCount > 0, record.heapOffset <= UInt64(heapBytes),
                Int(record.heapOffset) + record.heapBytes <= heapBytes, vectors >= 16 || record.present >> UInt16(vectors) == 0
            else { throw .damaged(name: name, why: "row \(row) contradicts the heap or the schema") }
        }
    }

    private mutating func loadDeletions(_ stored: ShardManifest.Segment, _ segment: Segment) throws(LoadProblem) {
        guard stored.deleted > 0 else { return }
        let file = try self.primary(stored, .deletes)
        var words: [UInt64] = []
        try self.read(file) { raw in
            for i in 0..<raw.count / 8 { words.append(raw.loadUnaligned(fromByteOffset: i * 8, as: UInt64.self)) }
        }
        guard segment.adopt(deletions: words, count: Int(stored.deleted)) else {
            throw .damaged(name: file.name, why: "not \(stored.deleted) rows deleted of \(stored.rows)")
        }
        segment.stored.deletesFile = file
        segment.stored.deletions = segment.deletions
    }

    // MARK: Derived files

    /// Graphs, payload index, order: what is damaged is put aside, and the segment stays `closed` until all is there again.
    private mutating func loadDerived(_ stored: ShardManifest.Segment, _ segment: Segment) throws(LoadProblem) {
        var missing: [String] = []
        let derived = SegmentDerived(segment, graphFrom: self.settings.graphFrom)
        for wanted in derived.wanted {
            guard let file = stored.file(wanted.kind, wanted.column) else {
                missing.append("\(wanted.kind.suffix) of segment \(stored.number)")
                continue
            }
            if let why = try self.adopt(file, segment) {
                try Self.disk { () throws(FileFault) in try Quarantine(io: self.io).take(file.name) }
                self.opening.quarantined.append("\(file.name): \(why)")
                self.events.append(.quarantined(file: file.name, reason: why))
                missing.append(file.name)
            } else {
                segment.stored.files.append(file)
            }
        }
        if segment.payloads.rowCount < segment.rowCount, !self.shape.fields.isEmpty {
            // Filters need it now; it is written when the segment is sealed again.
            segment.payloads = SegmentDerived.payloadIndex(segment)!
        }
        if missing.isEmpty {
            segment.state = .sealed
        } else if stored.state == .sealed {
            segment.rebuilding = missing
            self.opening.rebuilding += missing
        }
    }

    /// - Returns: What is wrong with the file; nil if the segment uses it now.
    private mutating func adopt(_ file: ShardFile, _ segment: Segment) throws(LoadProblem) -> String? {
        do throws(LoadProblem) { try self.read(file) } catch {
            if case .damaged(_, let why) = error { return why }
            throw error
        }
        let io = self.io
        let mapping = try Self.disk { () throws(FileFault) in try io.map(file) }
        do throws(DecodingFault) {
            try SegmentDerived.adopt(file, mapping, segment)
            return nil
        } catch {
            return "\(error)"
        }
    }
}
