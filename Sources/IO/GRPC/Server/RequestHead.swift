import NIOCore
import NIOHPACK

/// What a request's header block says, read in one pass.
///
/// NIOHTTP2Handler's own validation is off (it cost a quarter of a small call), so what RFC 9113 section 8 asks of a request
/// is checked here, together with what gRPC asks.
struct RequestHead {
    enum Verdict {
        case call(RequestHead)
        /// Not a valid HTTP/2 request: the stream is reset.
        case malformed
        /// A valid request that is not gRPC: answered with this HTTP status.
        case refused(HPACKHeaders)
    }

    var path = ""
    var timeout: TimeAmount?
    /// The client's messages may be compressed.
    var sendsGzip = false
    /// The encoding named, when we do not know it.
    var unknownEncoding: String?
    var acceptsGzip = false

    private var pseudoHeaders = 0
    private var isPost = false
    private var isGRPC = false
    private var isMalformed = false

    static func read(_ headers: HPACKHeaders) -> Verdict {
        var head = RequestHead()
        var pseudoHeadersAreOver = false
        for (name, value, _) in headers {
            if name.utf8.first == UInt8(ascii: ":") {
                if pseudoHeadersAreOver || !head.take(pseudoHeader: name, value) { return .malformed }
            } else {
                pseudoHeadersAreOver = true
                head.take(name, value)
            }
        }
        // :method, :scheme and :path, once each; :authority at most once.
        guard !head.isMalformed, head.pseudoHeaders & 0b111 == 0b111 else { return .malformed }
        guard head.isPost else { return .refused(HeaderBlocks.methodNotAllowed) }
        guard head.isGRPC else { return .refused(HeaderBlocks.unsupportedMediaType) }
        return .call(head)
    }

    private mutating func take(pseudoHeader name: String, _ value: String) -> Bool {
        let bit: Int
        switch name {
        case ":path":
            self.path = value
            bit = 1
        case ":method":
            self.isPost = value == "POST"
            bit = 2
        case ":scheme": bit = 4
        case ":authority": bit = 8
        default: return false
        }
        defer { self.pseudoHeaders |= bit }
        return self.pseudoHeaders & bit == 0
    }

    // Switched on the length first: a dozen string comparisons per header were most of this function.
    private mutating func take(_ name: String, _ value: String) {
        if name.utf8.contains(where: { $0 >= UInt8(ascii: "A") && $0 <= UInt8(ascii: "Z") }) { self.isMalformed = true }
        switch name.utf8.count {
        case 0: self.isMalformed = true
        case 2: if name == "te", value != "trailers" { self.isMalformed = true }
        case 7: if name == "upgrade" { self.isMalformed = true }
        case 10: if name == "connection" || name == "keep-alive" { self.isMalformed = true }
        case 12:
            if name == "content-type" {
                self.isGRPC = RequestHead.isGRPC(value)
            } else if name == "grpc-timeout" {
                self.timeout = WireText.timeout(value)
                if self.timeout == nil { self.isMalformed = true }
            }
        case 13: if name == "grpc-encoding" { self.take(encoding: value) }
        case 16: if name == "proxy-connection" { self.isMalformed = true }
        case 17: if name == "transfer-encoding" { self.isMalformed = true }
        case 20: if name == "grpc-accept-encoding" { self.acceptsGzip = RequestHead.lists("gzip", value) }
        default: break
        }
    }

    private mutating func take(encoding: String) {
        switch encoding {
        case "identity": break
        case "gzip": self.sendsGzip = true
        default: self.unknownEncoding = encoding
        }
    }

    /// "application/grpc", alone or followed by "+proto", ";charset".
    private static func isGRPC(_ type: String) -> Bool {
        let known = "application/grpc"
        guard type.hasPrefix(known) else { return false }
        guard let next = type.utf8.dropFirst(known.utf8.count).first else { return true }
        return next == UInt8(ascii: "+") || next == UInt8(ascii: ";")
    }

    private static func lists(_ item: String, _ list: String) -> Bool {
        if list == "identity, deflate, gzip" || list == item { return true }  // what grpcio sends
        return list.split(separator: ",").contains { $0.drop(while: { $0 == " " }).prefix(while: { $0 != " " }) == item }
    }
}
