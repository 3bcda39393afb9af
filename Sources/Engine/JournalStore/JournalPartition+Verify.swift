internal import FileStore
internal import JournalFormat
internal import Primitives
internal import Synchronization

extension JournalPartition {
    /// Reads the whole log: checksums, gaps, order of HLCs. Appends go on meanwhile; what they add is not looked at. What is trimmed
    /// meanwhile is no fault, and not in the report.
    ///
    /// - Parameters:
    ///   - deadline: Monotonic nanoseconds; then the report ends, and says so.
    ///   - report: Gets a line a fault as it is found: file, byte, what is wrong.
    package func verify(deadline: UInt64 = .max, _ report: (String) -> Void = { _ in }) -> PartitionReport {
        Self.verify(self.log, deadline: deadline, report)
    }

    static func verify(_ log: PartitionLog, deadline: UInt64 = .max, _ report: (String) -> Void) -> PartitionReport {
        var check = LogCheck(partition: log.partition, deadline: deadline)
        for segment in log.segments.withLock({ $0 }) {
            let before = check.report.faults.count
            check.look(at: segment, in: log)
            for fault in check.report.faults[before...] { report(fault) }
            if check.report.isUnfinished { break }
        }
        return check.report
    }
}

/// Looks at every frame, and goes on behind a bad one.
private struct LogCheck {
    /// Enough to see what is wrong; a destroyed segment would fill memory with lines.
    private static let maxFaults = 1000
    /// Looks at a segment that changes under the reader.
    private static let maxLooks = 5

    private(set) var report: PartitionReport
    private var due: JournalOffset?
    private var lastHLC = HLCTimestamp.zero
    private let deadline: UInt64

    init(partition: PartitionID, deadline: UInt64) {
        self.report = PartitionReport(partition: partition)
        self.deadline = deadline
    }

    /// Reads a segment as the log has it. A fault counts only if the segment is still the log's and what it was: one that was trimmed
    /// meanwhile has none, and one that was cut (what was not committed may be) is read again.
    mutating func look(at segment: Segment, in log: PartitionLog) {
        var segment = segment
        for looks in 1...Self.maxLooks {
            let before = self
            do throws(FileFault) { try self.read(segment, file: try log.file(of: segment)) } catch {
                self.add("\(error)")
            }
            guard self.report.faults.count > before.report.faults.count else { return }
            let first = log.firstOffset
            let now = log.segments.withLock { segments in
                segments.first { $0.path == segment.path && $0.salt == segment.salt }
            }
            guard let now, now.isEmpty || now.lastOffset >= first else {
                self = before
                self.due = nil
                return
            }
            // Cutting changes the file before the log: only what is committed cannot be in the middle of it.
            let isCut = now.lastOffset < segment.lastOffset
            guard isCut || segment.lastOffset > log.committed, looks < Self.maxLooks else { return }
            self = before
            if isCut { segment = now } else { Signal().wait(milliseconds: 10) }
        }
    }

    private mutating func read(_ segment: Segment, file: any File) throws(FileFault) {
        self.report.segments += 1
        guard !segment.isEmpty else { return }
        self.checkHeader(segment, try Self.header(of: file))
        if let due = self.due, due != segment.firstOffset {
            self.add("\(segment.path), byte 0: entry \(segment.firstOffset) begins the segment where \(due) is due")
        }
        self.due = segment.firstOffset
        var walker = FrameWalker(
            file: file, salt: segment.salt, limit: min(segment.end, try file.size()), checksBodies: true)
        while true {
            if SystemClock.monotonicNanoseconds() >= self.deadline {
                self.report.isUnfinished = true
                return
            }
            switch try walker.next() {
            case .entry(let head, let position, let view): self.entry(view, head: head, at: position, of: segment)
            case .end(let position):
                self.ended(segment, at: position)
                return
            case .blank(let position):
                guard try self.goOn(&walker, segment, position, position, "nothing is written here") else { return }
            case .bad(let position, let what):
                guard try self.goOn(&walker, segment, walker.position, position, what) else { return }
            }
        }
    }

    private static func header(of file: any File) throws(FileFault) -> SegmentHeader.Finding {
        let head = AlignedBytes(bytes: SegmentHeader.bytes)
        let raw = UnsafeMutableRawBufferPointer(rebasing: head.raw[..<SegmentHeader.bytes])
        try file.readExactly(into: raw, at: 0)
        return withExtendedLifetime(head) { SegmentHeader.inspect(UnsafeRawBufferPointer(raw)) }
    }

    private mutating func checkHeader(_ segment: Segment, _ finding: SegmentHeader.Finding) {
        switch finding {
        case .header(let header):
            if header.partition != self.report.partition || header.sequence != segment.sequence
                || header.salt != segment.salt
            {
                self.add("\(segment.path), byte 0: the header is of another segment")
            }
        case .newer(let format): self.add("\(segment.path), byte 8: segment of format \(format)")
        case .bad(let what): self.add("\(segment.path), byte 0: \(what)")
        }
    }

    private mutating func entry(_ view: EntryView, head: Frame.Head, at position: Int, of segment: Segment) {
        let due = self.due ?? head.offset
        if let fault = SegmentScan.fault(in: view, due: due, partition: self.report.partition, after: self.lastHLC) {
            self.add("\(segment.path), byte \(position): \(fault)")
        }
        if self.report.firstOffset == 0 { self.report.firstOffset = head.offset }
        self.report.lastOffset = head.offset
        self.report.entries += 1
        self.report.bytes += UInt64(head.entryBytes)
        self.due = head.offset + 1
        self.lastHLC = view.hlc
    }

    /// - Returns: False if nothing readable follows in this segment.
    private mutating func goOn(
        _ walker: inout FrameWalker, _ segment: Segment, _ frame: Int, _ position: Int, _ what: String
    ) throws(FileFault) -> Bool {
        self.add("\(segment.path), byte \(position): \(what), entry \(self.due ?? segment.firstOffset)")
        guard let next = try walker.resynchronise(after: frame) else {
            self.due = segment.lastOffset + 1
            return false
        }
        // The fault was told; the entries it swallowed are not each a fault of their own.
        self.due = next.head.offset
        return true
    }

    private mutating func ended(_ segment: Segment, at position: Int) {
        if let due = self.due, due <= segment.lastOffset {
            self.add("\(segment.path), byte \(position): the segment ends before entry \(due)")
        }
        self.due = segment.lastOffset + 1
    }

    mutating func add(_ fault: String) {
        if self.report.faults.count < Self.maxFaults { self.report.faults.append(fault) }
    }
}
