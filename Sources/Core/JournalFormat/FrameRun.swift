package import Primitives

/// Uninitialised bytes, 64-byte aligned, filled once by whoever made them.
package final class AlignedBytes: @unchecked Sendable {  // written before it is shared, only read afterwards
    package let raw: UnsafeMutableRawBufferPointer
    /// - Parameter bytes: At least 64 are allocated, so that an empty one has an address too.
    package init(bytes: Int) { self.raw = .allocate(byteCount: Swift.max(bytes, 64), alignment: 64) }
    deinit { self.raw.deallocate() }
}

/// Consecutive whole frames in one piece of memory: how entries travel between replicas, and from them into segments.
///
/// Each entry has its offset, term and HLC. The frames' own heads are good under `salt`; a replica that writes the entries makes
/// heads of its own around them, for its segments have salts of their own.
package struct FrameRun: Sendable {
    package let buffer: AlignedBytes
    /// Of the entries without their heads, in order; at least one.
    package let ranges: [Range<Int>]
    package let firstOffset: JournalOffset
    package let salt: UInt32

    /// Frames made here: nothing is checked.
    package init(trusted buffer: AlignedBytes, ranges: [Range<Int>], firstOffset: JournalOffset, salt: UInt32) {
        precondition(!ranges.isEmpty, "a run without frames")
        self.buffer = buffer
        self.ranges = ranges
        self.firstOffset = firstOffset
        self.salt = salt
    }

    /// Frames that came from elsewhere: every checksum, length and offset is checked.
    ///
    /// - Parameters:
    ///   - count: Bytes of `buffer` that hold frames, all of them whole.
    ///   - expecting: Offset of the first.
    /// - Throws: What is wrong, and at which byte.
    package init(
        checking buffer: AlignedBytes, count: Int, salt: UInt32, expecting first: JournalOffset
    ) throws(DecodingFault) {
        let raw = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(buffer.raw)[..<count])
        var ranges: [Range<Int>] = []
        var position = 0
        while position < count {
            guard count - position >= Frame.stampedBytes else {
                throw DecodingFault(position: position, what: "a frame cut short")
            }
            let rest = UnsafeRawBufferPointer(rebasing: raw[position...])
            guard case .head(let head) = Frame.inspect(rest, salt: salt) else {
                throw DecodingFault(position: position, what: "no whole frame")
            }
            guard head.frameBytes <= rest.count else { throw DecodingFault(position: position, what: "a frame cut short") }
            guard head.offset == first + UInt64(ranges.count) else {
                throw DecodingFault(position: position, what: "entry \(head.offset) where \(first + UInt64(ranges.count)) is due")
            }
            do throws(DecodingFault) { _ = try Frame.entry(of: rest, head: head) } catch {
                throw DecodingFault(position: position + error.position, what: error.what)
            }
            ranges.append(position + Frame.headBytes..<position + head.frameBytes)
            position += head.frameBytes
        }
        guard !ranges.isEmpty else { throw DecodingFault(position: 0, what: "no frame") }
        self.init(trusted: buffer, ranges: ranges, firstOffset: first, salt: salt)
    }

    package var count: Int { self.ranges.count }
    package var lastOffset: JournalOffset { self.firstOffset + UInt64(self.ranges.count) - 1 }

    /// The bytes of one entry, 8-byte aligned; valid while the run is held.
    package subscript(index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self.buffer.raw)[self.ranges[index]])
    }

    /// Valid while the run is held.
    package func view(_ index: Int) -> EntryView { EntryView(unchecked: self[index]) }

    /// All frames, heads included, in one piece; valid while the run is held.
    package var bytes: UnsafeRawBufferPointer {
        let start = self.ranges[0].lowerBound - Frame.headBytes
        return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self.buffer.raw)[start..<self.ranges[self.ranges.count - 1].upperBound])
    }

    /// The entries from an offset on; the memory is shared.
    package func suffix(from offset: JournalOffset) -> FrameRun {
        precondition(offset >= self.firstOffset && offset <= self.lastOffset, "\(offset) is not in \(self.firstOffset)...\(self.lastOffset)")
        return FrameRun(
            trusted: self.buffer, ranges: Array(self.ranges[Int(offset - self.firstOffset)...]), firstOffset: offset, salt: self.salt)
    }

    /// The entries up to an offset; the memory is shared.
    package func prefix(through offset: JournalOffset) -> FrameRun {
        precondition(offset >= self.firstOffset && offset <= self.lastOffset, "\(offset) is not in \(self.firstOffset)...\(self.lastOffset)")
        return FrameRun(
            trusted: self.buffer, ranges: Array(self.ranges[...Int(offset - self.firstOffset)]), firstOffset: self.firstOffset,
            salt: self.salt)
    }
}
