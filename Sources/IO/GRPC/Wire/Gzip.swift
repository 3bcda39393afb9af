import CZlib
package import NIOCore
package import Primitives

/// gzip (RFC 1952) of whole messages, by zlib. Streams are made per message: compression is the exception here, and a
/// kept stream per loop would hold a quarter of a megabyte for it.
package enum Gzip {
    /// 15 bits of window, plus 16: a gzip header rather than zlib's.
    private static let gzipWindow: Int32 = 15 + 16
    private static let step = 64 << 10

    /// - Parameter limit: Bytes the message may unpack to; a bomb stops there.
    static func inflate(_ packed: ByteBuffer, limit: Int) throws(VecraftError) -> ByteBuffer {
        var stream = z_stream()
        guard
            inflateInit2_(&stream, self.gzipWindow, ZLIB_VERSION, Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw VecraftError(.internalError, "gzip: out of memory") }
        defer { inflateEnd(&stream) }
        var output = ByteBufferAllocator().buffer(capacity: min(packed.readableBytes * 3, limit, 1 << 20))
        var result = Z_OK
        packed.withUnsafeReadableBytes { input in
            // zlib reads through this pointer and never writes.
            stream.next_in = UnsafeMutablePointer(
                mutating: input.bindMemory(to: UInt8.self).baseAddress)
            stream.avail_in = UInt32(input.count)
            while result == Z_OK && output.readableBytes <= limit {
                let wanted = min(self.step, limit + 1 - output.readableBytes)
                output.writeWithUnsafeMutableBytes(minimumWritableBytes: wanted) { room in
                    stream.next_out = room.bindMemory(to: UInt8.self).baseAddress
                    stream.avail_out = UInt32(wanted)
                    result = CZlib.inflate(&stream, Z_NO_FLUSH)
                    return wanted - Int(stream.avail_out)
                }
                // No input left and no end: Z_OK for ever.
                if result == Z_OK && stream.avail_in == 0 && stream.avail_out > 0 { result = Z_BUF_ERROR }
            }
        }
        guard output.readableBytes <= limit else {
            throw VecraftError(
                .resourceExhausted, "compressed message unpacks to more than \(limit) bytes", reason: "MESSAGE_TOO_LARGE")
        }
        guard result == Z_STREAM_END else { throw VecraftError(.internalError, "malformed gzip message") }
        return output
    }

    /// Appends the gzip of the readable bytes. Level 1: this buys network time with CPU, and the first level buys most.
    package static func deflate(_ plain: ByteBuffer, into packed: inout ByteBuffer) throws(VecraftError) {
        var stream = z_stream()
        guard
            deflateInit2_(
                &stream, 1, Z_DEFLATED, self.gzipWindow, 8, Z_DEFAULT_STRATEGY, ZLIB_VERSION,
                Int32(MemoryLayout<z_stream>.size)) == Z_OK
        else { throw VecraftError(.internalError, "gzip: out of memory") }
        defer { deflateEnd(&stream) }
        let bound = Int(deflateBound(&stream, UInt(plain.readableBytes)))
        var result = Z_OK
        plain.withUnsafeReadableBytes { input in
            stream.next_in = UnsafeMutablePointer(mutating: input.bindMemory(to: UInt8.self).baseAddress)
            stream.avail_in = UInt32(input.count)
            packed.writeWithUnsafeMutableBytes(minimumWritableBytes: bound) { room in
                stream.next_out = room.bindMemory(to: UInt8.self).baseAddress
                stream.avail_out = UInt32(bound)
                result = CZlib.deflate(&stream, Z_FINISH)
                return bound - Int(stream.avail_out)
            }
        }
        precondition(result == Z_STREAM_END, "deflate answered \(result) with room for deflateBound bytes")
    }
}
