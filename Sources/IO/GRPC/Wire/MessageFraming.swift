import NIOCore
import Primitives

/// gRPC's frame around a message: one byte that says "compressed", four bytes of length (big-endian), the message.
enum MessageFraming {
    static let prefixBytes = 5

    /// A buffer that looks empty and has room for the prefix before its first byte, so that a reply is written once,
    /// in place.
    static func openFrame(capacity: Int, allocator: ByteBufferAllocator) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: capacity + self.prefixBytes)
        buffer.moveWriterIndex(to: self.prefixBytes)
        buffer.moveReaderIndex(to: self.prefixBytes)
        return buffer
    }

    /// Puts the prefix before the readable bytes.
    static func close(_ buffer: inout ByteBuffer, compressed: Bool) {
        let size = UInt32(buffer.readableBytes)
        if buffer.readerIndex < self.prefixBytes {
            // The handler put a buffer of its own in our place: no room in front, so it is copied.
            var framed = ByteBufferAllocator().buffer(capacity: buffer.readableBytes + self.prefixBytes)
            framed.writeInteger(compressed ? UInt8(1) : 0)
            framed.writeInteger(size)
            framed.writeBuffer(&buffer)
            buffer = framed
            return
        }
        let start = buffer.readerIndex - self.prefixBytes
        buffer.setInteger(compressed ? UInt8(1) : 0, at: start)
        buffer.setInteger(size, at: start + 1)
        buffer.moveReaderIndex(to: start)
    }

    /// Frames a message written with ``openFrame(capacity:allocator:)``, compressing it when that is asked for.
    /// - Throws: RESOURCE_EXHAUSTED when the message is over the limit.
    static func seal(_ buffer: inout ByteBuffer, gzip: Bool, limit: Int) throws(VecraftError) {
        guard buffer.readableBytes <= limit else { throw self.tooLarge(buffer.readableBytes, limit) }
        if gzip {
            var packed = self.openFrame(capacity: buffer.readableBytes / 2, allocator: ByteBufferAllocator())
            try Gzip.deflate(buffer, into: &packed)
            buffer = packed
        }
        self.close(&buffer, compressed: gzip)
    }

    static func tooLarge(_ size: Int, _ limit: Int) -> VecraftError {
        VecraftError(
            .resourceExhausted, "message of \(size) bytes; at most \(limit) are allowed", reason: "MESSAGE_TOO_LARGE")
    }
}

/// A message as it was framed.
struct FramedMessage: Sendable {
    var bytes: ByteBuffer
    var compressed: Bool
    /// With its prefix.
    var wireBytes: Int
    /// What it still takes of the flow control window.
    var room: Int

    /// - Throws: RESOURCE_EXHAUSTED when it unpacks to more than `limit`, INTERNAL when it is not gzip.
    func unpacked(limit: Int) throws(VecraftError) -> ByteBuffer {
        self.compressed ? try Gzip.inflate(self.bytes, limit: limit) : self.bytes
    }
}

/// Cuts a stream of DATA frames into messages.
struct MessageAssembler {
    private var buffer = ByteBuffer()
    /// Whether `buffer` is ours alone, so that appending moves no bytes but its own.
    private var isOwned = false
    private let limit: Int
    /// Whether a compressed message is acceptable: the call named gzip.
    var allowsCompressed = false

    init(limit: Int) { self.limit = limit }

    /// Bytes that wait for the rest of their message.
    var partialBytes: Int { self.buffer.readableBytes }

    mutating func append(_ data: ByteBuffer) {
        if self.buffer.readableBytes == 0 {
            // The usual case: a message in one DATA frame, never copied.
            self.buffer = data
            self.isOwned = false
            return
        }
        if !self.isOwned {
            // Room for the whole message when it is small; a large one grows as its bytes arrive, so that a
            // prefix alone makes nobody allocate 64 MiB.
            let whole = (self.announcedBytes ?? 0) + MessageFraming.prefixBytes
            let now = self.buffer.readableBytes + data.readableBytes
            var owned = ByteBufferAllocator().buffer(capacity: max(now, min(whole, 1 << 20)))
            owned.writeImmutableBuffer(self.buffer)
            self.buffer = owned
            self.isOwned = true
        }
        self.buffer.writeImmutableBuffer(data)
    }

    /// The next whole message, nil when more bytes must come first.
    /// - Throws: RESOURCE_EXHAUSTED as soon as a prefix announces more than the limit; INTERNAL for a bad prefix.
    mutating func next() throws(VecraftError) -> FramedMessage? {
        guard let size = self.announcedBytes else { return nil }
        let flag = self.buffer.getInteger(at: self.buffer.readerIndex, as: UInt8.self) ?? 0
        guard flag <= 1 else { throw VecraftError(.internalError, "malformed message prefix") }
        guard flag == 0 || self.allowsCompressed else {
            throw VecraftError(.internalError, "compressed message without grpc-encoding")
        }
        guard size <= self.limit else { throw MessageFraming.tooLarge(size, self.limit) }
        let total = size + MessageFraming.prefixBytes
        guard self.buffer.readableBytes >= total else { return nil }
        self.buffer.moveReaderIndex(forwardBy: MessageFraming.prefixBytes)
        guard let bytes = self.buffer.readSlice(length: size) else {
            preconditionFailure("\(self.buffer) has fewer than \(size) bytes")
        }
        if self.buffer.readableBytes == 0 { self.buffer = ByteBuffer() }
        self.isOwned = false
        return FramedMessage(bytes: bytes, compressed: flag == 1, wireBytes: total, room: total)
    }

    private var announcedBytes: Int? {
        self.buffer.getInteger(at: self.buffer.readerIndex + 1, as: UInt32.self).map(Int.init)
    }
}
