package import NIOCore
package import Primitives
import Synchronization

/// A unary call whose handler returned before the answer was known.
///
/// Answer it once, from any thread; the first answer wins. Dropping it unanswered answers INTERNAL.
/// The deadline is kept by the server: when it passes the client hears DEADLINE_EXCEEDED and a later answer is dropped.
package final class GRPCDeferredReply: Sendable {
    /// The request message; the pointer the handler was given stays valid as long as this buffer is held. Empty if it was not
    /// to be kept.
    package let message: ByteBuffer
    private let call: ServerCall
    private let answered = Atomic<Bool>(false)

    init(call: ServerCall, message: ByteBuffer) {
        self.call = call
        self.message = message
    }

    package var method: String { self.call.method.path }
    package var metadata: GRPCMetadata { self.call.metadata }
    package var deadline: NIODeadline? { self.call.deadline }
    package var peer: GRPCPeer { self.call.connection.peer }
    package var eventLoop: any EventLoop { self.call.eventLoop }
    /// The client reset the call, its connection went, or its deadline passed: nobody will read an answer.
    package var isCancelled: Bool { self.call.isCancelled }

    /// Runs once, on the event loop, when the call is cancelled; at once when it already is. Never after an answer.
    package func onCancel(_ callback: @escaping @Sendable () -> Void) { self.call.onCancel(callback) }

    /// - Parameter capacity: Bytes of message expected; the buffer grows when that was too few.
    /// - Returns: Whether this was the first answer.
    @discardableResult
    package func reply(capacity: Int = 256, trailers: GRPCMetadata? = nil, _ write: (inout ByteBuffer) -> Void) -> Bool {
        guard self.claim() else { return false }
        var buffer = MessageFraming.openFrame(capacity: capacity, allocator: self.call.allocator)
        write(&buffer)
        self.call.answer(.message(buffer, trailers: trailers))
        return true
    }

    @discardableResult
    package func reply(_ message: [UInt8], trailers: GRPCMetadata? = nil) -> Bool {
        self.reply(capacity: message.count, trailers: trailers) { $0.writeBytes(message) }
    }

    @discardableResult
    package func fail(_ error: VecraftError) -> Bool {
        guard self.claim() else { return false }
        self.call.answer(.failure(error))
        return true
    }

    private func claim() -> Bool { !self.answered.exchange(true, ordering: .acquiringAndReleasing) }

    deinit {
        if self.claim() { self.call.answer(.failure(VecraftError(.internalError, "the call was dropped unanswered"))) }
    }
}
