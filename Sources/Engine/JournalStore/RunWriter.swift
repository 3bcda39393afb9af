internal import FileStore
internal import JournalFormat
internal import Primitives

/// Puts runs of stamped entries behind a log's end, under heads of the segments' own. One thread's.
final class RunWriter {
    let appender: SegmentAppender
    /// Durable at least through its offset.
    var mark: DurableMark
    private var heads = ScratchHeads()
    private var parts: [UnsafeRawBufferPointer] = []
    private var written: [WrittenEntry] = []

    init(_ appender: SegmentAppender, mark: DurableMark) {
        self.appender = appender
        self.mark = mark
    }

    /// - Throws: Entries before the fault are written; the same run may come again.
    func write(_ run: FrameRun) throws(FileFault) {
        let last = self.appender.segment.lastOffset
        precondition(run.firstOffset <= last + 1, "entries from \(run.firstOffset) behind \(last)")
        var next = Int(last + 1 - run.firstOffset)
        while next < run.count { next = try self.writeSome(run, from: next) }
    }

    /// Writes entries up to the segment's end.
    private func writeSome(_ run: FrameRun, from first: Int) throws(FileFault) -> Int {
        var bytes = 0
        var next = first
        while next < run.count {
            let frameBytes = Frame.headBytes + run.ranges[next].count
            guard self.appender.segment.end + bytes + frameBytes <= self.appender.capacity(for: bytes == 0 ? frameBytes : 0) else {
                break
            }
            bytes += frameBytes
            next += 1
        }
        guard next > first else {
            // The segment in hand must be whole and durable before the next one is begun.
            try self.sync(committed: 0)
            try asFault { () throws(VecraftError) in
                try self.appender.roll(frameBytes: Frame.headBytes + run.ranges[first].count, mayUseReserve: true)
            }
            return first
        }
        try asFault { () throws(VecraftError) in try self.appender.reserve(self.appender.segment.end + bytes) }
        try self.write(run, first..<next, bytes: bytes)
        return next
    }

    private func write(_ run: FrameRun, _ entries: Range<Int>, bytes: Int) throws(FileFault) {
        self.heads.reset()
        self.parts.removeAll(keepingCapacity: true)
        self.written.removeAll(keepingCapacity: true)
        let salt = self.appender.segment.salt
        for i in entries {
            let head = UnsafeMutableRawBufferPointer(rebasing: self.heads.next()[..<Frame.headBytes])
            let entry = run[i]
            Frame.writeHead(into: head, entry: entry, durableThrough: self.mark.durable, salt: salt)
            self.parts.append(UnsafeRawBufferPointer(head))
            self.parts.append(entry)
            let view = EntryView(unchecked: entry)
            self.written.append(
                WrittenEntry(
                    frameBytes: Frame.headBytes + entry.count, hlc: view.hlc, term: view.term,
                    isConfiguration: view.operation == .configuration))
        }
        try withExtendedLifetime(run) { () throws(FileFault) in try self.appender.write(&self.parts, bytes: bytes) }
        for entry in self.written { self.appender.segment.grow(entry) }
        self.appender.measure()
        self.appender.log.written(self.written, in: self.appender.segment)
    }

    /// - Parameter committed: Segments that end at or before it may be sealed.
    func sync(committed: JournalOffset) throws(FileFault) {
        try self.appender.sync()
        let last = self.appender.segment.lastOffset
        if last > self.mark.durable {
            do throws(FileFault) { try self.mark.advance(to: last) } catch {
                // An older mark is as true as a newer one.
                if !error.isDiskFull { throw error }
            }
        }
        self.appender.settle(committed: committed)
    }
}
