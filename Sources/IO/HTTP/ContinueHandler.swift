import HTTPTypes
import NIOCore
import NIOHTTPTypes

/// Answers `Expect: 100-continue` (RFC 9110, section 10.1.1): without it curl holds back a large body for a second.
///
/// Says nothing where the final answer is due first: to a body that is declared too large, which is refused unread, and
/// while an earlier request of the connection is still being answered.
final class ContinueHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let maximumBodyBytes: Int
    /// Requests begun and not yet answered.
    private var pending = 0

    init(maximumBodyBytes: Int) { self.maximumBodyBytes = maximumBodyBytes }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head(let head) = self.unwrapInboundIn(data) {
            let declared = head.headerFields[.contentLength].flatMap { Int($0) } ?? 0
            if self.pending == 0, declared <= self.maximumBodyBytes,
                head.headerFields[.expect]?.lowercased() == "100-continue"
            {
                context.writeAndFlush(self.wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
            }
            self.pending += 1
        }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        if case .end = self.unwrapOutboundIn(data) { self.pending -= 1 }
        context.write(data, promise: promise)
    }
}
