import NIOCore
import Primitives
import Synchronization

/// Messages an async function sent and the connection has not yet taken.
///
/// Filled anywhere, emptied on the event loop one batch a turn, so that other calls and resets are heard in between.
/// Bounded: past `unsentLimit` the sender is suspended (one message may exceed it, up to the message limit).
final class MessageOutbox: Sendable {
    struct Limits {
        var unsent: Int
        var batch: Int
        var message: Int
        var gzipFrom: Int?
    }

    fileprivate struct State {
        var chunks = CircularBuffer<ByteBuffer>(initialCapacity: 4)
        /// Bytes in `chunks`.
        var queued = 0
        /// Bytes of the one batch that is with the connection.
        var inFlight = 0
        var senders: [CheckedContinuation<Void, Never>] = []
        /// A turn of the pump is scheduled, or a batch in flight will bring one.
        var isPumping = false
        var isFinished = false
        var isEndTaken = false
        var failure: VecraftError?
        /// All message bytes ever accepted, prefixes included.
        var total = 0
        /// Asked for messages when nothing else waits, after it said that it has some.
        var driver: (any GRPCStreamDriver)?
        var isWoken = false
    }

    enum Turn {
        /// `isLast`: the end may be written right behind it.
        case batch(ByteBuffer, isLast: Bool)
        case finish
        case idle
    }

    enum AfterBatch {
        /// Another turn is due, but not in this turn of the loop: it must hear its sockets in between.
        case pumpLater
        case finish
        case idle
    }

    private let state = Mutex(State())
    private let call: WireCall
    private let limits: Limits

    init(call: WireCall, limits: Limits) {
        self.call = call
        self.limits = limits
    }

    var totalBytes: Int { self.state.withLock { $0.total } }

    // MARK: The sender

    func send(_ message: some Collection<UInt8> & Sendable) async throws(VecraftError) {
        var isFull = try self.enqueue(message)
        while isFull {
            if Task.isCancelled { throw VecraftError(.cancelled, "the sending task was cancelled") }
            await self.waitForRoom()
            isFull = try self.state.withLock { state throws(VecraftError) in
                if let failure = state.failure { throw failure }
                return state.queued + state.inFlight > self.limits.unsent
            }
        }
    }

    private func enqueue(_ message: some Collection<UInt8>) throws(VecraftError) -> Bool {
        let size = message.count
        guard size <= self.limits.message else { throw MessageFraming.tooLarge(size, self.limits.message) }
        if let from = self.limits.gzipFrom, size >= from {
            var packed = MessageFraming.openFrame(capacity: size / 2, allocator: ByteBufferAllocator())
            try Gzip.deflate(ByteBuffer(bytes: message), into: &packed)
            return try self.append(packed.readableBytesView, compressed: true)
        }
        return try self.append(message, compressed: false)
    }

    private func append(_ message: some Collection<UInt8>, compressed: Bool) throws(VecraftError) -> Bool {
        let size = message.count + MessageFraming.prefixBytes
        let (mustPump, isFull) = try self.state.withLock { state throws(VecraftError) -> (Bool, Bool) in
            if let failure = state.failure { throw failure }
            guard !state.isFinished else { throw VecraftError(.failedPrecondition, "send after the last message") }
            // Small messages share a chunk, and so a DATA frame.
            if let last = state.chunks.last, last.readableBytes + size <= self.limits.batch {
                self.write(message, compressed, to: &state.chunks[state.chunks.index(before: state.chunks.endIndex)])
            } else {
                var chunk = ByteBufferAllocator().buffer(capacity: max(size, 512))
                self.write(message, compressed, to: &chunk)
                state.chunks.append(chunk)
            }
            state.queued += size
            state.total += size
            let mustPump = !state.isPumping
            state.isPumping = true
            return (mustPump, state.queued + state.inFlight > self.limits.unsent)
        }
        if mustPump { self.call.pumpSoon() }
        return isFull
    }

    private func write(_ message: some Collection<UInt8>, _ compressed: Bool, to chunk: inout ByteBuffer) {
        chunk.writeInteger(compressed ? UInt8(1) : 0)
        chunk.writeInteger(UInt32(message.count))
        chunk.writeBytes(message)
    }

    private func waitForRoom() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resumeNow = self.state.withLock { state in
                    let isFull = state.queued + state.inFlight > self.limits.unsent
                    if !isFull || state.failure != nil || Task.isCancelled { return true }
                    state.senders.append(continuation)
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            // Every sender looks again: the others simply wait once more.
            for sender in self.state.withLock({ $0.takeSenders() }) { sender.resume() }
        }
    }

    /// The last message was sent: what is queued goes out, then the end.
    func finish() {
        let mustPump = self.state.withLock { state in
            guard !state.isFinished, state.failure == nil else { return false }
            state.isFinished = true
            let mustPump = !state.isPumping
            state.isPumping = true
            return mustPump
        }
        if mustPump { self.call.pumpSoon() }
    }

    // MARK: The driver

    func attach(_ driver: any GRPCStreamDriver) {
        self.state.withLock { if $0.failure == nil { $0.driver = driver } }
        self.wake()
    }

    func wake() {
        let mustPump = self.state.withLock { state in
            state.isWoken = true
            guard state.isDriverDue, !state.isPumping else { return false }
            state.isPumping = true
            return true
        }
        if mustPump { self.call.pumpSoon() }
    }

    /// Loop. Takes one message of the driver, when one is due and nothing else waits.
    private func askDriver() {
        let asked = self.state.withLock { state -> (any GRPCStreamDriver)? in
            guard state.isDriverDue, state.inFlight == 0, state.chunks.isEmpty else { return nil }
            state.isWoken = false
            return state.driver
        }
        guard let driver = asked else { return }
        var message = MessageFraming.openFrame(capacity: 512, allocator: self.call.allocator)
        guard case .message(let hasMore) = driver.nextMessage(into: &message) else { return }
        let gzip = message.readableBytes >= self.limits.gzipFrom ?? .max
        do throws(VecraftError) { try MessageFraming.seal(&message, gzip: gzip, limit: self.limits.message) } catch {
            preconditionFailure("a driver's message cannot be sent: \(error)")
        }
        self.state.withLock { state in
            guard state.failure == nil else { return }
            state.queued += message.readableBytes
            state.total += message.readableBytes
            state.chunks.append(message)
            if hasMore { state.isWoken = true }
        }
    }

    // MARK: Event loop

    /// The call is over: what is queued is dropped and senders hear why.
    func fail(_ error: VecraftError) {
        let senders = self.state.withLock { state -> [CheckedContinuation<Void, Never>] in
            guard state.failure == nil else { return [] }
            state.failure = error
            state.driver = nil
            state.chunks.removeAll()
            state.queued = 0
            return state.takeSenders()
        }
        for sender in senders { sender.resume() }
    }

    /// True while a batch is with the connection, unsent.
    var hasBatchInFlight: Bool { self.state.withLock { $0.inFlight > 0 } }

    /// What to do in this turn. After a batch, ``batchSent()`` is owed.
    func turn() -> Turn {
        while true {
            self.askDriver()
            if let turn = self.takeTurn() { return turn }
        }
    }

    /// - Returns: nil when the driver was woken since it was asked.
    private func takeTurn() -> Turn? {
        self.state.withLock { state in
            // One batch at a time: the one in flight will ask again.
            guard state.inFlight == 0 else { return .idle }
            guard state.failure == nil, var first = state.chunks.first else {
                if state.isDriverDue { return nil }
                state.isPumping = false
                return state.takeEnd() ? .finish : .idle
            }
            let batch: ByteBuffer
            if first.readableBytes <= self.limits.batch {
                batch = first
                state.chunks.removeFirst()
            } else {
                // A large message leaves in slices of its own memory.
                guard let slice = first.readSlice(length: self.limits.batch) else {
                    preconditionFailure("\(first) has fewer than \(self.limits.batch) bytes")
                }
                batch = slice
                state.chunks[state.chunks.startIndex] = first
            }
            state.queued -= batch.readableBytes
            state.inFlight = batch.readableBytes
            return .batch(batch, isLast: state.chunks.isEmpty && state.takeEnd())
        }
    }

    /// The batch reached the socket.
    func batchSent() -> AfterBatch {
        let (after, senders) = self.state.withLock { state -> (AfterBatch, [CheckedContinuation<Void, Never>]) in
            state.inFlight = 0
            let hasMore = !state.chunks.isEmpty || state.isDriverDue
            let after: AfterBatch = hasMore ? .pumpLater : state.takeEnd() ? .finish : .idle
            if !hasMore { state.isPumping = false }
            return (after, state.queued <= self.limits.unsent ? state.takeSenders() : [])
        }
        for sender in senders { sender.resume() }
        return after
    }
}

extension MessageOutbox.State {
    /// The driver has something to send, and may.
    fileprivate var isDriverDue: Bool {
        self.isWoken && self.driver != nil && !self.isFinished && self.failure == nil
    }

    /// Whether the end is due now. True once.
    fileprivate mutating func takeEnd() -> Bool {
        guard self.isFinished, self.failure == nil, !self.isEndTaken else { return false }
        self.isEndTaken = true
        return true
    }

    fileprivate mutating func takeSenders() -> [CheckedContinuation<Void, Never>] {
        defer { self.senders.removeAll() }
        return self.senders
    }
}
