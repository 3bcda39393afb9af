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
/// From its second call of a method on, a client mostly sends the same bytes again: indexes into the table that both ends keep,
/// and perhaps literals that do not enter it. As long as no block changes the table, such bytes mean what they meant before: they
/// are looked up and not decoded.
struct HeaderDecoder {
    private var decoder: HPACKDecoder
    /// Blocks that change no table, seen since the table may last have changed.
    private var known: [(bytes: [UInt8], block: RequestBlock)] = []
    private var next = 0
    /// Methods that a client calls in turn; a search through more would cost what decoding does.
    private static let limit = 8
    private static let maxBytes = 256

    init(maxListBytes: Int) {
        self.decoder = HPACKDecoder(
            allocator: ByteBufferAllocator(), maxDynamicTableSize: HPACKDecoder.maxDynamicTableSize,
            maxHeaderListSize: maxListBytes)
    }

    mutating func decode(_ bytes: ByteBuffer) throws(HTTP2Fault) -> RequestBlock {
        if let block = bytes.withUnsafeReadableBytes({ self.find($0) }) { return block }
        let isLasting = bytes.withUnsafeReadableBytes { HeaderDecoder.changesNoTable($0) }
        if !isLasting {
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
        if isLasting, bytes.readableBytes <= HeaderDecoder.maxBytes { self.remember(Array(bytes.readableBytesView), block) }
        return block
    }

    private func find(_ bytes: UnsafeRawBufferPointer) -> RequestBlock? {
        for (known, block) in self.known where known.count == bytes.count {
            if known.withUnsafeBytes({ $0.elementsEqual(bytes) }) { return block }
        }
        return nil
    }

    private mutating func remember(_ bytes: [UInt8], _ block: RequestBlock) {
        if self.known.count < HeaderDecoder.limit {
            self.known.append((bytes, block))
        } else {
            self.known[self.next] = (bytes, block)
            self.next = (self.next + 1) % HeaderDecoder.limit
        }
    }

    /// Whether a block is made of indexed fields and of literals that stay out of the table, and of nothing else (RFC 7541, 6).
    /// Literals that are never to be indexed are secrets: not kept either.
    static func changesNoTable(_ bytes: UnsafeRawBufferPointer) -> Bool {
        var at = 0
        /// Skips an integer whose first byte has a prefix of so many bits; nil at the end of the bytes, or for an absurd one.
        func integer(prefix: UInt8) -> Int? {
            guard at < bytes.count else { return nil }
            let mask = UInt8(1) << prefix - 1
            let first = bytes[at] & mask
            at += 1
            guard first == mask else { return Int(first) }
            var value = Int(first)
            for shift in stride(from: 0, through: 21, by: 7) {
                guard at < bytes.count else { return nil }
                let byte = bytes[at]
                at += 1
                value += Int(byte & 0x7f) << shift
                if byte < 0x80 { return value }
            }
            return nil
        }
        func skipText() -> Bool {
            guard let length = integer(prefix: 7), length <= bytes.count - at else { return false }
            at += length
            return true
        }
        while at < bytes.count {
            switch bytes[at] {
            case 0x80...: guard integer(prefix: 7) != nil else { return false }
            case 0x00...0x0f:
                guard let name = integer(prefix: 4), name != 0 || skipText(), skipText() else { return false }
            default: return false
            }
        }
        return true
    }
}
