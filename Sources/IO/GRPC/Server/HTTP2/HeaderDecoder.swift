import NIOCore
import NIOHPACK
import NIOHTTP2

/// A decoded header block, and what was made of it. Shared by all requests that came with the same bytes.
final class RequestBlock {
    let fields: HPACKHeaders
    private(set) lazy var verdict = RequestHead.read(self.fields)
    /// The method its path names; kept here so that it is looked up once.
    var method: ServedMethod?

    init(_ fields: HPACKHeaders) { self.fields = fields }
}

/// Reads header blocks.
///
/// From its second call of a method on, a client sends nothing but indexes into the table that both ends keep. As long as no
/// other block changes the table, such bytes mean what they meant before: they are looked up and not decoded.
struct HeaderDecoder {
    private var decoder: HPACKDecoder
    /// Blocks of indexes only, seen since the table may last have changed.
    private var known: [(bytes: [UInt8], block: RequestBlock)] = []
    private var next = 0
    /// Methods that a client calls in turn; a search through more would cost what decoding does.
    private static let limit = 8
    private static let maxBytes = 64

    init(maxListBytes: Int) {
        self.decoder = HPACKDecoder(
            allocator: ByteBufferAllocator(), maxDynamicTableSize: HPACKDecoder.maxDynamicTableSize,
            maxHeaderListSize: maxListBytes)
    }

    mutating func decode(_ bytes: ByteBuffer) throws(HTTP2Fault) -> RequestBlock {
        let isPlain = bytes.withUnsafeReadableBytes { HeaderDecoder.isPlain($0) }
        if isPlain {
            for (known, block) in self.known where known.count == bytes.readableBytes {
                let isSame = bytes.withUnsafeReadableBytes { $0.elementsEqual(known) }
                if isSame { return block }
            }
        } else {
            self.known.removeAll(keepingCapacity: true)
            self.next = 0
        }
        var rest = bytes
        let block: RequestBlock
        do {
            block = RequestBlock(try self.decoder.decodeHeaders(from: &rest))
        } catch is NIOHPACKErrors.MaxHeaderListSizeViolation {
            throw .flood("a header list over the limit")
        } catch {
            throw HTTP2Fault(code: .compressionError, what: "a header block that is no HPACK: \(error)")
        }
        if isPlain { self.remember(Array(bytes.readableBytesView), block) }
        return block
    }

    private mutating func remember(_ bytes: [UInt8], _ block: RequestBlock) {
        if self.known.count < HeaderDecoder.limit {
            self.known.append((bytes, block))
        } else {
            self.known[self.next] = (bytes, block)
            self.next = (self.next + 1) % HeaderDecoder.limit
        }
    }

    /// Whether it is indexes of one byte and nothing else (RFC 7541, 6.1): they change no table.
    private static func isPlain(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count <= self.maxBytes && bytes.allSatisfy { $0 > 0x80 && $0 < 0xff }
    }
}
