import NIOCore
import NIOHTTP2

/// What ends a connection: the peer broke the protocol, or goes too far.
struct HTTP2Fault: Error, CustomStringConvertible {
    let code: HTTP2ErrorCode
    let what: String
    var description: String { self.what }

    static func broken(_ what: String) -> HTTP2Fault { HTTP2Fault(code: .protocolError, what: what) }
    static func badSize(_ what: String) -> HTTP2Fault { HTTP2Fault(code: .frameSizeError, what: what) }
    static func flood(_ what: String) -> HTTP2Fault { HTTP2Fault(code: .enhanceYourCalm, what: what) }
}

/// One frame as it came (RFC 9113, section 4.1).
struct HTTP2RawFrame {
    enum Kind {
        static let data: UInt8 = 0
        static let headers: UInt8 = 1
        static let priority: UInt8 = 2
        static let reset: UInt8 = 3
        static let settings: UInt8 = 4
        static let pushPromise: UInt8 = 5
        static let ping: UInt8 = 6
        static let goAway: UInt8 = 7
        static let windowUpdate: UInt8 = 8
        static let continuation: UInt8 = 9
    }
    enum Flag {
        static let endStream: UInt8 = 1
        static let ack: UInt8 = 1
        static let endHeaders: UInt8 = 4
        static let padded: UInt8 = 8
        static let priority: UInt8 = 0x20
    }

    static let headBytes = 9

    let kind: UInt8
    let flags: UInt8
    let stream: HTTP2StreamID
    var payload: ByteBuffer

    func has(_ flag: UInt8) -> Bool { self.flags & flag != 0 }

    /// Takes the padding off the payload.
    mutating func unpad() throws(HTTP2Fault) {
        guard self.has(Flag.padded) else { return }
        guard let padding = self.payload.readInteger(as: UInt8.self), Int(padding) <= self.payload.readableBytes else {
            throw .broken("padding longer than its frame")
        }
        self.payload.moveWriterIndex(to: self.payload.writerIndex - Int(padding))
    }
}

/// Cuts what a client sends into frames. A frame that came whole is a slice of what was read; only one that did not is copied.
struct FrameReader {
    private static let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    /// Bytes of the preface that were seen.
    private var prefaceBytes = 0
    /// The beginning of a frame whose rest has not come.
    private var partial = ByteBuffer()
    private let maxFrameBytes: Int

    init(maxFrameBytes: Int) { self.maxFrameBytes = maxFrameBytes }

    private struct Head {
        let payloadBytes: Int
        let kind: UInt8
        let flags: UInt8
        let stream: HTTP2StreamID
    }

    /// The next frame; nil when more bytes must come, and then all of `bytes` was taken.
    mutating func next(_ bytes: inout ByteBuffer) throws(HTTP2Fault) -> HTTP2RawFrame? {
        guard try self.readPreface(&bytes) else { return nil }
        if self.partial.readableBytes > 0 { return try self.finishPartial(&bytes) }
        if bytes.readableBytes >= HTTP2RawFrame.headBytes {
            let head = try self.head(bytes)
            if bytes.readableBytes >= HTTP2RawFrame.headBytes + head.payloadBytes {
                bytes.moveReaderIndex(forwardBy: HTTP2RawFrame.headBytes)
                return self.frame(head, &bytes)
            }
        }
        if bytes.readableBytes > 0 {
            self.partial = ByteBufferAllocator().buffer(capacity: max(bytes.readableBytes, 4 << 10))
            self.partial.writeBuffer(&bytes)
        }
        return nil
    }

    private mutating func readPreface(_ bytes: inout ByteBuffer) throws(HTTP2Fault) -> Bool {
        while self.prefaceBytes < FrameReader.preface.count {
            guard let byte = bytes.readInteger(as: UInt8.self) else { return false }
            guard byte == FrameReader.preface[self.prefaceBytes] else { throw .broken("this is not HTTP/2") }
            self.prefaceBytes += 1
        }
        return true
    }

    private mutating func finishPartial(_ bytes: inout ByteBuffer) throws(HTTP2Fault) -> HTTP2RawFrame? {
        self.fillPartial(upTo: HTTP2RawFrame.headBytes, &bytes)
        guard self.partial.readableBytes >= HTTP2RawFrame.headBytes else { return nil }
        let head = try self.head(self.partial)
        let whole = HTTP2RawFrame.headBytes + head.payloadBytes
        self.fillPartial(upTo: whole, &bytes)
        guard self.partial.readableBytes == whole else { return nil }
        var buffer = self.partial
        self.partial = ByteBuffer()
        buffer.moveReaderIndex(forwardBy: HTTP2RawFrame.headBytes)
        return self.frame(head, &buffer)
    }

    private mutating func fillPartial(upTo count: Int, _ bytes: inout ByteBuffer) {
        let missing = min(count - self.partial.readableBytes, bytes.readableBytes)
        guard missing > 0, var piece = bytes.readSlice(length: missing) else { return }
        self.partial.writeBuffer(&piece)
    }

    private func head(_ bytes: ByteBuffer) throws(HTTP2Fault) -> Head {
        let head = bytes.withUnsafeReadableBytes { raw in
            Head(
                payloadBytes: Int(raw[0]) << 16 | Int(raw[1]) << 8 | Int(raw[2]), kind: raw[3], flags: raw[4],
                // The first bit is reserved, and ignored.
                stream: HTTP2StreamID(
                    Int32(raw[5] & 0x7f) << 24 | Int32(raw[6]) << 16 | Int32(raw[7]) << 8 | Int32(raw[8])))
        }
        guard head.payloadBytes <= self.maxFrameBytes else { throw .badSize("a frame of \(head.payloadBytes) bytes") }
        return head
    }

    private func frame(_ head: Head, _ bytes: inout ByteBuffer) -> HTTP2RawFrame {
        guard let payload = bytes.readSlice(length: head.payloadBytes) else {
            preconditionFailure("\(bytes) has fewer than \(head.payloadBytes) bytes")
        }
        return HTTP2RawFrame(kind: head.kind, flags: head.flags, stream: head.stream, payload: payload)
    }
}
