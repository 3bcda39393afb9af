internal import GRPC
internal import HLC
internal import JournalFormat
internal import NIOCore
package import Observability
package import Primitives

/// Who asks, from where, and how long they will wait: what every request carries beside its message.
package struct RequestContext: Sendable {
    /// Monotonic nanoseconds at arrival.
    package var arrived: UInt64
    /// Nil when the caller sent no trace; writes then start one.
    package var trace: TraceContext?
    /// Where spans are recorded and this request's is: what it will say. ``trace`` is its place.
    package var span: RequestSpan?
    /// The caller's `x-request-id`; "" when it sent none.
    package var requestID: String
    package var idempotencyKey: String
    package var principal: String
    /// Hash of the client id, else of the peer's address without its port: whom read-your-writes remembers.
    package var caller: UInt64
    package var session: SessionToken
    /// Monotonic nanoseconds.
    package var deadline: UInt64
    /// Bytes of the request's message, for the bound on writes in progress.
    package var requestBytes = 0
    /// Answers go out as JSON.
    package var answersText = false
    /// Most bytes of one page of points.
    package var pageBytes = Limits.scrollPageBytes
    /// The node itself asks (``Canary``): counted apart, so that it does not mix with what callers see.
    var isOwn = false
    /// Of an answer that is put together from several nodes' parts, this node's.
    var isPart = false
    /// Some shards alone are meant: another node asks.
    var scope: ShardScope?

    /// Of another node's question.
    ///
    /// - Parameter requestID: Of the client's request, for lines of the log.
    init(deadline: UInt64, arrived: UInt64, scope: ShardScope, trace: TraceContext?, requestID: String) {
        self.arrived = arrived
        self.deadline = deadline
        self.trace = trace
        self.requestID = requestID
        self.idempotencyKey = ""
        self.principal = ""
        self.caller = 0
        self.session = SessionToken()
        self.scope = scope
    }

    /// Reads metadata or headers by lower-case name.
    init(
        deadline: UInt64, arrived: UInt64, peer: String, _ header: (String) -> String?
    ) throws(VecraftError) {
        self.arrived = arrived
        self.deadline = deadline
        self.trace = header("traceparent").flatMap { TraceContext(traceparent: $0) }
        self.requestID = header("x-request-id") ?? ""
        guard self.requestID.utf8.count <= Limits.requestIDBytes, self.requestID.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw .invalid("x-request-id", "1 to \(Limits.requestIDBytes) printable ASCII characters without spaces")
        }
        self.idempotencyKey = header("idempotency-key") ?? ""
        self.principal = "anonymous"
        if let client = header("x-vecraft-client-id"), !client.isEmpty {
            self.caller = StableHash.of(client, seed: 1)
        } else {
            // Ports change with each connection of one client, so they do not count.
            self.caller = StableHash.of(String(peer[..<(peer.lastIndex(of: ":") ?? peer.endIndex)]), seed: 2)
        }
        if let text = header("x-vecraft-session"), !text.isEmpty {
            guard let bytes = Base64Text.decode(text) else {
                throw .invalid("x-vecraft-session", "not base64")
            }
            self.session = try bytes.withUnsafeBufferPointer { (buffer) throws(VecraftError) in
                try SessionToken(UnsafeRawBufferPointer(buffer))
            }
        } else {
            self.session = SessionToken()
        }
    }
}

/// What another node wants of some shards.
struct ShardScope: Sendable {
    var collection: UInt64
    var shards: [UInt32]
    var needed: JournalOffset
    /// Where they are staler, what is committed now must be applied first.
    var maxStalenessMilliseconds: UInt64?
}

extension RequestContext {
    /// When to say that the replica is behind: before the deadline, at which the wire itself ends the call and the client
    /// hears nothing more. A tenth of its time, at most 100 ms.
    var lagDeadline: UInt64 {
        let whole = self.deadline - min(self.arrived, self.deadline)
        return self.deadline - min(whole / 10, 100_000_000)
    }

    var wireDeadline: NIODeadline { .uptimeNanoseconds(self.deadline) }

    func checkDeadline() throws(VecraftError) {
        guard SystemTime.monotonicNanoseconds < self.deadline else {
            throw VecraftError(.deadlineExceeded, "the deadline passed on the server", reason: "DEADLINE")
        }
    }
}

/// Standard and URL-safe base64, with or without padding, for tokens in headers.
enum Base64Text {
    static func decode(_ text: some StringProtocol) -> [UInt8]? {
        var bits: UInt32 = 0
        var count = 0
        var output: [UInt8] = []
        for byte in text.utf8 {
            let value: UInt8
            switch byte {
            case UInt8(ascii: "A")...UInt8(ascii: "Z"): value = byte - 65
            case UInt8(ascii: "a")...UInt8(ascii: "z"): value = byte - 71
            case UInt8(ascii: "0")...UInt8(ascii: "9"): value = byte + 4
            case UInt8(ascii: "+"), UInt8(ascii: "-"): value = 62
            case UInt8(ascii: "/"), UInt8(ascii: "_"): value = 63
            case UInt8(ascii: "="): continue
            default: return nil
            }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                output.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return output
    }

    static func encode(_ bytes: [UInt8]) -> String {
        let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
        var output: [UInt8] = []
        output.reserveCapacity((bytes.count + 2) / 3 * 4)
        var i = 0
        while i < bytes.count {
            let b0 = bytes[i]
            let b1 = i + 1 < bytes.count ? bytes[i + 1] : 0
            let b2 = i + 2 < bytes.count ? bytes[i + 2] : 0
            output.append(alphabet[Int(b0 >> 2)])
            output.append(alphabet[Int((b0 & 3) << 4 | b1 >> 4)])
            output.append(i + 1 < bytes.count ? alphabet[Int((b1 & 15) << 2 | b2 >> 6)] : UInt8(ascii: "="))
            output.append(i + 2 < bytes.count ? alphabet[Int(b2 & 63)] : UInt8(ascii: "="))
            i += 3
        }
        return String(decoding: output, as: UTF8.self)
    }
}
