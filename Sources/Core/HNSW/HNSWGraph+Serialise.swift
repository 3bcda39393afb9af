internal import Synchronization
internal import VectorKernels

extension HNSWGraph {
    /// Bytes that ``serialise(rowCount:to:)`` will write.
    package func serialisedBytes(rowCount: Int? = nil) -> Int { self.layout(rowCount: rowCount).bytes }

    /// Writes the graph as one block that ``init(mapped:rows:rowCount:)`` reads in place, some pieces at a time, in order.
    /// No insertion may run meanwhile.
    ///
    /// - Parameter rowCount: Rows of the segment, when some at its end were never linked.
    /// - Returns: Bytes written, a multiple of 64.
    @discardableResult
    package func serialise<Failure: Error>(
        rowCount: Int? = nil, to sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) -> Int {
        let layout = self.layout(rowCount: rowCount)
        let writer = SectionWriter()
        try writer.append(layout.header, sink)
        try writer.pad(to: layout.levels.lowerBound, sink)
        for row in 0..<UInt32(layout.rowCount) {
            try writer.append(self.level(of: row) ?? GraphLayout.notLinked, sink)
        }
        try writer.pad(to: layout.links0.lowerBound, sink)
        for row in 0..<UInt32(layout.rowCount) {
            try self.appendList(of: row, level: 0, writer, sink)
        }
        try writer.pad(to: layout.upperStart.lowerBound, sink)
        var start: UInt32 = 0
        for row in 0..<UInt32(layout.rowCount) {
            try writer.append(start, sink)
            start += UInt32(self.level(of: row) ?? 0)
        }
        try writer.pad(to: layout.upper.lowerBound, sink)
        for row in 0..<UInt32(layout.rowCount) {
            guard let level = self.level(of: row), level > 0 else { continue }
            for l in 1...Int(level) { try self.appendList(of: row, level: l, writer, sink) }
        }
        try writer.pad(to: layout.codes.lowerBound, sink)
        if self.store == .int8 {
            // A row that was never linked has no codes; whatever stands there is never read.
            let known = Int(self.rowBound.load(ordering: .relaxed))
            let rows = self.kernelRows.pointee
            try writer.append(UnsafeRawBufferPointer(start: rows.codes, count: known * layout.codeStride), sink)
            try writer.pad(to: layout.codeTerms.lowerBound, sink)
            try writer.append(UnsafeRawBufferPointer(start: rows.code_terms, count: known * 8), sink)
        }
        try writer.pad(to: layout.bytes, sink)
        try writer.flush(sink)
        return layout.bytes
    }

    /// Nil for a row that is not linked.
    private func level(of row: UInt32) -> UInt8? {
        row < self.rowBound.load(ordering: .relaxed) && self.isLinked(row) ? self.levels[Int(row)] : nil
    }

    private func layout(rowCount: Int?) -> GraphLayout {
        let bound = Int(self.rowBound.load(ordering: .acquiring))
        let rowCount = rowCount ?? bound
        precondition(rowCount >= bound, "a segment of \(rowCount) rows, of which row \(bound - 1) is linked")
        var linked = 0
        var lists = 0
        for row in 0..<UInt32(bound) {
            guard let level = self.level(of: row) else { continue }
            linked += 1
            lists += Int(level)
        }
        return GraphLayout(
            metric: self.rows.metric, store: self.store, m: self.m, efConstruction: self.efConstruction,
            dimension: self.rows.dimension, rowCount: rowCount, linkedCount: linked, upperLists: lists,
            entry: self.entry.load(ordering: .acquiring))
    }

    private func appendList<Failure: Error>(
        of row: UInt32, level: Int, _ writer: SectionWriter, _ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        let width = self.view.width(level: level)
        if self.level(of: row) == nil {
            for _ in 0..<width { try writer.append(UInt32.max, sink) }
        } else {
            let links = self.view.links(row, level: level)
            try writer.append(UnsafeRawBufferPointer(start: links, count: width * 4), sink)
        }
    }
}

/// Collects small pieces into large ones.
private final class SectionWriter {
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    private var used = 0
    private var flushed = 0

    deinit { self.buffer.deallocate() }

    func append<Failure: Error>(
        _ bytes: UnsafeRawBufferPointer, _ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        if bytes.count > self.buffer.count - self.used { try self.flush(sink) }
        if bytes.count > self.buffer.count {
            try sink(bytes)
            self.flushed += bytes.count
        } else if bytes.count > 0 {
            (self.buffer.baseAddress! + self.used).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
            self.used += bytes.count
        }
    }

    func append<Failure: Error>(
        _ bytes: [UInt8], _ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        for byte in bytes { try self.append(byte, sink) }
    }

    func append<T: FixedWidthInteger, Failure: Error>(
        _ value: T, _ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        if MemoryLayout<T>.size > self.buffer.count - self.used { try self.flush(sink) }
        self.buffer.storeBytes(of: value.littleEndian, toByteOffset: self.used, as: T.self)
        self.used += MemoryLayout<T>.size
    }

    /// Zeroes up to a position in the whole.
    func pad<Failure: Error>(
        to position: Int, _ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        while self.flushed + self.used < position { try self.append(UInt8(0), sink) }
    }

    func flush<Failure: Error>(_ sink: (UnsafeRawBufferPointer) throws(Failure) -> Void) throws(Failure) {
        guard self.used > 0 else { return }
        try sink(UnsafeRawBufferPointer(rebasing: self.buffer[..<self.used]))
        self.flushed += self.used
        self.used = 0
    }
}
