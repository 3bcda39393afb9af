package import NIOCore
package import Primitives

/// Stops a call; the server hears RST_STREAM. Nothing happens when the call is over.
package struct GRPCCancellation: Sendable {
    let call: ClientCall
    package func cancel() { self.call.cancel() }
}

/// A streaming call on the client. Dropping it unfinished cancels it.
package final class GRPCClientCall: Sendable {
    let call: ClientCall
    let inbox: MessageInbox
    let outbox: MessageOutbox

    init(call: ClientCall, inbox: MessageInbox, outbox: MessageOutbox) {
        self.call = call
        self.inbox = inbox
        self.outbox = outbox
    }

    deinit { self.call.cancel() }

    /// Sends one message; suspends while more than `unsentBytes` of this call wait for the server to read.
    package func send(_ message: ByteBuffer) async throws(VecraftError) {
        try await self.outbox.send(message.readableBytesView)
    }
    package func send(_ message: [UInt8]) async throws(VecraftError) { try await self.outbox.send(message) }

    /// No more requests. The replies may go on.
    package func finishSending() { self.outbox.finish() }

    /// The server's messages: ends on status OK, throws any other. Messages not yet taken hold back the server. For one reader.
    package var replies: GRPCMessages { GRPCMessages(inbox: self.inbox, call: self) }

    /// Ends the requests and returns the only reply.
    package func finish() async throws(VecraftError) -> ByteBuffer {
        self.finishSending()
        guard let reply = try await self.inbox.next() else {
            throw VecraftError(.internalError, "the call ended without a reply message")
        }
        // The status decides: a reply followed by a failure is a failure.
        guard try await self.inbox.next() == nil else {
            throw VecraftError(.internalError, "more than one reply message")
        }
        return reply
    }

    /// The server's header block, once it has come.
    package var initialMetadata: GRPCMetadata? { self.call.receivedMetadata.initial }
    /// What came with the status, once it has come.
    package var trailers: GRPCMetadata? { self.call.receivedMetadata.trailers }

    package func cancel() { self.call.cancel() }
}
