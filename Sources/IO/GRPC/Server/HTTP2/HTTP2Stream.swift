import NIOCore
import NIOHTTP2

/// What HTTP/2 keeps of a stream. Calls inherit it, so that a call is one object. Confined to its event loop.
class HTTP2Stream {
    final var id: HTTP2StreamID
    /// The peer has sent its last frame of this stream.
    final var isRemoteEnded = false

    // The server's end keeps windows and queue itself; at the client's NIOHTTP2Handler does.

    /// What the peer lets us send; negative when it has shrunk its window.
    final var sendWindow = 0
    /// What we let the peer send.
    final var receiveWindow = 0
    /// What waits for room in a window or in the socket, in order.
    final var unsent: [Unsent] = []
    /// Among those that may send when there is room on the connection.
    final var isWaiting = false

    enum Unsent {
        case data(ByteBuffer, EventLoopPromise<Void>?)
        /// The end of the stream too.
        case lastData(ByteBuffer, EventLoopPromise<Void>?)
        case headers(HeaderBlock, endStream: Bool)

        var promise: EventLoopPromise<Void>? {
            switch self {
            case .data(_, let promise), .lastData(_, let promise): promise
            case .headers: nil
            }
        }
    }

    init(id: HTTP2StreamID) { self.id = id }
}
