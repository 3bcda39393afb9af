internal import FileStore
internal import JournalFormat
internal import Primitives
internal import Synchronization

extension PartitionLog {
    /// Committed entries from an offset on, out of one segment, each checked.
    func read(from: JournalOffset, maxBytes: Int) throws(VecraftError) -> EntryBatch {
        let from = max(from, 1)
        let committed = self.committed
        guard from <= committed else {
            return EntryBatch(buffer: AlignedBytes(bytes: 0), ranges: [], firstOffset: from, committed: committed)
        }
        let (reading, _) = try self.reading(from: from, through: committed, maxBytes: maxBytes)
        return EntryBatch(buffer: reading.buffer, ranges: reading.ranges, firstOffset: from, committed: committed)
    }

    /// Whole frames as they stand on disk, committed or not, out of one segment, each checked.
    ///
    /// - Parameter last: Written; at least `from`.
    func frames(from: JournalOffset, through last: JournalOffset, maxBytes: Int) throws(VecraftError) -> FrameRun {
        let (reading, salt) = try self.reading(from: from, through: last, maxBytes: maxBytes)
        guard !reading.ranges.isEmpty else {
            throw VecraftError(.internalError, "\(self.partition): no frame from \(from) through \(last)")
        }
        return FrameRun(trusted: reading.buffer, ranges: reading.ranges, firstOffset: from, salt: salt)
    }

    /// How many written entries from `first` on surely fit into `maxBytes`, at least one; and an upper bound of their bytes.
    /// Never beyond a segment's end, so that one reading brings them.
    func extent(from first: JournalOffset, through last: JournalOffset, maxBytes: Int) -> (last: JournalOffset, bytes: Int) {
        self.segments.withLock { segments in
            guard let i = segments.lastIndex(where: { $0.firstOffset <= first }), first <= segments[i].lastOffset else {
                return (first, 0)
            }
            let segment = segments[i]
            let points = segment.index.points
            let start = segment.index.floor(first).position
            if segment.end - start <= maxBytes, segment.lastOffset <= last { return (segment.lastOffset, segment.end - start) }
            // The last point that is still within reach: what stands before it fits.
            var low = 0
            var high = points.count
            while high - low > 1 {
                let middle = (low + high) / 2
                if points[middle].position - start <= maxBytes { low = middle } else { high = middle }
            }
            guard points[low].offset > first else {
                let next = low + 1 < points.count ? points[low + 1].position : segment.end
                return (first, next - start)
            }
            return (min(points[low].offset - 1, last), points[low].position - start)
        }
    }

    private func reading(
        from: JournalOffset, through last: JournalOffset, maxBytes: Int
    ) throws(VecraftError) -> (BatchReading, salt: UInt32) {
        let found = self.segments.withLock { segments -> (segment: Segment, start: SparseIndex.Point)? in
            guard let i = segments.lastIndex(where: { $0.firstOffset <= from }), from <= segments[i].lastOffset else { return nil }
            // Only what the answer needs is copied: the index stays where it is.
            var segment = segments[i]
            let start = segment.index.floor(from)
            segment.index = SparseIndex()
            return (segment, start)
        }
        guard let found, from >= self.firstOffset else {
            throw VecraftError(
                .outOfRange, "\(self.partition) begins at offset \(self.firstOffset); \(from) was trimmed", reason: "TRIMMED")
        }
        var reading = BatchReading(
            segment: found.segment, file: try self.openForReading(found.segment), from: from,
            last: min(last, found.segment.lastOffset), maxBytes: max(maxBytes, 0))
        do throws(FileFault) { try reading.fill(from: found.start.position) } catch { throw error.vecraftError }
        if let damage = reading.damage {
            throw .damaged(found.segment.path, byte: damage.position, damage.what)
        }
        return (reading, found.segment.salt)
    }

    private func openForReading(_ segment: Segment) throws(VecraftError) -> any File {
        do throws(FileFault) { return try self.file(of: segment) } catch { throw error.vecraftError }
    }
}

/// One pass over a part of a segment into one buffer.
private struct BatchReading {
    let segment: Segment
    let file: any File
    let from: JournalOffset
    let last: JournalOffset
    let maxBytes: Int
    var buffer = AlignedBytes(bytes: 0)
    var ranges: [Range<Int>] = []
    var damage: DecodingFault?

    /// Reads from the frame at `position`; frames before `from` are stepped over.
    mutating func fill(from start: Int) throws(FileFault) {
        var position = start
        // The first read also covers what is stepped over; when it is not enough for one entry, the next is as long as it must be.
        var wanted = self.maxBytes + SparseIndex.sealedSpacing
        while true {
            let count = min(max(wanted, Frame.stampedBytes), self.segment.end - position)
            self.buffer = AlignedBytes(bytes: count)
            try self.file.readExactly(into: UnsafeMutableRawBufferPointer(rebasing: self.buffer.raw[..<count]), at: position)
            guard let need = self.take(count: count, at: position) else { return }
            position = need.position
            wanted = need.bytes
        }
    }

    /// Takes the entries out of the buffer.
    ///
    /// - Returns: Where to read on, and how much, if the buffer did not hold one entry that is wanted; nil when done.
    private mutating func take(count: Int, at base: Int) -> (position: Int, bytes: Int)? {
        let raw = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self.buffer.raw)[..<count])
        var position = 0
        var taken = 0
        while true {
            guard count - position >= Frame.stampedBytes else {
                return self.ranges.isEmpty ? self.readOn(base + position, self.maxBytes + SparseIndex.sealedSpacing) : nil
            }
            let rest = UnsafeRawBufferPointer(rebasing: raw[position...])
            guard case .head(let head) = Frame.inspect(rest, salt: self.segment.salt) else {
                return self.damaged(base + position, "no whole frame where an acknowledged entry is due")
            }
            if head.offset < self.from {
                position += head.frameBytes
                guard position < count else { return self.readOn(base + position, self.maxBytes + Frame.stampedBytes) }
                continue
            }
            guard head.offset == self.from + UInt64(self.ranges.count) else {
                return self.damaged(base + position, "entry \(head.offset) where \(self.from + UInt64(self.ranges.count)) is due")
            }
            guard self.ranges.isEmpty || taken + head.entryBytes <= self.maxBytes else { return nil }
            guard head.frameBytes <= rest.count else {
                return self.ranges.isEmpty ? self.readOn(base + position, max(head.frameBytes, self.maxBytes)) : nil
            }
            do throws(DecodingFault) { _ = try Frame.entry(of: rest, head: head) } catch {
                return self.damaged(base + position + error.position, "\(error.what) \(head.offset)")
            }
            self.ranges.append(position + Frame.headBytes..<position + head.frameBytes)
            taken += head.entryBytes
            position += head.frameBytes
            guard head.offset < self.last else { return nil }
        }
    }

    /// The end of the durable part bounds every read; wanting more than it has is damage, not a loop.
    private mutating func readOn(_ position: Int, _ bytes: Int) -> (position: Int, bytes: Int)? {
        guard position < self.segment.end else {
            return self.damaged(position, "the segment ends before entry \(self.from)")
        }
        return (position, bytes)
    }

    private mutating func damaged(_ position: Int, _ what: String) -> (position: Int, bytes: Int)? {
        self.damage = DecodingFault(position: position, what: what)
        return nil
    }
}
