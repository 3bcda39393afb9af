internal import FileStore
internal import JournalFormat
internal import Primitives

/// Opens a partition's folder: finds the end of the log, cuts a torn tail, refuses damage.
///
/// Sealed segments are taken from their sidecars; the last one (and any without a sidecar) is read whole. So opening costs one
/// segment's reading however long the log is. Idempotency keys come from the key files of the window's segments.
///
/// The decision at the first place where entry `e` is due and does not stand: `e` was acknowledged once if a later frame says that
/// `e` was durable when it was written, or the durable mark does. Then it is damage, and an error naming file and byte. Otherwise
/// it is a torn tail, of appends that nobody was told of: it is erased, so that no part of it can ever come back.
///
/// A replica of a group can get what is damaged from the others (`keepsDamage`): then the log ends before the damage, ``loss`` says
/// so, and the damaged bytes stay where they are until ``Loss/erase(_:)``.
struct Recovery {
    let partition: PartitionID
    let directory: String
    let files: any FileStore

    struct Cut: Equatable {
        let path: String
        let position: Int
        let bytes: Int
    }

    var mark: DurableMark
    /// In order; the last is the one to go on with. Empty only if the folder held none.
    private(set) var segments: [Segment] = []
    /// Of the last segment, in order of the log.
    private(set) var lastKeys: [KeyRecord] = []
    /// The last segment was read whole, for want of a sidecar.
    private var isLastScanned = false
    private(set) var cuts: [Cut] = []
    private(set) var lastHLC = HLCTimestamp.zero
    private(set) var nextOffset: JournalOffset
    /// Entries that were durable are damaged or gone; only with `keepsDamage`.
    private(set) var loss: Loss?
    private let keepsDamage: Bool
    /// Sidecars are not trusted: every segment is read whole.
    private let readsAll: Bool

    /// What a damaged log has behind its last good entry.
    struct Loss: Sendable {
        /// What is wrong, and where.
        let what: String
        /// Files to cut, and where.
        fileprivate(set) var cuts: [(path: String, end: Int)] = []
        /// Files to remove, newest last.
        fileprivate(set) var removals: [String] = []

        /// Durably removes it, newest first: a crash in between leaves less of the same.
        func erase(_ files: any FileStore, directory: String) throws(FileFault) {
            for path in self.removals.reversed() {
                try SegmentName.removeDerived(of: path, files)
                try files.remove(path)
                try files.syncDirectory(directory)
            }
            for cut in self.cuts {
                try SegmentName.removeDerived(of: cut.path, files)
                try files.syncDirectory(directory)
                let file = try files.open(cut.path, .readWrite)
                defer { file.close() }
                try file.truncate(to: cut.end)
                try file.sync()
            }
        }
    }

    private struct Found {
        let header: SegmentHeader
        let path: String
        let file: any File
        let fileBytes: Int
    }

    /// - Parameters:
    ///   - start: The log begins behind it; what is left of it at or before is passed over. 0 for a log never trimmed.
    ///   - keepsDamage: Damage ends the log and is no error.
    ///   - readsAll: Every segment is read whole, whatever its sidecar says.
    init(
        partition: PartitionID, directory: String, files: any FileStore, start: JournalOffset = 0, keepsDamage: Bool = false,
        readsAll: Bool = false
    ) throws(VecraftError) {
        self.partition = partition
        self.directory = directory
        self.files = files
        self.nextOffset = start + 1
        self.keepsDamage = keepsDamage
        self.readsAll = readsAll
        try onDisk { () throws(FileFault) in try files.createDirectory(directory) }
        self.mark = try DurableMark(directory: directory, files: files)
        let found = try self.find()
        defer { for segment in found { segment.file.close() } }
        if start > 0, let first = found.first, case .head(let head) = try self.firstFrame(of: first), head.offset <= start {
            // Trimming removes whole segments: the first one kept may begin before the log does.
            self.nextOffset = head.offset
        }
        for (position, segment) in found.enumerated() {
            let isLast = position == found.count - 1
            let stop = try self.take(segment, isLast: isLast)
            if !isLast, try self.goesOn(in: found[position + 1]) { continue }
            try self.endLog(at: segment, stop: stop, later: found[(position + 1)...])
            break
        }
        // A damaged folder stays as it is, for a person to look at.
        if self.loss == nil { SegmentName.removeOrphans(in: directory, files) }
        if self.mark.durable >= self.nextOffset {
            try self.lose(
                self.segments.last?.path ?? directory, byte: self.segments.last?.end ?? 0,
                "the log ends with entry \(self.nextOffset - 1), but entry \(self.mark.durable) was acknowledged")
        }
    }

    /// Entries that were durable are not there.
    private mutating func lose(_ path: String, byte: Int, _ what: String) throws(VecraftError) {
        let error = VecraftError.damaged(path, byte: byte, what)
        guard self.keepsDamage else { throw error }
        if self.loss == nil { self.loss = Loss(what: error.message) }
    }

    /// An empty log has its first segment now.
    mutating func begin(with first: PreparedSegment) {
        self.segments = [
            Segment(
                sequence: first.sequence, path: first.path, salt: first.salt, firstOffset: self.nextOffset, fileBytes: first.bytes)
        ]
    }

    // MARK: What is there

    private mutating func find() throws(VecraftError) -> [Found] {
        var found: [Found] = []
        let names = try onDisk { () throws(FileFault) in try self.files.list(self.directory) }
        for name in names where name.hasSuffix(AtomicFile.suffix) {
            try onDisk { () throws(FileFault) in try self.files.remove(Paths.join(self.directory, name)) }
        }
        let segments = names.filter { SegmentName.sequence(of: $0) != nil }
        for name in segments {
            let path = Paths.join(self.directory, name)
            let sequence = SegmentName.sequence(of: name)!
            if self.loss != nil {
                self.loss!.removals.append(path)
                continue
            }
            if let before = found.last, before.header.sequence + 1 != sequence {
                try self.lose(self.directory, byte: 0, "\(SegmentName.segment(before.header.sequence + 1)) is missing")
                self.loss!.removals.append(path)
                continue
            }
            let file = try onDisk { () throws(FileFault) in try self.files.open(path, .readWrite) }
            let size = try onDisk { () throws(FileFault) in try file.size() }
            switch try self.header(of: file) {
            case .newer(let format): throw .formatTooNew(path, "journal segment", format, reads: SegmentHeader.format)
            case .header(let header):
                guard header.partition == self.partition, header.sequence == sequence else {
                    throw .damaged(path, byte: 0, "this is segment \(header.sequence) of \(header.partition)")
                }
                found.append(Found(header: header, path: path, file: file, fileBytes: size))
            case .bad(let what):
                // A segment's header is durable before it is used: one without it, and with nothing behind it, was being made.
                guard name == segments.last, try self.isBlank(file, size: size) else {
                    file.close()
                    try self.lose(path, byte: 0, what)
                    self.loss!.removals.append(path)
                    continue
                }
                file.close()
                try self.remove(path)
            }
        }
        return found
    }

    private func header(of file: any File) throws(VecraftError) -> SegmentHeader.Finding {
        let head = AlignedBytes(bytes: SegmentHeader.bytes)
        let raw = UnsafeMutableRawBufferPointer(rebasing: head.raw[..<SegmentHeader.bytes])
        let count = try onDisk { () throws(FileFault) in try file.read(into: raw, at: 0) }
        return withExtendedLifetime(head) { SegmentHeader.inspect(UnsafeRawBufferPointer(rebasing: raw[..<count])) }
    }

    private func isBlank(_ file: any File, size: Int) throws(VecraftError) -> Bool {
        guard size > SegmentHeader.bytes else { return true }
        return try onDisk { () throws(FileFault) in
            var walker = FrameWalker(file: file, salt: 0, from: SegmentHeader.bytes, limit: size, checksBodies: true)
            return try walker.written(from: SegmentHeader.bytes) == SegmentHeader.bytes
        }
    }

    private func remove(_ path: String) throws(VecraftError) {
        try onDisk { () throws(FileFault) in
            try self.files.remove(path)
            try self.files.syncDirectory(self.directory)
        }
    }

    // MARK: Segment by segment

    /// Adds a segment to the log, by its sidecar if it has one.
    private mutating func take(_ found: Found, isLast: Bool) throws(VecraftError) -> SegmentScan.Stop {
        if !isLast, !self.readsAll, let sidecar = try self.sidecar(of: found) {
            self.add(sidecar.segment, keys: [])
            self.isLastScanned = false
            return .blank
        }
        let empty = Segment(
            sequence: found.header.sequence, path: found.path, salt: found.header.salt, firstOffset: self.nextOffset,
            fileBytes: found.fileBytes)
        let scan = try onDisk { () throws(FileFault) in
            try SegmentScan.all(of: empty, partition: self.partition, file: found.file, after: self.lastHLC)
        }
        self.add(scan.segment, keys: scan.keys)
        self.isLastScanned = true
        return scan.stop
    }

    private func sidecar(of found: Found) throws(VecraftError) -> Sidecar? {
        let sidecar = try Sidecar.load(
            directory: self.directory, header: found.header, segmentPath: found.path, fileBytes: found.fileBytes,
            files: self.files)
        guard let sidecar, sidecar.segment.firstOffset == self.nextOffset else { return nil }
        guard sidecar.segment.end <= found.fileBytes else {
            // A scan finds where the good ones end.
            if self.keepsDamage { return nil }
            throw .damaged(
                found.path, byte: found.fileBytes,
                "the file ends here; its entries through \(sidecar.segment.lastOffset) reach to byte \(sidecar.segment.end)")
        }
        return sidecar
    }

    private mutating func add(_ segment: Segment, keys: [KeyRecord]) {
        self.segments.append(segment)
        self.lastKeys = keys
        self.nextOffset = segment.lastOffset + 1
        if !segment.isEmpty { self.lastHLC = segment.lastHLC }
    }

    /// Whether the entry that is due begins the next segment: then the one before is whole, whatever stands behind its end.
    private mutating func goesOn(in next: Found) throws(VecraftError) -> Bool {
        guard case .head(let head) = try self.firstFrame(of: next), head.offset == self.nextOffset else { return false }
        guard self.isLastScanned else { return true }
        // A process that was killed may not have synced it; a sidecar says for good that the log went on there.
        try onDisk { () throws(FileFault) in try next.file.sync() }
        self.seal()
        return true
    }

    private func firstFrame(of found: Found) throws(VecraftError) -> Frame.Finding {
        guard found.fileBytes - SegmentHeader.bytes >= Frame.stampedBytes else { return .blank }
        let head = AlignedBytes(bytes: Frame.stampedBytes)
        let raw = UnsafeMutableRawBufferPointer(rebasing: head.raw[..<Frame.stampedBytes])
        try onDisk { () throws(FileFault) in try found.file.readExactly(into: raw, at: SegmentHeader.bytes) }
        return withExtendedLifetime(head) { Frame.inspect(UnsafeRawBufferPointer(raw), salt: found.header.salt) }
    }

    /// The last segment taken is a sealed one. If it had to be scanned, the next start shall not scan it again.
    private mutating func seal() {
        let last = self.segments.count - 1
        self.segments[last].index = self.segments[last].index.thinned(to: SparseIndex.sealedSpacing)
        let segment = self.segments[last]
        // What cannot be written costs the next start the same scan, nothing else.
        try? KeyFile.store(self.lastKeys, of: segment, directory: self.directory, files: self.files)
        try? Sidecar(partition: self.partition, segment: segment).store(directory: self.directory, files: self.files)
    }

    // MARK: The end

    private mutating func endLog(
        at found: Found, stop: SegmentScan.Stop, later: ArraySlice<Found>
    ) throws(VecraftError) {
        let end = self.segments[self.segments.count - 1].end
        var durable = max(self.mark.durable, try self.durableThrough(in: found, behind: end))
        for segment in later { durable = max(durable, try self.durableThrough(in: segment, behind: SegmentHeader.bytes - 8)) }
        if durable >= self.nextOffset {
            let culprit = try self.culprit(at: found, end: end, stop: stop, next: later.first)
            let earlier = self.loss?.removals ?? []
            self.loss = nil
            try self.lose(
                culprit.path, byte: culprit.byte,
                "\(culprit.what); entry \(self.nextOffset) was acknowledged, for \(durable) was durable")
            self.loss!.cuts.append((found.path, end))
            self.loss!.removals = later.map(\.path) + earlier
            return
        }
        try self.erase(found, from: end)
        for segment in later {
            try self.erase(segment, from: SegmentHeader.bytes)
            try self.remove(segment.path)
        }
    }

    private func durableThrough(in found: Found, behind position: Int) throws(VecraftError) -> JournalOffset {
        try onDisk { () throws(FileFault) in
            var walker = FrameWalker(file: found.file, salt: found.header.salt, limit: found.fileBytes, checksBodies: true)
            var durable: JournalOffset = 0
            var position = position
            while let next = try walker.resynchronise(after: position) {
                durable = max(durable, next.head.durableThrough)
                position = next.position
            }
            return durable
        }
    }

    private func culprit(
        at found: Found, end: Int, stop: SegmentScan.Stop, next: Found?
    ) throws(VecraftError) -> (path: String, byte: Int, what: String) {
        switch stop {
        case .bad(let what, let position): return (found.path, position, what)
        case .blank:
            if let next, case .bad(let what) = try self.firstFrame(of: next) { return (next.path, SegmentHeader.bytes, what) }
            return (found.path, end, "nothing is written here")
        }
    }

    /// Durably empties a segment from a position on.
    private mutating func erase(_ found: Found, from end: Int) throws(VecraftError) {
        let written = try onDisk { () throws(FileFault) in
            var walker = FrameWalker(file: found.file, salt: 0, limit: found.fileBytes, checksBodies: true)
            return try walker.written(from: end)
        }
        guard written > end else { return }
        try onDisk { () throws(FileFault) in
            try found.file.truncate(to: end)
            try found.file.sync()
        }
        if let i = self.segments.firstIndex(where: { $0.sequence == found.header.sequence }) { self.segments[i].fileBytes = end }
        self.cuts.append(Cut(path: found.path, position: end, bytes: written - end))
    }
}

/// A fault of the disk, as the error a caller of the journal sees.
func onDisk<T>(_ body: () throws(FileFault) -> T) throws(VecraftError) -> T {
    do throws(FileFault) { return try body() } catch { throw error.vecraftError }
}
