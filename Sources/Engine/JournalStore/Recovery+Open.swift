internal import FileStore
internal import JournalFormat
internal import Primitives

extension Recovery {
    /// The file of the last segment, open for appending, with all that was recovered durable.
    mutating func openLast(with maker: SegmentMaker) throws(VecraftError) -> any File {
        guard let last = self.segments.last else {
            // What is damaged keeps its name until it is removed.
            let damaged = self.loss?.removals.compactMap { SegmentName.sequence(of: Paths.name($0)) }.max() ?? 0
            let first = try maker.make(sequence: damaged + 1, frameBytes: 0, mayUseReserve: true)
            self.begin(with: first)
            return first.file
        }
        let file = try onDisk { () throws(FileFault) in try self.files.open(last.path, .readWrite) }
        // A process that was killed may have written entries whole and not synced them. They are counted in, so they must last.
        try onDisk { () throws(FileFault) in try file.sync() }
        if self.mark.durable < last.lastOffset {
            try onDisk { () throws(FileFault) in try self.mark.advance(to: last.lastOffset) }
        }
        return file
    }

    /// The keys that are still remembered at the end of the log: of its last segments, as many as the window or the capacity has.
    func idempotencyTable(_ settings: JournalSettings) throws(VecraftError) -> IdempotencyTable {
        var table = IdempotencyTable(window: settings.idempotencyWindow, capacity: settings.idempotencyEntries)
        try self.fillIdempotencyTable(&table, settings)
        return table
    }

    func fillIdempotencyTable(_ table: inout IdempotencyTable, _ settings: JournalSettings) throws(VecraftError) {
        var found = [self.lastKeys]
        var count = self.lastKeys.count
        for segment in self.segments.dropLast().reversed() {
            guard count < settings.idempotencyEntries, !table.isForgotten(segment.lastHLC, now: self.lastHLC) else { break }
            found.append(try self.keys(of: segment))
            count += found[found.count - 1].count
        }
        for records in found.reversed() {
            for record in records where !table.isForgotten(record.hlc, now: self.lastHLC) {
                table.insert(.init(record), under: IdempotencyTable.Key(record))
            }
        }
    }

    private func keys(of segment: Segment) throws(VecraftError) -> [KeyRecord] {
        if let keys = try KeyFile.load(of: segment, directory: self.directory, files: self.files) { return keys }
        let scanned = try onDisk { () throws(FileFault) in
            let file = try self.files.open(segment.path, .read)
            defer { file.close() }
            return try SegmentScan.keys(of: segment, file: file)
        }
        guard let scanned else {
            throw .damaged(segment.path, byte: 0, "the heads of its entries do not read as they were written")
        }
        // What cannot be written costs the next start the same scan.
        try? KeyFile.store(scanned, of: segment, directory: self.directory, files: self.files)
        return scanned
    }
}
