package import NIOCore

/// The answer to one request.
package struct HTTPReply: Sendable {
    package var status: Int
    /// Beside those the server sets itself: content type and length, date, `x-request-id`.
    package var headers: [(name: String, value: String)]
    /// Nil without a body.
    package var contentType: String?
    package var body: ByteBuffer

    package init(
        status: Int = 200, contentType: String? = nil, body: ByteBuffer = ByteBuffer(),
        headers: [(name: String, value: String)] = []
    ) {
        self.status = status
        self.headers = headers
        self.contentType = contentType
        self.body = body
    }

    package static func json(_ bytes: some Sequence<UInt8>, status: Int = 200) -> HTTPReply {
        HTTPReply(status: status, contentType: "application/json", body: ByteBuffer(bytes: bytes))
    }

    package static func json(_ text: String, status: Int = 200) -> HTTPReply {
        HTTPReply(status: status, contentType: "application/json", body: ByteBuffer(string: text))
    }

    package static func text(_ text: String, status: Int = 200) -> HTTPReply {
        HTTPReply(status: status, contentType: "text/plain; charset=utf-8", body: ByteBuffer(string: text))
    }

    /// 204.
    package static let empty = HTTPReply(status: 204)

    package func adding(_ name: String, _ value: String) -> HTTPReply {
        var reply = self
        reply.headers.append((name, value))
        return reply
    }
}
