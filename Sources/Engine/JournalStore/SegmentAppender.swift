internal import FileStore
internal import JournalFormat
internal import Primitives

/// The end of a log on disk: where frames are put, segment after segment. One thread's.
final class SegmentAppender {
    let log: PartitionLog
    let settings: JournalSettings
    let maker: SegmentMaker
    let keeper: SegmentKeeper

    /// As far as it is written. Its index is kept in `log`.
    var segment: Segment
    /// Segments before, until the new one has its first durable entry and they may be sealed. Oldest first.
    private var sealed: [Segment] = []
    /// The segment after this one was asked for.
    private var isNextAsked = false
    private var file: any File
    /// Bytes reserved for the segment on disk.
    private var reserved: Int
    /// Bytes known to be written, with entries or zeroes: writing there changes no metadata.
    private var zeroed: Int

    init(
        log: PartitionLog, settings: JournalSettings, maker: SegmentMaker, keeper: SegmentKeeper, segment: Segment, file: any File
    ) {
        self.log = log
        self.settings = settings
        self.maker = maker
        self.keeper = keeper
        self.segment = segment
        self.segment.index = SparseIndex()
        self.file = file
        self.reserved = segment.fileBytes
        self.zeroed = segment.end
    }

    /// The size a segment may grow to.
    func capacity(for frameBytes: Int) -> Int {
        // An entry larger than a segment has one alone, made as large as it needs.
        self.segment.isEmpty ? max(self.settings.segmentBytes, SegmentHeader.bytes + frameBytes) : self.settings.segmentBytes
    }

    /// Makes sure that the file has blocks up to a position.
    func reserve(_ end: Int) throws(VecraftError) {
        guard end > self.reserved else { return }
        // A segment that was cut, or made small on a full disk, grows again as far as there is room.
        let wanted = max(end, self.settings.segmentBytes)
        let free = try onDisk { () throws(FileFault) in try self.log.files.freeBytes(self.log.directory) }
        do throws(FileFault) {
            let isRoomy = wanted - self.reserved <= free - self.settings.reserveBytes
            try self.file.preallocate(isRoomy ? wanted : end)
            self.reserved = isRoomy ? wanted : end
        } catch { throw error.vecraftError }
    }

    /// Goes on in the next segment. The one in hand is whole and durable.
    func roll(frameBytes: Int, mayUseReserve: Bool) throws(VecraftError) {
        let sequence = self.segment.sequence + 1
        var next = self.keeper.take(sequence)
        if next == nil {
            next = try self.maker.make(sequence: sequence, frameBytes: frameBytes, mayUseReserve: mayUseReserve)
        }
        guard let next else { return }
        self.file.close()
        self.sealed.append(self.segment)
        self.segment = Segment(
            sequence: sequence, path: next.path, salt: next.salt, firstOffset: self.segment.lastOffset + 1, fileBytes: next.bytes)
        self.file = next.file
        self.reserved = next.bytes
        self.zeroed = SegmentHeader.bytes
        self.isNextAsked = false
    }

    /// Writes frames behind the segment's end, which does not move yet.
    ///
    /// - Parameters:
    ///   - parts: The frames' bytes; zeroes to write ahead are put behind them.
    ///   - bytes: Of the frames.
    func write(_ parts: inout [UnsafeRawBufferPointer], bytes: Int) throws(FileFault) {
        let end = self.segment.end + bytes
        if let zeroes = ZeroAhead.count(batchBytes: bytes, end: end, zeroed: self.zeroed, reserved: self.reserved) {
            parts.append(UnsafeRawBufferPointer(rebasing: ZeroAhead.zeroes[..<zeroes]))
            self.zeroed = end + zeroes
        } else {
            self.zeroed = max(self.zeroed, end)
        }
        try parts.withUnsafeBufferPointer { (parts) throws(FileFault) in
            try self.file.write(parts, at: self.segment.end)
        }
    }

    func sync() throws(FileFault) { try self.file.sync() }

    /// What the file takes on disk, for the log.
    func measure() { self.segment.fileBytes = max(self.reserved, self.segment.end) }

    /// The segment's newest entries are durable: the one before may be sealed, the next be made ready.
    ///
    /// - Parameter committed: What is behind may be cut off again, and is not sealed yet.
    func settle(committed: JournalOffset = .max) {
        while let oldest = self.sealed.first, oldest.lastOffset <= committed {
            self.keeper.seal(self.sealed.removeFirst())
        }
        // From half of a segment on, the next one is made ready behind the writer's back.
        guard !self.isNextAsked, self.segment.end > self.settings.segmentBytes / 2 else { return }
        self.isNextAsked = true
        self.keeper.prepare(self.segment.sequence + 1)
    }

    /// Durably removes what was written behind the segment's end.
    func cutBack() throws(FileFault) {
        try self.file.truncate(to: self.segment.end)
        try self.file.sync()
        self.reserved = self.segment.end
        self.zeroed = self.segment.end
    }

    /// Goes on in another segment, which ends the log from now on.
    func resume(_ segment: Segment, file: any File) {
        self.file.close()
        self.sealed.removeAll { $0.sequence >= segment.sequence }
        self.isNextAsked = false
        self.segment = segment
        self.segment.index = SparseIndex()
        self.file = file
        self.reserved = segment.end
        self.zeroed = segment.end
    }

    func close() { self.file.close() }
}
