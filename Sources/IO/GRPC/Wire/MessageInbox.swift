import NIOCore
import Primitives
import Synchronization

/// Messages that arrived for an async function and wait for it to take them.
///
/// Filled on the event loop, emptied by one reader anywhere. Bounded by the call's flow control window: room is given
/// back to the peer only as messages are taken.
final class MessageInbox: Sendable {
    private struct State {
        var queue = CircularBuffer<FramedMessage>(initialCapacity: 4)
        var reader: CheckedContinuation<Void, Never>?
        var end: End?
        /// The loop holds bytes of a message that is not whole: when the queue runs empty their room must be given back,
        /// or a message larger than the window would wait for itself.
        var holdsPartial = false
        /// Takes the messages in place of a reader.
        var driver: (any GRPCStreamDriver)?
    }

    enum End {
        case complete
        case failed(VecraftError)

        fileprivate var error: VecraftError? { if case .failed(let error) = self { error } else { nil } }
    }

    private let state = Mutex(State())
    private let call: WireCall
    private let limit: Int

    init(call: WireCall, limit: Int) {
        self.call = call
        self.limit = limit
    }

    // MARK: Event loop

    func push(_ message: FramedMessage) {
        let (reader, driver) = self.state.withLock {
            state -> (CheckedContinuation<Void, Never>?, (any GRPCStreamDriver)?) in
            guard state.end == nil else { return (nil, nil) }
            if let driver = state.driver { return (nil, driver) }
            state.queue.append(message)
            return (state.reader.take(), nil)
        }
        reader?.resume()
        if let driver { self.hand(message, to: driver) }
    }

    /// Messages that came before are handed over at once.
    func attach(_ driver: any GRPCStreamDriver) {
        let (waiting, end) = self.state.withLock { state -> (CircularBuffer<FramedMessage>, End?) in
            precondition(state.reader == nil && state.driver == nil, "a second reader of the messages of one call")
            defer { state.queue.removeAll() }
            if state.end == nil { state.driver = driver }
            return (state.queue, state.end)
        }
        for message in waiting { self.hand(message, to: driver) }
        if let end { driver.ended(end.error) }
    }

    private func hand(_ message: FramedMessage, to driver: any GRPCStreamDriver) {
        do throws(VecraftError) {
            driver.received(try message.unpacked(limit: self.limit))
            // Never urgent: nothing is queued, so the room of a message that is not whole is given back as it arrives.
            self.call.consumed(message, urgent: false)
        } catch {
            self.end(.failed(error), dropQueued: true)
        }
    }

    /// Says whether part of a message is held. True: nothing is queued before it, so its room can be given back now.
    func holdsPartial(_ holds: Bool) -> Bool {
        self.state.withLock { state in
            state.holdsPartial = holds
            return holds && state.queue.isEmpty
        }
    }

    /// No more will come. The first end counts. A failure overtakes what is queued on a server, where nobody wants work for
    /// a call that is over; a client still reads what came before the status.
    func end(_ end: End, dropQueued: Bool) {
        let (reader, driver) = self.state.withLock {
            state -> (CheckedContinuation<Void, Never>?, (any GRPCStreamDriver)?) in
            guard state.end == nil else { return (nil, nil) }
            state.end = end
            if dropQueued { state.queue.removeAll() }
            return (state.reader.take(), state.driver.take())
        }
        reader?.resume()
        driver?.ended(end.error)
    }

    // MARK: The reader

    private enum Taken {
        case message(FramedMessage, ranDry: Bool)
        case end(End)
        case nothing
    }

    func next() async throws(VecraftError) -> ByteBuffer? {
        while true {
            switch self.take() {
            case .message(let message, let ranDry):
                self.call.consumed(message, urgent: ranDry)
                return try message.unpacked(limit: self.limit)
            case .end(.complete): return nil
            case .end(.failed(let error)): throw error
            case .nothing:
                if Task.isCancelled { throw VecraftError(.cancelled, "the reading task was cancelled") }
                await self.waitForArrival()
            }
        }
    }

    private func take() -> Taken {
        self.state.withLock { state in
            if let message = state.queue.popFirst() {
                return .message(message, ranDry: state.queue.isEmpty && state.holdsPartial)
            }
            if let end = state.end { return .end(end) }
            return .nothing
        }
    }

    private func waitForArrival() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let resumeNow = self.state.withLock { state in
                    if !state.queue.isEmpty || state.end != nil || Task.isCancelled { return true }
                    precondition(state.reader == nil, "a second reader waits for the messages of one call")
                    state.reader = continuation
                    return false
                }
                if resumeNow { continuation.resume() }
            }
        } onCancel: {
            self.state.withLock { $0.reader.take() }?.resume()
        }
    }
}
