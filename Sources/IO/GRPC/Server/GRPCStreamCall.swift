package import NIOCore
package import Primitives

/// One streaming call, in the hands of its async function. The status is sent when the function returns or throws.
package final class GRPCStreamCall: Sendable {
    let call: ServerCall
    let inbox: MessageInbox
    let outbox: MessageOutbox

    init(call: ServerCall, inbox: MessageInbox, outbox: MessageOutbox) {
        self.call = call
        self.inbox = inbox
        self.outbox = outbox
    }

    package var method: String { self.call.method.path }
    package var metadata: GRPCMetadata { self.call.metadata }
    package var deadline: NIODeadline? { self.call.deadline }
    package var peer: GRPCPeer { self.call.connection.peer }
    package var eventLoop: any EventLoop { self.call.eventLoop }
    /// The client reset the call, its connection went, or its deadline passed. The function's task is cancelled too.
    package var isCancelled: Bool { self.call.isCancelled }
    package func onCancel(_ callback: @escaping @Sendable () -> Void) { self.call.onCancel(callback) }

    /// The client's messages. Ends when it has sent its last; throws CANCELLED or DEADLINE_EXCEEDED when the call is over.
    /// Messages not yet taken hold back the client: at most a window's worth waits here. For one reader.
    package var requests: GRPCMessages { GRPCMessages(inbox: self.inbox, call: self) }

    /// The only message of a call that has one.
    package func request() async throws(VecraftError) -> ByteBuffer {
        guard let message = try await self.inbox.next() else {
            throw VecraftError(.internalError, "the call ended without a request message")
        }
        return message
    }

    /// Sends one message. Suspends while more than `unsentBytes` of this call wait for the client to read.
    package func send(_ message: ByteBuffer) async throws(VecraftError) {
        try await self.outbox.send(message.readableBytesView)
    }

    package func send(_ message: [UInt8]) async throws(VecraftError) { try await self.outbox.send(message) }

    /// Sends the header block now, when the first message may be long in coming.
    package func sendInitialMetadata(_ metadata: GRPCMetadata = [:]) { self.call.sendInitialMetadata(metadata) }
    /// Joins the header block sent with the first message; too late after that.
    package func addInitialMetadata(_ name: String, _ value: String) { self.call.addShared(initial: (name, value)) }
    package func addTrailer(_ name: String, _ value: String) { self.call.addShared(trailer: (name, value)) }
}

/// Messages of a call as they arrive, for one reader.
package struct GRPCMessages: AsyncSequence, Sendable {
    package typealias Element = ByteBuffer
    package typealias Failure = VecraftError
    let inbox: MessageInbox
    /// Kept alive: a call nobody holds is cancelled.
    let call: any AnyObject & Sendable

    package struct AsyncIterator: AsyncIteratorProtocol {
        let inbox: MessageInbox
        let call: any AnyObject & Sendable
        package mutating func next() async throws(VecraftError) -> ByteBuffer? { try await self.inbox.next() }
        package mutating func next(
            isolation actor: isolated (any Actor)?
        ) async throws(VecraftError) -> ByteBuffer? {
            try await self.inbox.next()
        }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(inbox: self.inbox, call: self.call) }
}
