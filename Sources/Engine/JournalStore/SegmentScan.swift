internal import FileStore
internal import JournalFormat
internal import Primitives

/// Reads a segment to learn what is in it.
enum SegmentScan {
    /// The idempotency keys of a segment that was written by this process; bodies are not read again.
    ///
    /// - Returns: Nil if it does not read as it was written.
    static func keys(of segment: Segment, file: any File) throws(FileFault) -> [KeyRecord]? {
        var walker = FrameWalker(file: file, salt: segment.salt, limit: segment.end, checksBodies: false)
        var keys: [KeyRecord] = []
        let isWhole = try Self.walk(&walker, segment) { view in
            if let key = KeyRecord(view) { keys.append(key) }
        }
        return isWhole ? keys : nil
    }

    /// Idempotency keys and lineage keys of a segment that was written by this process.
    ///
    /// Bodies are looked into where they lie in the system's memory, at the ids alone, and not checked: a damaged one is found by whoever
    /// reads the entry. `make bench-lineage` prints what this costs an import.
    ///
    /// - Returns: Nil if it does not read as it was written.
    static func allKeys(
        of segment: Segment, file: any File
    ) throws(FileFault) -> (keys: [KeyRecord], lineage: LineageKeys)? {
        let mapping = try file.map()
        return try withExtendedLifetime(mapping) { () throws(FileFault) -> (keys: [KeyRecord], lineage: LineageKeys)? in
            guard mapping.bytes.count >= segment.end else { return nil }
            var walker = FrameWalker(
                memory: UnsafeRawBufferPointer(rebasing: mapping.bytes[..<segment.end]), salt: segment.salt)
            var keys: [KeyRecord] = []
            var lineage = LineageKeys(from: segment.firstOffset)
            let isWhole = try Self.walk(&walker, segment) { view in
                if let key = KeyRecord(view) { keys.append(key) }
                lineage.add(view)
            }
            return isWhole ? (keys, lineage) : nil
        }
    }

    /// Hands out the entries of a segment that was written by this process.
    ///
    /// - Returns: Whether they are those that were written.
    private static func walk(
        _ walker: inout FrameWalker, _ segment: Segment, _ body: (EntryView) -> Void
    ) throws(FileFault) -> Bool {
        var due = segment.firstOffset
        let stop = try Self.walk(&walker) { head, view in
            guard head.offset == due else { return "entry \(head.offset) where \(due) is due" }
            due += 1
            body(view)
            return nil
        }
        return stop == .blank && due == segment.lastOffset + 1
    }

    /// Hands out entries up to the first place that is none, or that `body` finds fault with.
    private static func walk(
        _ walker: inout FrameWalker, _ body: (Frame.Head, EntryView) -> String?
    ) throws(FileFault) -> Stop {
        while true {
            switch try walker.next() {
            case .entry(let head, let position, let view):
                if let fault = body(head, view) { return .bad(fault, at: position) }
            case .end, .blank: return .blank
            case .bad(let position, let what): return .bad(what, at: position)
            }
        }
    }

    /// Where the good entries of a segment end.
    enum Stop: Equatable {
        /// Nothing was written behind.
        case blank
        /// What stands there, and at which byte the fault lies.
        case bad(String, at: Int)
    }

    struct Result {
        var segment: Segment
        var keys: [KeyRecord]
        var stop: Stop
    }

    /// Reads everything, checks everything, up to the first place that is not the next entry.
    static func all(
        of segment: Segment, partition: PartitionID, file: any File, after lastHLC: HLCTimestamp
    ) throws(FileFault) -> Result {
        var result = Result(segment: segment, keys: [], stop: .blank)
        var walker = FrameWalker(file: file, salt: segment.salt, limit: segment.fileBytes, checksBodies: true)
        var lastHLC = lastHLC
        let stop = try Self.walk(&walker) { head, view in
            let due = result.segment.lastOffset + 1
            if let fault = Self.fault(in: view, due: due, partition: partition, after: lastHLC) { return fault }
            lastHLC = view.hlc
            if let key = KeyRecord(view) { result.keys.append(key) }
            result.segment.add(frameBytes: head.frameBytes, hlc: view.hlc, term: view.term)
            if view.operation == .configuration { result.segment.configurations.append(head.offset) }
            return nil
        }
        result.stop = stop
        return result
    }

    /// What is wrong with an entry whose checksums are right.
    static func fault(
        in view: EntryView, due: JournalOffset, partition: PartitionID, after lastHLC: HLCTimestamp
    ) -> String? {
        if view.offset != due { return "entry \(view.offset) where \(due) is due" }
        if view.partition != partition { return "entry \(due) is of partition \(view.partition)" }
        if view.hlc <= lastHLC { return "entry \(due) has HLC \(view.hlc), not above \(lastHLC)" }
        return nil
    }
}
