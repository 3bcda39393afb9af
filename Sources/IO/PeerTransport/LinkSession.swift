internal import GRPC
internal import JournalFormat
internal import NIOCore
internal import Observability
internal import Primitives
internal import Raft
internal import Synchronization
internal import Wire

/// One stream between two nodes, from its first byte to its end; a link has one at a time.
///
/// `@unchecked Sendable`: what is marked "loop" is touched on the stream's event loop only, the rest is immutable or locked.
final class LinkSession: GRPCStreamDriver, @unchecked Sendable {
    enum Call {
        case dialed(GRPCClientCall, GRPCClient)
        case accepted(GRPCStreamCall)
    }

    private struct State {
        var call: Call?
        var link: PeerLink?
        var isOver = false
        var failure: VecraftError?
        var waiter: CheckedContinuation<VecraftError?, Never>?
    }

    private let context: PeerContext
    /// Finds the link of a peer that called; nil for a session that was dialed.
    private let find: (@Sendable (ReplicaID) throws(VecraftError) -> PeerLink)?
    private let state: Mutex<State>

    // Loop.
    private var isGreetingDue: Bool
    private var isEstablished = false
    private var isPingDue = false
    private var pong: (monotonic: UInt64, received: UInt64, steady: UInt64)?
    private var heard = SystemTime.monotonicNanoseconds
    private var partial: Partial?
    private var timer: RepeatedTask?
    /// The link, once established: no lock on the way of each message.
    private var established: PeerLink?

    /// An append whose frames are not all here.
    private struct Partial {
        /// nil: it did not hold, and the rest of it is passed over.
        var message: PeerMessage?
        var range: EntryRange?
        var assembly: FrameAssembly
    }

    /// A stream to be dialed.
    init(dialing link: PeerLink, _ context: PeerContext) {
        self.context = context
        self.find = nil
        self.isGreetingDue = true
        self.state = Mutex(State(link: link))
    }

    /// A stream that a peer made.
    init(accepting find: @escaping @Sendable (ReplicaID) throws(VecraftError) -> PeerLink, _ context: PeerContext) {
        self.context = context
        self.find = find
        self.isGreetingDue = false
        self.state = Mutex(State())
    }

    // MARK: Any thread

    /// Once, when the call is there.
    func begin(_ call: Call) {
        let isOver = self.state.withLock { state in
            if !state.isOver { state.call = call }
            return state.isOver
        }
        switch call {
        case .dialed(let stream, _):
            if isOver { stream.cancel() } else { self.startTimer(on: stream.eventLoop) }
        case .accepted(let stream):
            if isOver { return }
            self.startTimer(on: stream.eventLoop)
            stream.attach(self)
        }
    }

    func wake() {
        switch self.state.withLock({ $0.call }) {
        case .dialed(let call, _): call.wake()
        case .accepted(let call): call.wake()
        case nil: break
        }
    }

    /// Ends the stream, for whatever reason; the first counts.
    func end(_ error: VecraftError?) {
        let taken = self.state.withLock { state -> State? in
            guard !state.isOver else { return nil }
            state.isOver = true
            state.failure = error
            defer {
                state.call = nil
                state.link = nil
                state.waiter = nil
            }
            return state
        }
        guard let taken else { return }
        if case .dialed(let call, _) = taken.call { call.cancel() }
        taken.waiter?.resume(returning: error)
        taken.link?.ended(self, error)
    }

    /// Waits for the end of a stream that a peer made.
    func outcome() async -> VecraftError? {
        await withCheckedContinuation { waiter in
            let failure = self.state.withLock { state -> VecraftError?? in
                guard !state.isOver else { return .some(state.failure) }
                state.waiter = waiter
                return nil
            }
            if case .some(let failure) = failure { waiter.resume(returning: failure) }
        }
    }

    var isOver: Bool { self.state.withLock { $0.isOver } }

    // MARK: Loop

    private func startTimer(on eventLoop: any EventLoop) {
        let interval = TimeAmount(self.context.settings.pingInterval)
        let start: @Sendable () -> Void = {
            self.heard = SystemTime.monotonicNanoseconds
            self.timer = eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { task in
                self.tick(task)
            }
        }
        if eventLoop.inEventLoop { start() } else { eventLoop.execute(start) }
    }

    private func tick(_ task: RepeatedTask) {
        guard !self.isOver else { return task.cancel() }
        let silent = SystemTime.monotonicNanoseconds - self.heard
        if silent > self.context.settings.silenceLimit.nanoseconds {
            return self.end(VecraftError(.unavailable, "the peer is silent", reason: "PEER_SILENT"))
        }
        guard self.isEstablished else { return }
        self.isPingDue = true
        self.wake()
    }

    func ended(_ error: VecraftError?) {
        self.timer?.cancel()
        self.timer = nil
        self.established = nil
        self.end(error ?? VecraftError(.unavailable, "the peer ended the stream"))
    }

    // MARK: Loop: what leaves

    func nextMessage(into message: inout ByteBuffer) -> GRPCNextMessage {
        ArenaPool.shared.withArena { arena in
            let frame = PeerWire.Proto.PeerFrame.Builder(in: arena)
            if self.isGreetingDue { return self.greet(frame, into: &message) }
            guard self.isEstablished, let link = self.established else { return .none }
            let hasPings = self.addPings(to: frame)
            let batch = link.takeBatch()
            guard hasPings || !batch.isEmpty else { return .none }
            let bulkBytes = self.add(batch, to: frame)
            withExtendedLifetime(batch) { self.write(frame, into: &message) }
            link.wrote(batch, controlBytes: message.readableBytes - bulkBytes, bulkBytes: bulkBytes)
            return .message(hasMore: batch.hasMore)
        }
    }

    private func greet(_ frame: PeerWire.Proto.PeerFrame.Builder, into message: inout ByteBuffer) -> GRPCNextMessage {
        guard let link = self.established ?? self.state.withLock({ $0.link }) else { return .none }
        self.isGreetingDue = false
        PeerWire.fill(
            frame.hello.make(), self.context, to: link.peer, wall: SystemTime.nanoseconds)
        self.write(frame, into: &message)
        return .message(hasMore: self.isEstablished)
    }

    private func addPings(to frame: PeerWire.Proto.PeerFrame.Builder) -> Bool {
        guard self.isPingDue || self.pong != nil else { return false }
        if self.isPingDue {
            frame.ping.make().monotonicNanoseconds = SystemTime.steadyNanoseconds
            self.isPingDue = false
        }
        if let pong = self.pong.take() {
            let part = frame.pong.make()
            part.monotonicNanoseconds = pong.monotonic
            part.receivedNanoseconds = pong.received
            part.steadyNanoseconds = pong.steady
            part.answeredNanoseconds = SystemTime.nanoseconds
        }
        return true
    }

    /// - Returns: Bytes of frames in it.
    private func add(_ batch: OutgoingQueue.Batch, to frame: PeerWire.Proto.PeerFrame.Builder) -> Int {
        var bulkBytes = 0
        if let (frames, range) = batch.continued {
            frame.continued.set(borrowing: frames[range])
            bulkBytes += range.count
        }
        guard !batch.messages.isEmpty else { return bulkBytes }
        let made = frame.messages.make(batch.messages.count)
        for i in batch.messages.indices {
            let message = batch.messages[i]
            var piece = message.frames?.bytes
            if let whole = piece, i == batch.messages.count - 1, let cut = batch.cut {
                piece = UnsafeRawBufferPointer(rebasing: whole[..<cut])
            }
            bulkBytes += piece?.count ?? 0
            PeerWire.fill(made[i], message, frames: piece)
        }
        return bulkBytes
    }

    private func write(_ frame: PeerWire.Proto.PeerFrame.Builder, into message: inout ByteBuffer) {
        let size = frame.encodedSize
        message.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { frame.encode(into: $0, size: size) }
    }

    // MARK: Loop: what arrives

    func received(_ message: ByteBuffer) {
        guard !self.isOver else { return }
        self.heard = SystemTime.monotonicNanoseconds
        do throws(VecraftError) {
            try ArenaPool.shared.withArena { (arena) throws(VecraftError) in
                let outcome = message.withUnsafeReadableBytes { raw in
                    Result { () throws(VecraftError) in try PeerWire.Proto.PeerFrame.View.decode(raw, in: arena) }
                }
                try self.take(try outcome.get(), bytes: message.readableBytes)
            }
        } catch {
            self.end(error)
        }
    }

    private func take(_ frame: PeerWire.Proto.PeerFrame.View, bytes: Int) throws(VecraftError) {
        guard let link = self.established else { return try self.takeGreeting(frame.hello) }
        if let ping = frame.ping {
            self.pong = (ping.monotonicNanoseconds, SystemTime.nanoseconds, SystemTime.steadyNanoseconds)
            self.wake()
        }
        if let pong = frame.pong { link.ponged(pong) }
        var bulkBytes = frame.continued.count
        do throws(PeerFault) {
            if !frame.continued.isEmpty { try self.continued(frame.continued, link) }
            for view in frame.messages { bulkBytes += try self.take(view, link) }
        } catch {
            self.context.dropped(error, from: link.peer)
            throw VecraftError(.invalidArgument, error.what, reason: "PROTOCOL_BROKEN")
        }
        link.metrics.receivedBulkBytes.increment(by: UInt64(bulkBytes))
        link.metrics.receivedControlBytes.increment(by: UInt64(bytes - bulkBytes))
    }

    private func takeGreeting(_ hello: PeerWire.Proto.Hello.View?) throws(VecraftError) {
        let from = try PeerWire.check(hello, self.context)
        let link: PeerLink
        if let find = self.find {
            link = try find(from)
            let isOver = self.state.withLock { state in
                if !state.isOver { state.link = link }
                return state.isOver
            }
            if isOver { return }
            self.isGreetingDue = true
        } else {
            guard let dialed = self.state.withLock({ $0.link }) else { return }
            guard dialed.peer == from else {
                throw PeerWire.refusal("OTHER_NODE", "node \(dialed.peer) was called, node \(from) answers")
            }
            link = dialed
        }
        guard link.establish(self, peerWall: hello?.wallNanoseconds ?? 0) else {
            throw VecraftError(.unavailable, "the link is closed")
        }
        self.established = link
        self.isEstablished = true
        self.isPingDue = true
        self.context.receiver.linkReset(link.peer)
        self.wake()
    }

    /// - Returns: Bytes of its frames.
    private func take(_ view: PeerWire.Proto.ReplicaMessage.View, _ link: PeerLink) throws(PeerFault) -> Int {
        var entries: PeerWire.Proto.Entries.View?
        if case .append(let append) = view.body { entries = append.entries }
        var message: PeerMessage?
        do throws(PeerFault) {
            message = try PeerWire.read(view, from: link.peer, to: self.context.own)
            if let closed = message?.closed { message?.closed = link.localised(closed) }
        } catch {
            self.context.dropped(error, from: link.peer)
        }
        guard let entries else {
            if let message {
                link.metrics.receivedControl.increment()
                self.context.receiver.receive(message)
            }
            return 0
        }
        guard self.partial == nil else {
            throw PeerFault(.protocolBroken, "an append begins before the one before it is whole")
        }
        var range: EntryRange?
        if case .append(let append) = message?.message.body { range = append.entries }
        var assembly = try FrameAssembly(
            total: entries.frameBytes, limit: self.context.settings.maxRunBytes, salt: entries.salt,
            first: entries.first)
        try assembly.add(entries.frames)
        self.partial = Partial(message: message, range: range, assembly: assembly)
        self.finishIfWhole(link)
        return entries.frames.count
    }

    private func continued(_ piece: UnsafeRawBufferPointer, _ link: PeerLink) throws(PeerFault) {
        guard self.partial != nil else { throw PeerFault(.protocolBroken, "the rest of an append that never began") }
        try self.partial?.assembly.add(piece)
        self.finishIfWhole(link)
    }

    private func finishIfWhole(_ link: PeerLink) {
        guard let partial = self.partial, partial.assembly.isWhole else { return }
        self.partial = nil
        guard var message = partial.message, let range = partial.range else { return }
        do throws(PeerFault) {
            let run = try partial.assembly.run()
            try PeerWire.check(run, against: range)
            message.frames = run
        } catch {
            return self.context.dropped(error, from: link.peer)
        }
        link.metrics.receivedBulk.increment()
        self.context.receiver.receive(message)
    }
}
