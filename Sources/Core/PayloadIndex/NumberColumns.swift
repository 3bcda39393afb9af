import Primitives

/// Rows by number while a segment grows: entries in arrival order, sorted in blocks as each fills.
///
/// A range is then a binary search a block and costs in proportion to what it finds; only the last block is looked
/// through. Sorting 1024 entries takes some 30 us, once in 1024 points.
struct GrowingNumberColumn: Sendable {
    struct Entry: Sendable {
        var key: Int64
        var row: UInt32
        static func before(_ a: Entry, _ b: Entry) -> Bool { a.key != b.key ? a.key < b.key : a.row < b.row }
    }
    static let block = 1024

    private(set) var entries: [Entry] = []
    /// Entries beyond the first of their row: how far a count of entries may exceed the rows.
    private(set) var surplus = 0
    private var lastRow: UInt32?

    mutating func add(_ key: Int64, row: UInt32) {
        if self.lastRow == row { self.surplus += 1 }
        self.lastRow = row
        self.entries.append(Entry(key: key, row: row))
        if self.entries.count % Self.block == 0 {
            let start = self.entries.count - Self.block
            self.entries.withUnsafeMutableBufferPointer {
                var last = UnsafeMutableBufferPointer(rebasing: $0[start...])
                last.sort(by: Entry.before)
            }
        }
    }

    /// Calls `body` with runs of entries within the interval; those of the unsorted last block come one by one.
    @inline(__always)
    private func forEachRun(_ keys: ClosedRange<Int64>, _ body: (UnsafeBufferPointer<Entry>) -> Void) {
        self.entries.withUnsafeBufferPointer { entries in
            var start = 0
            while start + Self.block <= entries.count {
                let block = UnsafeBufferPointer(rebasing: entries[start..<start + Self.block])
                let low = NumberSearch.first(Self.block) { block[$0].key >= keys.lowerBound }
                let high = NumberSearch.first(Self.block) { block[$0].key > keys.upperBound }
                if low < high { body(UnsafeBufferPointer(rebasing: block[low..<high])) }
                start += Self.block
            }
            for i in start..<entries.count where keys.contains(entries[i].key) {
                body(UnsafeBufferPointer(rebasing: entries[i..<i + 1]))
            }
        }
    }

    /// Entries within the interval: at most `surplus` more than rows.
    func count(_ keys: ClosedRange<Int64>) -> Int {
        var total = 0
        self.forEachRun(keys) { total += $0.count }
        return total
    }

    func collect(_ keys: ClosedRange<Int64>, into rows: inout Bitmap) {
        rows.withUnsafeMutableWords { words in
            self.forEachRun(keys) { run in
                for entry in run { words[Int(entry.row >> 6)] |= 1 &<< UInt64(entry.row & 63) }
            }
        }
    }

    func sealed(rows: Int) -> SealedNumberColumn {
        let sorted = self.entries.sorted(by: Entry.before)
        return SealedNumberColumn(
            rows: rows, keys: sorted.map(\.key), entryRows: sorted.map(\.row), surplus: self.surplus)
    }

    var memoryBytes: Int { self.entries.capacity * MemoryLayout<Entry>.stride }
}

/// Rows by number, final: entries sorted by key.
///
/// Wide ranges would touch nearly every row one by one; the entries are therefore also kept as `bucketCount` bitmaps of equal
/// shares, of which a range takes the inner ones whole. 4 bytes a row for a cost bounded by about two shares.
struct SealedNumberColumn: Sendable {
    static let bucketCount = 32
    /// Fewer entries than this are quick to walk.
    static let bucketsFrom = 4096

    private let rows: Int
    private let keys: [Int64]
    private let entryRows: [UInt32]
    /// Entries beyond the first of their row: how far a count of entries may exceed the rows.
    let surplus: Int
    /// Bucket b holds entries `b * bucketEntries ..< (b + 1) * bucketEntries`. Derived, not stored.
    private let buckets: [Bitmap]
    private let bucketEntries: Int

    init(rows: Int, keys: [Int64], entryRows: [UInt32], surplus: Int) {
        self.rows = rows
        self.keys = keys
        self.entryRows = entryRows
        self.surplus = surplus
        self.bucketEntries = max(1, (keys.count + Self.bucketCount - 1) / Self.bucketCount)
        self.buckets = keys.count < Self.bucketsFrom ? [] : Self.buckets(of: entryRows, rows: rows, each: self.bucketEntries)
    }

    private static func buckets(of entryRows: [UInt32], rows: Int, each entries: Int) -> [Bitmap] {
        entryRows.withUnsafeBufferPointer { all in
            stride(from: 0, to: all.count, by: entries).map { start in
                var bitmap = Bitmap(size: rows)
                bitmap.set(UnsafeBufferPointer(rebasing: all[start..<min(start + entries, all.count)]))
                return bitmap
            }
        }
    }

    private func slice(_ wanted: ClosedRange<Int64>) -> Range<Int> {
        self.keys.withUnsafeBufferPointer { keys in
            let low = NumberSearch.first(keys.count) { keys[$0] >= wanted.lowerBound }
            let high = NumberSearch.first(keys.count) { keys[$0] > wanted.upperBound }
            return low..<max(low, high)
        }
    }

    func count(_ keys: ClosedRange<Int64>) -> Int { self.slice(keys).count }

    func collect(_ keys: ClosedRange<Int64>, into rows: inout Bitmap) {
        let slice = self.slice(keys)
        let firstWhole = (slice.lowerBound + self.bucketEntries - 1) / self.bucketEntries
        let pastWhole = slice.upperBound / self.bucketEntries
        self.entryRows.withUnsafeBufferPointer { all in
            guard !self.buckets.isEmpty, firstWhole < pastWhole else {
                return rows.set(UnsafeBufferPointer(rebasing: all[slice]))
            }
            rows.set(UnsafeBufferPointer(rebasing: all[slice.lowerBound..<firstWhole * self.bucketEntries]))
            for bucket in firstWhole..<pastWhole { rows.formUnion(self.buckets[bucket]) }
            rows.set(UnsafeBufferPointer(rebasing: all[pastWhole * self.bucketEntries..<slice.upperBound]))
        }
    }

    var memoryBytes: Int { self.keys.count * 12 + self.buckets.reduce(0) { $0 + $1.memoryBytes } }

    func encode(into writer: inout ByteWriter) {
        writer.writeArray(self.keys)
        writer.writeArray(self.entryRows)
    }

    init(decoding reader: inout ByteReader, rows: Int) throws(DecodingFault) {
        let keys: [Int64] = try reader.readArray()
        let entryRows: [UInt32] = try reader.readArray()
        guard keys.count == entryRows.count, entryRows.allSatisfy({ $0 < rows }),
            zip(keys, keys.dropFirst()).allSatisfy({ $0 <= $1 })
        else { throw DecodingFault(position: reader.position, what: "number column contradicts itself") }
        var distinct = Bitmap(size: rows)
        entryRows.withUnsafeBufferPointer { distinct.set($0) }
        self.init(rows: rows, keys: keys, entryRows: entryRows, surplus: entryRows.count - distinct.count())
    }
}

enum NumberSearch {
    /// The first position in `0..<count` at which a monotone predicate holds; `count` if nowhere.
    @inline(__always)
    static func first(_ count: Int, where holds: (Int) -> Bool) -> Int {
        var low = 0
        var high = count
        while low < high {
            let middle = (low &+ high) >> 1
            if holds(middle) { high = middle } else { low = middle &+ 1 }
        }
        return low
    }
}
