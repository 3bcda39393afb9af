internal import FileStore
internal import JournalFormat
internal import Primitives

/// The lineage index of a sealed segment, in a file beside it: which of its entries have a key (a point, a request, a trace).
///
/// A Bloom filter is asked first, one block of 64 bytes a key (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom
/// filters", 2007, section 3), so a segment that has nothing costs one page. Then a bucket of records, chosen by bits of the hash, each
/// with 16 bits more of it. Two keys that share all of that cost the reading of an entry, never an answer. Less than 7 bytes a key (a test holds it).
///
/// Derived: a missing or damaged one is made anew from its segment. Little-endian:
///
///     0   u32 magic "VJLX"    4  u32 crc32c of the header from 8 on, and of the table of pages
///     8   u16 format         10  u16 bytes of an offset (3 or 4)      12  u32 salt of the segment
///     16  u64 sequence       24  u64 first offset                     32  u64 last offset
///     40  u32 records        44  u32 bits of a bucket's number        48  u32 blocks of the filter     52  u32 pages
///     56  u32 crc32c of each page behind, of 4,096 bytes
///     pages: the filter's blocks; where each bucket begins, u32, and the end; the records: u16 of the hash, offset less the first
struct LineageIndexFile {
    static let format: UInt16 = 2
    private static let magic: UInt32 = 0x584C_4A56
    private static let headBytes = 56
    static let pageBytes = 4096
    private static let blockBytes = 64
    private static let bitsPerKey = 10
    private static let probes = 6

    private let path: String
    let firstOffset: JournalOffset
    let lastOffset: JournalOffset
    private let records: Int
    private let offsetBytes: Int
    private let bucketBits: UInt64
    private let blocks: Int
    private let checksums: [UInt32]

    private var bodyStart: Int { Self.headBytes + 4 * self.checksums.count }
    private var bucketsStart: Int { self.blocks * Self.blockBytes }
    private var recordsStart: Int { self.bucketsStart + 4 * ((1 << Int(self.bucketBits)) + 1) }

    // MARK: Writing

    /// The file of a segment.
    static func encode(_ keys: LineageKeys, of segment: Segment) -> [UInt8] {
        let count = keys.count
        let offsetBytes = segment.lastOffset - segment.firstOffset < 1 << 24 ? 3 : 4
        var bucketBits: UInt64 = 0
        while 8 << bucketBits < count { bucketBits += 1 }
        let blocks = max(1, (count * Self.bitsPerKey + 511) / 512)
        let buckets = 1 << Int(bucketBits)
        let bucketsStart = blocks * Self.blockBytes
        let recordsStart = bucketsStart + 4 * (buckets + 1)
        let recordBytes = 2 + offsetBytes
        let pages = (recordsStart + count * recordBytes + Self.pageBytes - 1) / Self.pageBytes
        let bodyStart = Self.headBytes + 4 * pages
        return [UInt8](unsafeUninitializedCapacity: bodyStart + pages * Self.pageBytes) { buffer, initialized in
            let raw = UnsafeMutableRawBufferPointer(buffer)
            raw.initializeMemory(as: UInt8.self, repeating: 0)
            let body = UnsafeMutableRawBufferPointer(rebasing: raw[bodyStart...])
            // Counting sort by bucket: offsets come in order, and stay in it.
            var starts = [UInt32](repeating: 0, count: buckets + 1)
            keys.forEach { hash, _ in starts[Self.bucket(hash, bucketBits) + 1] += 1 }
            for i in 0..<buckets { starts[i + 1] += starts[i] }
            for (i, start) in starts.enumerated() { body.store(start, at: bucketsStart + 4 * i) }
            keys.forEach { hash, relative in
                Self.forEachProbe(hash, blocks: blocks) { block, bit in
                    body[block * Self.blockBytes + bit >> 3] |= 1 << UInt8(bit & 7)
                }
                let bucket = Self.bucket(hash, bucketBits)
                let at = recordsStart + Int(starts[bucket]) * recordBytes
                starts[bucket] += 1
                body.store(Self.fingerprint(hash), at: at)
                for i in 0..<offsetBytes { body[at + 2 + i] = UInt8(truncatingIfNeeded: relative >> UInt32(8 * i)) }
            }
            raw.store(Self.magic, at: 0)
            raw.store(Self.format, at: 8)
            raw.store(UInt16(offsetBytes), at: 10)
            raw.store(segment.salt, at: 12)
            raw.store(segment.sequence, at: 16)
            raw.store(segment.firstOffset, at: 24)
            raw.store(segment.lastOffset, at: 32)
            raw.store(UInt32(count), at: 40)
            raw.store(UInt32(bucketBits), at: 44)
            raw.store(UInt32(blocks), at: 48)
            raw.store(UInt32(pages), at: 52)
            for page in 0..<pages {
                let bytes = body[page * Self.pageBytes..<(page + 1) * Self.pageBytes]
                raw.store(
                    CRC32C.of(UnsafeRawBufferPointer(UnsafeMutableRawBufferPointer(rebasing: bytes))),
                    at: Self.headBytes + 4 * page)
            }
            raw.store(
                CRC32C.of(UnsafeRawBufferPointer(UnsafeMutableRawBufferPointer(rebasing: raw[8..<bodyStart]))), at: 4)
            initialized = raw.count
        }
    }

    private static func mixed(_ hash: UInt64) -> UInt64 { hash &* 0x9e37_79b9_7f4a_7c15 }
    private static func bucket(_ hash: UInt64, _ bits: UInt64) -> Int {
        bits == 0 ? 0 : Int(Self.mixed(hash) >> (64 - bits))
    }
    /// Not of the bits that chose the bucket: a segment has at most 2^32 records, so at most 2^29 buckets.
    private static func fingerprint(_ hash: UInt64) -> UInt16 { UInt16(truncatingIfNeeded: Self.mixed(hash) >> 16) }

    private static func forEachProbe(_ hash: UInt64, blocks: Int, _ body: (_ block: Int, _ bit: Int) -> Void) {
        let block = Int(hash.multipliedFullWidth(by: UInt64(blocks)).high)
        var bits = (hash ^ hash >> 29) &* 0xbf58_476d_1ce4_e5b9
        for _ in 0..<Self.probes {
            body(block, Int(bits >> 55))
            bits <<= 9
        }
    }

    // MARK: Reading

    /// - Returns: Nil if the file is missing, damaged, of another segment, or of another format: then it is made anew.
    init?(of segment: Segment, at path: String, _ files: any FileStore) {
        guard let file = try? files.open(path, .read) else { return nil }
        defer { file.close() }
        var head = [UInt8](repeating: 0, count: Self.headBytes)
        guard Self.fill(&head, file, at: 0) else { return nil }
        let pages = head.withUnsafeBytes {
            $0.integer(at: 0, as: UInt32.self) == Self.magic ? Int($0.integer(at: 52, as: UInt32.self)) : 0
        }
        guard pages > 0, pages <= 1 << 22, (try? file.size()) == Self.headBytes + pages * (4 + Self.pageBytes) else {
            return nil
        }
        var whole = [UInt8](repeating: 0, count: Self.headBytes + 4 * pages)
        guard Self.fill(&whole, file, at: 0) else { return nil }
        let made = whole.withUnsafeBytes { raw -> LineageIndexFile? in
            guard CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...])) == raw.integer(at: 4, as: UInt32.self),
                raw.integer(at: 8, as: UInt16.self) == Self.format,
                raw.integer(at: 12, as: UInt32.self) == segment.salt,
                raw.integer(at: 16, as: UInt64.self) == segment.sequence,
                raw.integer(at: 24, as: UInt64.self) == segment.firstOffset,
                raw.integer(at: 32, as: UInt64.self) == segment.lastOffset
            else { return nil }
            return LineageIndexFile(path: path, checked: raw)
        }
        guard let made else { return nil }
        self = made
    }

    private init(path: String, checked raw: UnsafeRawBufferPointer) {
        self.path = path
        self.firstOffset = raw.integer(at: 24, as: UInt64.self)
        self.lastOffset = raw.integer(at: 32, as: UInt64.self)
        self.offsetBytes = Int(raw.integer(at: 10, as: UInt16.self))
        self.records = Int(raw.integer(at: 40, as: UInt32.self))
        self.bucketBits = UInt64(raw.integer(at: 44, as: UInt32.self))
        self.blocks = Int(raw.integer(at: 48, as: UInt32.self))
        let pages = Int(raw.integer(at: 52, as: UInt32.self))
        self.checksums = (0..<pages).map { raw.integer(at: Self.headBytes + 4 * $0, as: UInt32.self) }
    }

    private static func fill(_ bytes: inout [UInt8], _ file: any File, at position: Int) -> Bool {
        bytes.withUnsafeMutableBytes { raw in (try? file.readExactly(into: raw, at: position)) != nil }
    }

    /// Offsets of entries that may have one of the keys, ascending, each once.
    ///
    /// - Returns: Nil if a page is damaged.
    func offsets(of keys: [LineageKey], _ files: any FileStore) -> [JournalOffset]? {
        guard let file = try? files.open(self.path, .read) else { return nil }
        defer { file.close() }
        var found: Set<JournalOffset> = []
        for key in keys {
            var isThere = true
            let block = Int(key.hash.multipliedFullWidth(by: UInt64(self.blocks)).high)
            guard let bits = self.bytes(block * Self.blockBytes, Self.blockBytes, file) else { return nil }
            Self.forEachProbe(key.hash, blocks: self.blocks) { _, bit in
                if bits[bit >> 3] & 1 << UInt8(bit & 7) == 0 { isThere = false }
            }
            guard isThere else { continue }
            let bucket = Self.bucket(key.hash, self.bucketBits)
            guard let bounds = self.bytes(self.bucketsStart + 4 * bucket, 8, file) else { return nil }
            let (from, to) = bounds.withUnsafeBytes {
                (Int($0.integer(at: 0, as: UInt32.self)), Int($0.integer(at: 4, as: UInt32.self)))
            }
            guard from <= to, to <= self.records else { return nil }
            guard from < to else { continue }
            let size = 2 + self.offsetBytes
            guard let records = self.bytes(self.recordsStart + from * size, (to - from) * size, file) else {
                return nil
            }
            let wanted = Self.fingerprint(key.hash)
            records.withUnsafeBytes { raw in
                for i in 0..<to - from where raw.integer(at: i * size, as: UInt16.self) == wanted {
                    var relative: UInt64 = 0
                    for j in 0..<self.offsetBytes { relative |= UInt64(raw[i * size + 2 + j]) << UInt64(8 * j) }
                    found.insert(self.firstOffset + relative)
                }
            }
        }
        return found.sorted()
    }

    /// A stretch of the body, out of pages whose checksums hold.
    private func bytes(_ position: Int, _ count: Int, _ file: any File) -> [UInt8]? {
        let first = position / Self.pageBytes
        let last = (position + count - 1) / Self.pageBytes
        guard last < self.checksums.count else { return nil }
        var pages = [UInt8](repeating: 0, count: (last - first + 1) * Self.pageBytes)
        guard Self.fill(&pages, file, at: self.bodyStart + first * Self.pageBytes) else { return nil }
        let areRight = pages.withUnsafeBytes { raw in
            (first...last).allSatisfy { page in
                let at = (page - first) * Self.pageBytes
                return CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[at..<at + Self.pageBytes]))
                    == self.checksums[page]
            }
        }
        guard areRight else { return nil }
        let start = position - first * Self.pageBytes
        return Array(pages[start..<start + count])
    }
}

/// The keys of a stretch of entries, in memory: of the segment being written, and of one whose file is being made. 12 bytes a key.
struct LineageKeys {
    private var hashes: [UInt64] = []
    private var relatives: [UInt32] = []
    let firstOffset: JournalOffset
    /// Entries below it are in.
    private(set) var next: JournalOffset

    init(from first: JournalOffset) {
        self.firstOffset = first
        self.next = first
    }

    var count: Int { self.hashes.count }

    /// Takes in the next entry.
    mutating func add(_ view: EntryView) {
        assert(view.offset == self.next)
        let relative = UInt32(view.offset - self.firstOffset)
        view.forEachLineageKey { key in
            self.hashes.append(key.hash)
            self.relatives.append(relative)
        }
        self.next = view.offset + 1
    }

    func forEach(_ body: (_ hash: UInt64, _ relative: UInt32) -> Void) {
        for i in 0..<self.hashes.count { body(self.hashes[i], self.relatives[i]) }
    }

    func offsets(of keys: [LineageKey]) -> [JournalOffset] {
        let wanted = keys.map(\.hash)
        var found: [JournalOffset] = []
        for i in 0..<self.hashes.count where wanted.contains(self.hashes[i]) {
            let offset = self.firstOffset + UInt64(self.relatives[i])
            if found.last != offset { found.append(offset) }
        }
        return found
    }
}
