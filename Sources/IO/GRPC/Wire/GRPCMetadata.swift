import NIOHPACK
import Primitives

/// What travels beside the messages of a call: HTTP/2 header fields, both ways.
///
/// Names are lower case (`[0-9a-z_.-]`). A name that ends in `-bin` carries bytes, base64 on the wire; every other value is
/// printable ASCII. Source: gRPC over HTTP/2 ("Custom-Metadata").
package struct GRPCMetadata: Sendable, ExpressibleByDictionaryLiteral, CustomStringConvertible {
    var fields: HPACKHeaders

    package init() { self.fields = HPACKHeaders() }

    init(_ fields: HPACKHeaders) { self.fields = fields }

    package init(dictionaryLiteral elements: (String, String)...) {
        self.init()
        for (name, value) in elements { self.add(name, value) }
    }

    package var isEmpty: Bool { self.fields.isEmpty }

    /// The first value of a name, as it stood on the wire. `name` must be lower case.
    package subscript(_ name: String) -> String? {
        for (other, value, _) in self.fields where other == name { return value }
        return nil
    }

    /// Every value of a name, in order.
    package func values(_ name: String) -> [String] {
        var found: [String] = []
        for (other, value, _) in self.fields where other == name { found.append(value) }
        return found
    }

    /// The bytes of the first value of a `-bin` name; nil when it is absent or not base64.
    package func binary(_ name: String) -> [UInt8]? {
        guard let text = self[name] else { return nil }
        // Several values may have been joined by commas, which base64 never holds.
        return Base64.decode(text.utf8.prefix { $0 != UInt8(ascii: ",") })
    }

    /// Adds a text value. Bytes outside printable ASCII become `?`: a header can carry nothing else, and a value often
    /// echoes what a client sent. `name` is ours, so a bad one is our bug.
    package mutating func add(_ name: String, _ value: String) {
        precondition(GRPCMetadata.isName(name) && !name.hasSuffix("-bin"), "metadata name \(name)")
        self.fields.add(name: name, value: GRPCMetadata.printable(value))
    }

    /// Adds bytes under a name that ends in `-bin`.
    package mutating func add(_ name: String, binary bytes: [UInt8]) {
        precondition(GRPCMetadata.isName(name) && name.hasSuffix("-bin"), "metadata name \(name)")
        self.fields.add(name: name, value: Base64.encode(bytes))
    }

    /// The application's own names and values: no pseudo-header, nothing of gRPC's or HTTP's.
    package var custom: [(name: String, value: String)] {
        self.fields.compactMap { GRPCMetadata.isReserved($0.name) ? nil : ($0.name, $0.value) }
    }

    package var description: String {
        // Values may hold credentials; names do not.
        "[" + self.fields.map(\.name).joined(separator: ", ") + "]"
    }

    package static func isReserved(_ name: String) -> Bool {
        name.hasPrefix(":") || name.hasPrefix("grpc-") || name == "content-type" || name == "te" || name == "user-agent"
    }

    package static func isName(_ name: String) -> Bool {
        !name.isEmpty
            && name.utf8.allSatisfy { byte in
                switch byte {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"): true
                case UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "-"): true
                default: false
                }
            }
    }

    private static func printable(_ value: String) -> String {
        if value.utf8.allSatisfy({ $0 >= 0x20 && $0 <= 0x7e }) { return value }
        return String(decoding: value.utf8.map { $0 >= 0x20 && $0 <= 0x7e ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }

    /// What the fields take of a header block, in bytes: at least what they take in HPACK's Huffman code (RFC 7541, B).
    private var wireBytes: Int {
        var bytes = 0
        for (name, value, _) in self.fields {
            // Two lengths and the kind of the field.
            bytes += name.utf8.count + 5
            for byte in value.utf8 { bytes += GRPCMetadata.codeBytes(byte) }
        }
        return bytes
    }

    /// Letters, digits and common marks have codes of up to 8 bits, others of up to 15, the backslash of 19.
    private static func codeBytes(_ byte: UInt8) -> Int {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): 1
        case UInt8(ascii: "*")...UInt8(ascii: ";") where byte != UInt8(ascii: "+"): 1
        case UInt8(ascii: " "), UInt8(ascii: "%"), UInt8(ascii: "&"), UInt8(ascii: "="), UInt8(ascii: "_"): 1
        case UInt8(ascii: "\\"): 3
        default: 2
        }
    }

    /// Bytes that the fields of one header block may take. NIOHTTP2 writes a block as one frame, a peer need not take frames
    /// over 16 KiB, and a block that does not fit costs the connection; the other half is for the fields that gRPC adds.
    static let maxWireBytes = 8 << 10

    /// RESOURCE_EXHAUSTED when the fields, and `more` bytes beside them, are over the limit; nil when they are not.
    func oversize(_ what: String, more: Int = 0) -> VecraftError? {
        guard !self.isEmpty || more > 0 else { return nil }
        let bytes = self.wireBytes + more
        guard bytes > GRPCMetadata.maxWireBytes else { return nil }
        return VecraftError(
            .resourceExhausted, "\(what) of \(bytes) bytes; at most \(GRPCMetadata.maxWireBytes) are allowed",
            reason: "METADATA_TOO_LARGE")
    }

    /// Appends the application's fields; those gRPC owns are left out.
    func append(to block: inout HPACKHeaders) {
        for (name, value, indexing) in self.fields where !GRPCMetadata.isReserved(name) {
            block.add(name: name, value: value, indexing: indexing)
        }
    }
}
