import NIOCore
import NIOHPACK

/// A header block to be sent: nearly all are one of two that never vary.
enum HeaderBlock {
    /// ":status: 200", "content-type: application/grpc"
    case head
    /// "grpc-status: 0"
    case ok
    case fields(HPACKHeaders)
}

/// Writes the header blocks of replies (HPACK, RFC 7541).
///
/// Only two fields ever enter the peer's dynamic table, those of the replies that never vary: they cost a byte each from then on,
/// their places are known without a search, and what varies does not push them out. Other fields are written as they are,
/// without Huffman's code.
struct HeaderEncoder {
    /// Of the table's entries, oldest first.
    private enum Entry { case contentType, statusOK }
    private var table: [Entry] = []
    private var usesTable = true
    /// The peer's table became too small, and must hear that we use none of it.
    private var mustShrink = false

    /// RFC 7541, 6.5.2: what a table may take as long as nobody says otherwise.
    private static let defaultTableBytes = 4_096
    private static let firstDynamicIndex: UInt8 = 62
    private static let status200: UInt8 = 0x88
    /// Literals that enter the table, and the same that do not; the static table has the names `content-type` (31) and `:status` (8).
    private static let contentType = [0x5f, 16] + Array("application/grpc".utf8)
    private static let contentTypeUnindexed = [0x0f, 0x10, 16] + Array("application/grpc".utf8)
    private static let statusOK = [0x40, 11] + Array("grpc-status".utf8) + [1, UInt8(ascii: "0")]
    private static let statusOKUnindexed = [0x00, 11] + Array("grpc-status".utf8) + [1, UInt8(ascii: "0")]

    /// The peer says how large its table may be. A larger one is not made use of.
    mutating func limitTable(bytes: Int) {
        guard bytes < HeaderEncoder.defaultTableBytes, self.usesTable else { return }
        self.usesTable = false
        self.mustShrink = true
    }

    mutating func write(_ block: HeaderBlock, into out: inout ByteBuffer) {
        if self.mustShrink {
            self.mustShrink = false
            out.writeInteger(0x20 as UInt8)  // RFC 7541, 6.3: a table of size 0
        }
        switch block {
        case .head:
            out.writeInteger(HeaderEncoder.status200)
            self.write(.contentType, HeaderEncoder.contentType, HeaderEncoder.contentTypeUnindexed, into: &out)
        case .ok:
            self.write(.statusOK, HeaderEncoder.statusOK, HeaderEncoder.statusOKUnindexed, into: &out)
        case .fields(let fields):
            for (name, value, indexing) in fields {
                self.write(name, value, isSecret: indexing == .neverIndexed, into: &out)
            }
        }
    }

    private mutating func write(_ entry: Entry, _ literal: [UInt8], _ unindexed: [UInt8], into out: inout ByteBuffer) {
        guard self.usesTable else {
            out.writeBytes(unindexed)
            return
        }
        guard let place = self.table.firstIndex(of: entry) else {
            self.table.append(entry)
            out.writeBytes(literal)
            return
        }
        // The newest has the lowest index.
        out.writeInteger(0x80 | HeaderEncoder.firstDynamicIndex + UInt8(self.table.count - 1 - place))
    }

    private func write(_ name: String, _ value: String, isSecret: Bool, into out: inout ByteBuffer) {
        if name == ":status" {
            if value == "200" {
                out.writeInteger(HeaderEncoder.status200)
            } else {
                out.writeInteger(0x08 as UInt8)
                self.write(value, into: &out)
            }
            return
        }
        out.writeInteger(isSecret ? 0x10 : 0 as UInt8)
        self.write(name, into: &out)
        self.write(value, into: &out)
    }

    /// RFC 7541, 5.1 and 5.2: a length with a prefix of seven bits, and the text.
    private func write(_ text: String, into out: inout ByteBuffer) {
        var length = text.utf8.count
        if length < 127 {
            out.writeInteger(UInt8(length))
        } else {
            out.writeInteger(127 as UInt8)
            length -= 127
            while length >= 128 {
                out.writeInteger(UInt8(length & 127) | 128)
                length >>= 7
            }
            out.writeInteger(UInt8(length))
        }
        out.writeString(text)
    }
}
