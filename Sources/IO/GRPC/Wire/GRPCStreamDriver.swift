package import NIOCore
package import Primitives

/// Drives a streaming call on its event loop, without a task: is handed each message as it arrives, and asked for the next one
/// when the connection has taken the one before. So what collects while a write is under way can leave as one message.
///
/// Every call comes on the call's event loop and must not block.
package protocol GRPCStreamDriver: AnyObject, Sendable {
    /// One message; the peer has its room back when this returns.
    func received(_ message: ByteBuffer)
    /// Appends the next message to the empty `message`, if there is one.
    ///
    /// Asked after `wake()`, and again after each message that had `hasMore`.
    func nextMessage(into message: inout ByteBuffer) -> GRPCNextMessage
    /// Nothing more will arrive; the last call of all. Nil: the peer has sent its last message, or status OK.
    func ended(_ error: VecraftError?)
}

package enum GRPCNextMessage: Sendable {
    case none
    case message(hasMore: Bool)
}

extension GRPCStreamCall {
    /// Hands the call to a driver for the rest of its life, from any thread: `requests` and `send` must not be used any more.
    /// The function must not return before the driver has heard the end, or has had enough.
    package func attach(_ driver: any GRPCStreamDriver) {
        self.call.onLoop {
            self.outbox.attach(driver)
            self.inbox.attach(driver)
        }
    }

    /// Any thread: the driver has something to send. Calls close together cost one turn.
    package func wake() { self.outbox.wake() }
}

extension GRPCClientCall {
    /// Any thread: the driver has something to send. Calls close together cost one turn.
    package func wake() { self.outbox.wake() }
    /// Where the driver is called.
    package var eventLoop: any EventLoop { self.call.eventLoop }
}
