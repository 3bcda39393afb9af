internal import JournalFormat
internal import Primitives

/// Frames of a message, as bytes; holds their memory.
struct FrameBytes {
    private let run: FrameRun
    init(_ run: FrameRun) { self.run = run }
    /// Valid while this is held.
    subscript(range: Range<Int>) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self.run.bytes[range]) }
}

/// Frames on their way in, which may come in pieces: copied once, then checked whole.
struct FrameAssembly {
    private let buffer: AlignedBytes
    private let total: Int
    private let salt: UInt32
    private let first: JournalOffset
    private var filled = 0

    /// - Parameter limit: More bytes are refused before memory is taken for them.
    init(total: UInt64, limit: Int, salt: UInt32, first: JournalOffset) throws(PeerFault) {
        guard total > 0, total <= UInt64(limit) else {
            throw PeerFault(.tooLarge, "\(total) bytes of frames; at most \(limit) are taken")
        }
        self.total = Int(total)
        self.salt = salt
        self.first = first
        self.buffer = AlignedBytes(bytes: self.total)
    }

    var isWhole: Bool { self.filled == self.total }

    mutating func add(_ piece: UnsafeRawBufferPointer) throws(PeerFault) {
        guard piece.count <= self.total - self.filled else {
            throw PeerFault(
                .protocolBroken, "\(piece.count) bytes of frames where \(self.total - self.filled) are missing")
        }
        if let start = piece.baseAddress {
            self.buffer.raw.baseAddress!.advanced(by: self.filled).copyMemory(from: start, byteCount: piece.count)
        }
        self.filled += piece.count
    }

    /// Checks every frame.
    func run() throws(PeerFault) -> FrameRun {
        do throws(DecodingFault) {
            return try FrameRun(checking: self.buffer, count: self.total, salt: self.salt, expecting: self.first)
        } catch {
            throw PeerFault(.damagedFrames, "byte \(error.position): \(error.what)")
        }
    }
}

/// What is wrong with something that came from a peer.
struct PeerFault: Error {
    enum Reason: String {
        /// A field that no release of this protocol would send.
        case malformed
        /// Frames that do not hold: their checksums, or they are not what the message says.
        case damagedFrames = "damaged_frames"
        case tooLarge = "too_large"
        /// The parts of something that came in pieces do not fit: nothing on this stream can be trusted to be whole.
        case protocolBroken = "protocol_broken"
    }

    let reason: Reason
    let what: String

    init(_ reason: Reason, _ what: String) {
        self.reason = reason
        self.what = what
    }
}
