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
        var expected = segment.firstOffset
        while true {
            switch try walker.next() {
            case .entry(let head, _, let view):
                guard head.offset == expected else { return nil }
                expected += 1
                if let key = KeyRecord(view) { keys.append(key) }
            case .end: return expected == segment.lastOffset + 1 ? keys : nil
            case .blank, .bad: return nil
            }
        }
    }

    /// Idempotency keys and lineage keys of a segment that was written by this process.
    ///
    /// Bodies are looked into where they lie in the system's memory, at the ids alone, and not checked: a damaged one is found by whoever
    /// reads the entry. `make bench-lineage` prints what this costs an import.
    ///
    /// - Returns: Nil if it does not read as it was written.
    static func allKeys(of segment: Segment, file: any File) throws(FileFault) -> (keys: [KeyRecord], lineage: LineageKeys)? {
        let mapping = try file.map()
        return withExtendedLifetime(mapping) {
            guard mapping.bytes.count >= segment.end else { return nil }
            let raw = UnsafeRawBufferPointer(rebasing: mapping.bytes[..<segment.end])
            var keys: [KeyRecord] = []
            var lineage = LineageKeys(from: segment.firstOffset)
            var position = SegmentHeader.bytes
            while position < raw.count {
                let rest = UnsafeRawBufferPointer(rebasing: raw[position...])
                guard rest.count >= Frame.stampedBytes, case .head(let head) = Frame.inspect(rest, salt: segment.salt),
                    head.frameBytes <= rest.count, head.offset == lineage.next,
                    let view = try? EntryView(
                        UnsafeRawBufferPointer(rebasing: rest[Frame.headBytes..<Frame.headBytes + head.entryBytes]))
                else { return nil }
                if let key = KeyRecord(view) { keys.append(key) }
                lineage.add(view)
                position += head.frameBytes
            }
            return lineage.next == segment.lastOffset + 1 ? (keys, lineage) : nil
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
        let stop: Stop
    }

    /// Reads everything, checks everything, up to the first place that is not the next entry.
    static func all(
        of segment: Segment, partition: PartitionID, file: any File, after lastHLC: HLCTimestamp
    ) throws(FileFault) -> Result {
        var result = Result(segment: segment, keys: [], stop: .blank)
        var walker = FrameWalker(file: file, salt: segment.salt, limit: segment.fileBytes, checksBodies: true)
        var lastHLC = lastHLC
        while true {
            switch try walker.next() {
            case .entry(let head, let position, let view):
                if let fault = Self.fault(
                    in: view, due: result.segment.lastOffset + 1, partition: partition, after: lastHLC)
                {
                    return Result(segment: result.segment, keys: result.keys, stop: .bad(fault, at: position))
                }
                lastHLC = view.hlc
                if let key = KeyRecord(view) { result.keys.append(key) }
                result.segment.add(frameBytes: head.frameBytes, hlc: view.hlc, term: view.term)
                if view.operation == .configuration { result.segment.configurations.append(head.offset) }
            case .end, .blank: return result
            case .bad(let position, let what):
                return Result(segment: result.segment, keys: result.keys, stop: .bad(what, at: position))
            }
        }
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
