package import Primitives

/// What stands before each entry in a segment, 32 bytes, little-endian; the entry follows at once, so it is 8-byte aligned too:
///
///     0   u32 magic "VJF1"     4   u32 crc32c of bytes 8 to 160, begun with the segment's salt
///     8   u32 bytes of entry   12  u32 0
///     16  u64 offset           24  u64 durable through: the offset known durable when this frame was written
///
/// The checksum covers the frame and the entry's fixed part; that holds the checksum of the rest. The salt keeps frames of
/// another segment, or bytes that a client put into a payload, from being taken for frames of this one.
package enum Frame {
    package static let headBytes = 32
    /// The frame's head with the entry's fixed part: what the writer builds for each entry.
    package static let stampedBytes = headBytes + EntryLayout.fixedBytes
    package static let magic: UInt32 = 0x3146_4A56
    /// Larger than any entry the edge lets in; a damaged length is noticed by it.
    package static let maxEntryBytes = 1 << 28

    package struct Head: Equatable, Sendable {
        package let entryBytes: Int
        package let offset: JournalOffset
        package let durableThrough: JournalOffset
        package var frameBytes: Int { Frame.headBytes + self.entryBytes }
    }

    package enum Finding: Equatable, Sendable {
        /// Zeroes: nothing was written here.
        case blank
        case head(Head)
        /// What is wrong.
        case bad(String)
    }

    /// Writes a head, and the stamped copy of an entry's fixed part behind it.
    ///
    /// - Parameter raw: ``stampedBytes`` long; filled whole.
    package static func write(
        into raw: UnsafeMutableRawBufferPointer, entry: UnsafeRawBufferPointer, offset: JournalOffset, term: UInt64,
        hlc: HLCTimestamp, appendedStart: HLCTimestamp, durableThrough: JournalOffset, salt: UInt32
    ) {
        precondition(raw.count == Self.stampedBytes && entry.count >= EntryLayout.fixedBytes)
        let fixed = UnsafeMutableRawBufferPointer(rebasing: raw[Self.headBytes...])
        fixed.copyMemory(from: UnsafeRawBufferPointer(rebasing: entry[..<EntryLayout.fixedBytes]))
        EntryStamp.write(into: fixed, offset: offset, term: term, hlc: hlc, appended: (appendedStart, hlc))
        raw.store(Self.magic, at: 0)
        raw.store(UInt32(entry.count), at: 8)
        raw.store(UInt32(0), at: 12)
        raw.store(offset, at: 16)
        raw.store(durableThrough, at: 24)
        raw.store(CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...]), continuing: salt), at: 4)
    }

    /// Writes a head for an entry that is stamped already.
    ///
    /// - Parameter raw: ``headBytes`` long; filled whole. The entry follows it on disk, not here.
    package static func writeHead(
        into raw: UnsafeMutableRawBufferPointer, entry: UnsafeRawBufferPointer, durableThrough: JournalOffset, salt: UInt32
    ) {
        precondition(raw.count == Self.headBytes && entry.count >= EntryLayout.fixedBytes)
        raw.store(Self.magic, at: 0)
        raw.store(UInt32(entry.count), at: 8)
        raw.store(UInt32(0), at: 12)
        raw.store(entry.integer(at: EntryLayout.Field.offset, as: UInt64.self), at: 16)
        raw.store(durableThrough, at: 24)
        let head = CRC32C.of(UnsafeRawBufferPointer(rebasing: raw[8...]), continuing: salt)
        raw.store(CRC32C.of(UnsafeRawBufferPointer(rebasing: entry[..<EntryLayout.fixedBytes]), continuing: head), at: 4)
    }

    /// Looks at a frame's head.
    ///
    /// - Parameter raw: At least ``stampedBytes`` from the frame's start.
    package static func inspect(_ raw: UnsafeRawBufferPointer, salt: UInt32) -> Finding {
        let magic = raw.integer(at: 0, as: UInt32.self)
        guard magic == Self.magic else {
            let blank = raw[..<Self.stampedBytes].allSatisfy { $0 == 0 }
            return blank ? .blank : .bad("no frame starts here")
        }
        let checked = UnsafeRawBufferPointer(rebasing: raw[8..<Self.stampedBytes])
        guard CRC32C.of(checked, continuing: salt) == raw.integer(at: 4, as: UInt32.self) else {
            return .bad("checksum mismatch in the frame's head")
        }
        let entryBytes = Int(raw.integer(at: 8, as: UInt32.self))
        guard entryBytes >= EntryLayout.fixedBytes, entryBytes % 8 == 0, entryBytes <= Self.maxEntryBytes else {
            return .bad("a frame of \(entryBytes) bytes")
        }
        return .head(
            Head(entryBytes: entryBytes, offset: raw.integer(at: 16), durableThrough: raw.integer(at: 24)))
    }

    /// Checks the entry of a frame whose head was found good, its checksum included.
    ///
    /// - Parameter raw: The whole frame, 8-byte aligned.
    package static func entry(of raw: UnsafeRawBufferPointer, head: Head) throws(DecodingFault) -> EntryView {
        let view = try EntryView(UnsafeRawBufferPointer(rebasing: raw[Self.headBytes..<head.frameBytes]))
        guard view.raw.count == head.entryBytes else {
            throw DecodingFault(position: Self.headBytes, what: "an entry shorter than its frame")
        }
        guard view.offset == head.offset else {
            throw DecodingFault(position: Self.headBytes, what: "entry \(view.offset) in the frame of \(head.offset)")
        }
        guard view.isTailIntact else { throw DecodingFault(position: Self.stampedBytes, what: "checksum mismatch in the entry") }
        return view
    }
}
