import NIOCore
import NIOHTTP2

/// What calls and the flusher need of a connection, at either end. Confined to its event loop.
class CallWire {
    final let eventLoop: any EventLoop
    final let flusher: Flusher

    init(flusher: Flusher) {
        self.eventLoop = flusher.eventLoop
        self.flusher = flusher
    }

    func writeData(_ data: ByteBuffer, endStream: Bool, on call: WireCall, promise: EventLoopPromise<Void>?) {
        preconditionFailure("\(type(of: self)) writes no data")
    }

    func writeWindowUpdate(_ bytes: Int, on call: WireCall) {
        preconditionFailure("\(type(of: self)) writes no window updates")
    }

    func writeReset(_ code: HTTP2ErrorCode, on call: WireCall) {
        preconditionFailure("\(type(of: self)) writes no resets")
    }

    func flushNow() {}
}

/// Flushes the connections of one event loop that were written to outside a read, once per turn of the loop.
final class Flusher {
    let eventLoop: any EventLoop
    private var dirty: [CallWire] = []
    private var isScheduled = false
    /// Set while a batch of completions is worked off: its end flushes.
    private var isHeld = false

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func add(_ connection: CallWire) {
        self.dirty.append(connection)
        guard !self.isScheduled, !self.isHeld else { return }
        self.isScheduled = true
        self.eventLoop.assumeIsolated().execute {
            self.isScheduled = false
            self.flushAll()
        }
    }

    /// Runs `body` and flushes what it wrote, once.
    func batch(_ body: () -> Void) {
        self.isHeld = true
        body()
        self.isHeld = false
        self.flushAll()
    }

    private func flushAll() {
        // A flush can write again (a promise resumes a pump): those wait for the next turn.
        let connections = self.dirty
        self.dirty.removeAll(keepingCapacity: true)
        for connection in connections { connection.flushNow() }
    }
}
