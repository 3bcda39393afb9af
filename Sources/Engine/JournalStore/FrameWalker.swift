internal import CPlatform
internal import FileStore
internal import JournalFormat
internal import Primitives

/// Walks the frames of one segment, front to back: through one window of memory, or where a mapped file lies.
struct FrameWalker {
    enum Step {
        /// The view is valid until the next step. Without `checksBodies` it ends where the body begins.
        case entry(Frame.Head, position: Int, EntryView)
        /// Zeroes from here for a frame's head: nothing was written.
        case blank(position: Int)
        case end(position: Int)
        case bad(position: Int, what: String)
    }

    private enum Source {
        case file(any File)
        case memory(UnsafeRawBufferPointer)
    }
    private let source: Source
    private let salt: UInt32
    /// Bytes of the file that are looked at.
    private let limit: Int
    private let checksBodies: Bool
    private(set) var position: Int
    private var window: AlignedBytes
    private var windowStart = 0
    private var windowCount = 0

    private static let windowBytes = 1 << 20

    init(file: any File, salt: UInt32, from position: Int = SegmentHeader.bytes, limit: Int, checksBodies: Bool) {
        self.source = .file(file)
        self.salt = salt
        self.limit = limit
        self.checksBodies = checksBodies
        self.position = position
        self.window = AlignedBytes(bytes: min(Self.windowBytes, max(limit - position, Frame.stampedBytes)))
    }

    /// Over a segment's first bytes in memory, which must outlive the walk. Views are whole, but bodies are not checked: what is not looked at
    /// is not read.
    init(memory: UnsafeRawBufferPointer, salt: UInt32) {
        self.source = .memory(memory)
        self.salt = salt
        self.limit = memory.count
        self.checksBodies = false
        self.position = SegmentHeader.bytes
        self.window = AlignedBytes(bytes: 0)
    }

    /// Looks at what stands at ``position`` and moves behind it if it is an entry.
    mutating func next() throws(FileFault) -> Step {
        let position = self.position
        guard position < self.limit else { return .end(position: position) }
        guard self.limit - position >= Frame.stampedBytes else {
            let rest = try self.load(position, self.limit - position)
            return rest.allSatisfy { $0 == 0 } ? .blank(position: position) : .bad(position: position, what: "a frame cut short")
        }
        switch Frame.inspect(try self.load(position, Frame.stampedBytes), salt: self.salt) {
        case .blank: return .blank(position: position)
        case .bad(let what): return .bad(position: position, what: what)
        case .head(let head):
            guard head.frameBytes <= self.limit - position else { return .bad(position: position, what: "a frame cut short") }
            return try self.entry(head, at: position)
        }
    }

    private mutating func entry(_ head: Frame.Head, at position: Int) throws(FileFault) -> Step {
        if case .memory(let raw) = self.source {
            let start = position + Frame.headBytes
            guard let view = try? EntryView(UnsafeRawBufferPointer(rebasing: raw[start..<start + head.entryBytes])) else {
                return .bad(position: position, what: "entry lengths that do not add up")
            }
            self.position = position + head.frameBytes
            return .entry(head, position: position, view)
        }
        if self.checksBodies {
            let raw = try self.load(position, head.frameBytes)
            do throws(DecodingFault) {
                let view = try Frame.entry(of: raw, head: head)
                self.position = position + head.frameBytes
                return .entry(head, position: position, view)
            } catch { return .bad(position: position + error.position, what: error.what) }
        }
        let fixed = try self.load(position, Frame.stampedBytes)
        let bodyStart = EntryView(unchecked: UnsafeRawBufferPointer(rebasing: fixed[Frame.headBytes...])).bodyStart
        guard (EntryLayout.fixedBytes...head.entryBytes).contains(bodyStart) else {
            return .bad(position: position, what: "entry lengths that do not add up")
        }
        let raw = try self.load(position, Frame.headBytes + bodyStart)
        self.position = position + head.frameBytes
        return .entry(
            head, position: position, EntryView(unchecked: UnsafeRawBufferPointer(rebasing: raw[Frame.headBytes...])))
    }

    /// Looks for whole frame heads behind a bad place.
    ///
    /// - Returns: The next head and where it is; nil if there is none up to the limit. ``position`` is then unchanged.
    mutating func resynchronise(after bad: Int) throws(FileFault) -> (head: Frame.Head, position: Int)? {
        var position = EntryLayout.aligned(bad + 1)
        while self.limit - position >= Frame.stampedBytes {
            let count = min(Self.windowBytes, self.limit - position)
            let raw = try self.load(position, count)
            // Heads that the window's end may cut are looked for in the next one.
            let heads = (count - Frame.stampedBytes) / 8 * 8 + 8
            var i = vc_bytes_find(raw.baseAddress, heads, Frame.magic.littleEndian)
            while i < heads {
                if case .head(let head) = Frame.inspect(UnsafeRawBufferPointer(rebasing: raw[i...]), salt: self.salt) {
                    self.position = position + i
                    return (head, position + i)
                }
                i += 8
                i += vc_bytes_find(raw.baseAddress! + i, heads - i, Frame.magic.littleEndian)
            }
            position += heads
        }
        return nil
    }

    /// Where the last byte that is not zero ends; `from` if there is none behind it.
    mutating func written(from: Int) throws(FileFault) -> Int {
        var position = from
        var end = from
        while position < self.limit {
            let count = min(Self.windowBytes, self.limit - position)
            let raw = try self.load(position, count)
            let written = vc_bytes_written(raw.baseAddress, count)
            if written > 0 { end = position + written }
            position += count
        }
        return end
    }

    /// Bytes of the file; the caller has checked them against the limit.
    private mutating func load(_ position: Int, _ count: Int) throws(FileFault) -> UnsafeRawBufferPointer {
        let file: any File
        switch self.source {
        case .memory(let raw): return UnsafeRawBufferPointer(rebasing: raw[position..<position + count])
        case .file(let known): file = known
        }
        if position < self.windowStart || position + count > self.windowStart + self.windowCount {
            if count > self.window.raw.count { self.window = AlignedBytes(bytes: count) }
            let wanted = min(max(count, self.checksBodies ? self.window.raw.count : min(64 << 10, self.window.raw.count)), self.limit - position)
            self.windowCount = 0
            try file.readExactly(into: UnsafeMutableRawBufferPointer(rebasing: self.window.raw[..<wanted]), at: position)
            self.windowStart = position
            self.windowCount = wanted
        }
        let start = position - self.windowStart
        return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self.window.raw)[start..<start + count])
    }
}
