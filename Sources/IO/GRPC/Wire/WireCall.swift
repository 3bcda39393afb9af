import NIOCore
import NIOHTTP2
import Primitives
import Synchronization

/// What both ends of a call share: the stream it runs on, its inbox and outbox, its cancellation.
///
/// `@unchecked Sendable`: it is passed between threads, but everything marked "loop" is touched on the event loop only;
/// the rest is immutable, atomic or behind the mutex.
class WireCall: HTTP2Stream, @unchecked Sendable {
    final let eventLoop: any EventLoop
    final let allocator: ByteBufferAllocator
    /// Room to give back to the peer is saved up to this.
    private let creditStep: Int

    // Loop.
    final var wire: CallWire?
    final var assembler: MessageAssembler
    final var inbox: MessageInbox?
    final var outbox: MessageOutbox?
    /// Bytes of the message being assembled whose room was given back already.
    private var creditedPartial = 0
    /// Room to give back: taken messages, or unary bytes.
    private var owed = 0

    // Any thread.
    /// Bytes the reader took: room to give back, and what they held of the budget.
    private let consumedRoom = Atomic<Int>(0)
    private let consumedBytes = Atomic<Int>(0)
    private let cancelled = Atomic<Bool>(false)
    private let settled = Atomic<Bool>(false)
    private let cancellation = Mutex(Cancellation())

    private struct Cancellation {
        var callbacks: [@Sendable () -> Void] = []
        var isOver = false
    }

    init(
        eventLoop: any EventLoop, allocator: ByteBufferAllocator, id: HTTP2StreamID, maxMessageBytes: Int,
        windowBytes: Int
    ) {
        self.eventLoop = eventLoop
        self.allocator = allocator
        self.assembler = MessageAssembler(limit: maxMessageBytes)
        self.creditStep = windowBytes / 2
        super.init(id: id)
    }

    /// Writes the end of our half of the stream, after the last message.
    func writeEnd() {}
    /// Writes what must come before the first message.
    func writeBeginning() {}
    /// Bytes of messages that this call holds more, or fewer, than before.
    func holds(moreBytes: Int) {}

    // MARK: Cancellation

    final var isCancelled: Bool { self.cancelled.load(ordering: .relaxed) }
    final var isSettled: Bool { self.settled.load(ordering: .relaxed) }

    final func onCancel(_ callback: @escaping @Sendable () -> Void) {
        let runNow = self.cancellation.withLock { state in
            if state.isOver { return self.isCancelled }
            state.callbacks.append(callback)
            return false
        }
        if runNow { callback() }
    }

    /// Loop. The call is over: callbacks run when it was cancelled and are dropped when it was answered.
    final func settle(cancelled: Bool) {
        if cancelled { self.cancelled.store(true, ordering: .relaxed) }
        self.settled.store(true, ordering: .relaxed)
        let callbacks = self.cancellation.withLock { state -> [@Sendable () -> Void] in
            guard !state.isOver else { return [] }
            state.isOver = true
            defer { state.callbacks = [] }
            return state.callbacks
        }
        if cancelled { for callback in callbacks { callback() } }
    }

    // MARK: Inbound flow control

    /// Any thread. The reader took a message.
    /// - Parameter urgent: The peer may be waiting for room to finish a message larger than the window.
    final func consumed(_ message: FramedMessage, urgent: Bool) {
        self.consumedRoom.add(message.room, ordering: .relaxed)
        let bytes = self.consumedBytes.add(message.wireBytes, ordering: .relaxed).newValue
        // The loop's account may be behind by this much per call.
        guard urgent || bytes >= 64 << 10 else { return }
        self.onLoop { self.creditConsumed() }
    }

    private func creditConsumed() {
        self.credit(0)
        self.creditPartial()
    }

    /// Loop. Gives room back, in steps.
    final func credit(_ bytes: Int, now: Bool = false) {
        self.owed += bytes + self.consumedRoom.exchange(0, ordering: .relaxed)
        let consumed = self.consumedBytes.exchange(0, ordering: .relaxed)
        if consumed > 0 { self.holds(moreBytes: -consumed) }
        guard let wire = self.wire, !self.isRemoteEnded, self.owed > 0 else { return }
        guard now || self.owed >= self.creditStep else { return }
        wire.writeWindowUpdate(self.owed, on: self)
        self.owed = 0
    }

    /// Loop. The bytes of a message that is not whole and first in line take no room: it must be able to arrive.
    private func creditPartial() {
        let partial = self.assembler.partialBytes
        guard partial > self.creditedPartial, self.inbox?.holdsPartial(true) == true else { return }
        let bytes = partial - self.creditedPartial
        self.creditedPartial = partial
        self.credit(bytes)
    }

    /// Loop. Cuts what arrived into messages for the inbox.
    final func deliver(_ data: ByteBuffer, windowBytes: Int) throws(VecraftError) {
        guard let inbox = self.inbox else { return self.credit(windowBytes) }
        // Padding is room nobody will take as a message.
        self.credit(windowBytes - data.readableBytes)
        self.holds(moreBytes: data.readableBytes)
        self.assembler.append(data)
        while var message = try self.assembler.next() {
            message.room -= self.creditedPartial
            self.creditedPartial = 0
            inbox.push(message)
        }
        if self.assembler.partialBytes > 0 { self.creditPartial() } else { _ = inbox.holdsPartial(false) }
    }

    // MARK: Outbound

    /// Any thread. A turn of the pump on the loop.
    final func pumpSoon() {
        // Always a turn later, even from the loop: the messages of one turn share a DATA frame.
        self.eventLoop.execute { self.pump() }
    }

    /// Loop.
    private func pump() {
        guard let outbox = self.outbox, let wire = self.wire else { return }
        switch outbox.turn() {
        case .idle: break
        case .finish:
            self.writeBeginning()
            self.writeEnd()
        case .batch(let bytes, let isLast):
            self.writeBeginning()
            let sent = self.eventLoop.makePromise(of: Void.self)
            sent.futureResult.assumeIsolated().whenComplete { _ in self.batchSent() }
            wire.writeData(bytes, endStream: false, on: self, promise: sent)
            if isLast { self.writeEnd() }
        }
    }

    private func batchSent() {
        guard let outbox = self.outbox else { return }
        switch outbox.batchSent() {
        case .idle: break
        case .finish: self.writeEnd()
        case .pumpLater:
            // Not `execute`: NIO runs what is executed in the same turn without polling its sockets in between, and a
            // client's reset would wait until the stream is through.
            self.eventLoop.assumeIsolated().scheduleTask(in: .microseconds(10)) { self.pump() }
        }
    }

    final func onLoop(_ body: @escaping @Sendable () -> Void) {
        if self.eventLoop.inEventLoop { body() } else { self.eventLoop.execute(body) }
    }
}
