internal import JournalFormat
internal import NIOCore
internal import Raft

/// What waits to be sent to one peer: two queues, control before bulk, each in order.
///
/// Bulk are appends with frames. They leave in pieces, so that little stands before the next heartbeat.
/// Invariant: `bulkBytes` is what of the frames in `bulk` was not handed out yet; only the first is ever cut.
struct OutgoingQueue {
    /// Why a message was not, or is no more, to be sent.
    enum Loss: String {
        case unknownPeer = "unknown_peer"
        case noLink = "no_link"
        case linkLost = "link_lost"
        case queueFull = "queue_full"
    }

    /// What goes out in one write.
    struct Batch {
        /// The next of the frames of a message whose beginning is out already.
        var continued: (frames: FrameBytes, range: Range<Int>)?
        var messages: [PeerMessage] = []
        /// Of `messages`, those without frames; they stand first.
        var controlCount = 0
        /// How much of the last message's frames goes, if not all.
        var cut: Int?
        var hasMore = false

        var isEmpty: Bool { self.messages.isEmpty && self.continued == nil }
    }

    private let settings: PeerSettings
    private var control = CircularBuffer<PeerMessage>()
    private var bulk = CircularBuffer<PeerMessage>()
    private(set) var bulkBytes = 0
    /// Bytes of the first bulk message's frames that are out.
    private var sent = 0
    /// Without a link only the newest control messages are kept.
    private(set) var isConnected = false

    init(settings: PeerSettings) { self.settings = settings }

    var isEmpty: Bool { self.control.isEmpty && self.bulk.isEmpty }
    var messageCount: Int { self.control.count + self.bulk.count }

    /// - Returns: What was lost by it: this message, or an older one.
    mutating func append(_ message: PeerMessage) -> Loss? {
        guard let frames = message.frames else { return self.append(control: message) }
        guard self.isConnected else { return .noLink }
        let bytes = frames.bytes.count
        guard
            self.bulk.isEmpty
                || (self.bulk.count < self.settings.bulkMessages && self.bulkBytes + bytes <= self.settings.bulkBytes)
        else { return .queueFull }
        self.bulk.append(message)
        self.bulkBytes += bytes
        return nil
    }

    private mutating func append(control message: PeerMessage) -> Loss? {
        guard self.isConnected else {
            self.control.append(message)
            guard self.control.count > self.settings.absentMessages else { return nil }
            self.control.removeFirst()
            return .noLink
        }
        guard self.control.count < self.settings.controlMessages else { return .queueFull }
        self.control.append(message)
        return nil
    }

    mutating func connected() { self.isConnected = true }

    /// - Returns: How many messages were lost: what was meant for the old link, its receiver no more waits for.
    mutating func disconnected() -> Int {
        let lost = self.isConnected ? self.messageCount : 0
        if self.isConnected {
            self.control.removeAll()
            self.bulk.removeAll()
            self.bulkBytes = 0
            self.sent = 0
        }
        self.isConnected = false
        return lost
    }

    mutating func next() -> Batch {
        var batch = Batch()
        batch.messages.reserveCapacity(min(self.messageCount, self.settings.messagesPerFrame))
        while batch.messages.count < self.settings.messagesPerFrame, let message = self.control.popFirst() {
            batch.messages.append(message)
        }
        batch.controlCount = batch.messages.count
        self.takeBulk(into: &batch)
        batch.hasMore = !self.isEmpty
        return batch
    }

    private mutating func takeBulk(into batch: inout Batch) {
        var room = self.settings.pieceBytes
        if self.sent > 0, let frames = self.bulk.first?.frames {
            let total = frames.bytes.count
            let end = min(total, self.sent + room)
            batch.continued = (FrameBytes(frames), self.sent..<end)
            room -= end - self.sent
            self.bulkBytes -= end - self.sent
            self.sent = end
            guard end == total else { return }
            self.sent = 0
            self.bulk.removeFirst()
        }
        while batch.messages.count < self.settings.messagesPerFrame, let first = self.bulk.first,
            let frames = first.frames
        {
            let bytes = frames.bytes.count
            if bytes <= room {
                self.bulk.removeFirst()
                room -= bytes
                self.bulkBytes -= bytes
                batch.messages.append(first)
            } else if bytes > self.settings.pieceBytes, room > self.settings.pieceBytes / 2 {
                batch.messages.append(first)
                batch.cut = room
                self.sent = room
                self.bulkBytes -= room
                return
            } else {
                return
            }
        }
    }
}
