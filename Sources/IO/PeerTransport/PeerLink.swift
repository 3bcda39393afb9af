internal import GRPC
internal import Logging
internal import NIOCore
internal import Observability
internal import Primitives
internal import Raft
internal import Synchronization
internal import Wire

/// The way to one peer: what waits for it, and the stream that takes it there. Of two nodes the one with the lower id dials.
final class PeerLink: Sendable {
    private struct State {
        var address: PeerAddress
        /// The stream, or an attempt at one.
        var session: LinkSession?
        /// Both sides have said hello on it.
        var isUp = false
        var upSince: UInt64 = 0
        var queue: OutgoingQueue
        var clock = ClockEstimate()
        var steady = SteadyOffset()
        var wait: Duration
        var redial: Scheduled<Void>?
        var isClosed = false
        /// Of the last attempt that failed: said once.
        var lastFailure: String?
    }

    let peer: ReplicaID
    let metrics: PeerMetrics.Handles
    private let context: PeerContext
    private let eventLoop: any EventLoop
    private let state: Mutex<State>

    init(_ peer: ReplicaID, at address: PeerAddress, _ context: PeerContext) {
        self.peer = peer
        self.context = context
        self.metrics = PeerMetrics.Handles(context.metrics, peer)
        self.eventLoop = context.group.next()
        self.state = Mutex(
            State(
                address: address, queue: OutgoingQueue(settings: context.settings), wait: context.settings.minBackoff))
        self.metrics.up.set(0)
    }

    private var dials: Bool { self.context.own < self.peer }

    var address: PeerAddress { self.state.withLock { $0.address } }
    var clockOffset: Duration? {
        self.state.withLock { $0.clock.best }.map { .nanoseconds($0.offsetNanoseconds) }
    }
    var isUp: Bool { self.state.withLock { $0.isUp } }

    // MARK: Messages

    /// Any thread.
    func send(_ messages: ArraySlice<PeerMessage>) {
        var losses: [OutgoingQueue.Loss] = []
        let session = self.state.withLock { state -> LinkSession? in
            for message in messages {
                if let loss = state.queue.append(message) { losses.append(loss) }
            }
            self.metrics.queueBytes.set(state.queue.bulkBytes)
            return state.isUp ? state.session : nil
        }
        session?.wake()
        for loss in losses { self.count(loss, 1) }
    }

    func takeBatch() -> OutgoingQueue.Batch {
        self.state.withLock { state in
            let batch = state.queue.next()
            self.metrics.queueBytes.set(state.queue.bulkBytes)
            return batch
        }
    }

    func wrote(_ batch: OutgoingQueue.Batch, controlBytes: Int, bulkBytes: Int) {
        self.metrics.sentControl.increment(by: UInt64(batch.controlCount))
        self.metrics.sentBulk.increment(by: UInt64(batch.messages.count - batch.controlCount))
        self.metrics.sentControlBytes.increment(by: UInt64(controlBytes))
        self.metrics.sentBulkBytes.increment(by: UInt64(bulkBytes))
    }

    private func count(_ loss: OutgoingQueue.Loss, _ count: Int) {
        guard count > 0 else { return }
        self.context.metrics.dropped.with(self.metrics.label, loss.rawValue).increment(by: UInt64(count))
    }

    func ponged(_ pong: PeerWire.Proto.Pong.View) {
        let monotonic = SystemTime.steadyNanoseconds
        let wall = SystemTime.nanoseconds
        let (sample, best) = self.state.withLock { state in
            if pong.monotonicNanoseconds <= monotonic {
                state.steady.add(sent: pong.monotonicNanoseconds, received: pong.steadyNanoseconds)
            }
            let sample = state.clock.add(
                sentMonotonic: pong.monotonicNanoseconds, receivedMonotonic: monotonic, receivedWall: wall,
                peerReceived: pong.receivedNanoseconds, peerAnswered: pong.answeredNanoseconds)
            return (sample, state.clock.best)
        }
        if let sample { self.metrics.roundTrip.observe(nanoseconds: sample.roundTripNanoseconds) }
        if let best { self.metrics.clockOffset.set(Double(best.offsetNanoseconds) * 1e-9) }
    }

    /// What the peer says of its time, in ours; nil before its first answer to a ping: until then nothing is known of its clocks.
    func localised(_ closed: ClosedTimestamp) -> ClosedTimestamp? {
        guard let there = closed.since else { return closed }
        guard let since = self.state.withLock({ $0.steady.here(there, now: SystemTime.steadyNanoseconds) }) else { return nil }
        return ClosedTimestamp(offset: closed.offset, hlc: closed.hlc, since: since)
    }

    // MARK: The stream

    func start() { if self.dials { self.eventLoop.execute { self.dial() } } }

    /// Loop.
    private func dial() {
        let session = LinkSession(dialing: self, self.context)
        let address = self.state.withLock { state -> PeerAddress? in
            state.redial = nil
            guard !state.isClosed, state.session == nil else { return nil }
            state.session = session
            return state.address
        }
        guard let address else { return session.end(nil) }
        do {
            let client = try self.context.client(address, on: self.eventLoop)
            let call = try client.bidirectional(PeerAPI.exchange, driver: session)
            session.begin(.dialed(call, client))
        } catch {
            session.end(error as? VecraftError ?? VecraftError(.internalError, "\(error)"))
        }
    }

    /// Both sides have said hello. A peer's newer stream takes the place of an older one.
    ///
    /// - Returns: False when the link was closed.
    func establish(_ session: LinkSession, peerWall: UInt64) -> Bool {
        let (isTaken, old) = self.state.withLock { state -> (Bool, LinkSession?) in
            guard !state.isClosed else { return (false, nil) }
            let old = state.session === session ? nil : state.session
            state.session = session
            state.isUp = true
            state.upSince = SystemTime.monotonicNanoseconds
            state.lastFailure = nil
            state.clock = ClockEstimate()
            state.steady = SteadyOffset()
            state.queue.connected()
            return (true, old)
        }
        guard isTaken else { return false }
        old?.end(VecraftError(.aborted, "a newer stream of this node takes its place", reason: "REPLACED"))
        self.metrics.up.set(1)
        self.metrics.linksMade.increment()
        let ahead = Double(peerWall) - Double(SystemTime.nanoseconds)
        self.context.logger.info(
            "link to a peer made", metadata: ["peer": "\(self.peer)", "clock_ahead_seconds": "\(ahead * 1e-9)"])
        return true
    }

    func ended(_ session: LinkSession, _ error: VecraftError?) {
        struct End {
            var wasUp: Bool
            var lost: Int
            var isNews: Bool
        }
        let end = self.state.withLock { state -> End? in
            guard state.session === session else { return nil }
            let end = End(
                wasUp: state.isUp, lost: state.queue.disconnected(),
                isNews: error.map { $0.message != state.lastFailure } ?? false)
            state.session = nil
            state.isUp = false
            state.lastFailure = error?.message
            // One that did not last was no success: two nodes of one id would take each other's place without a pause.
            let lasted = SystemTime.monotonicNanoseconds - state.upSince
            if end.wasUp, lasted > self.context.settings.maxBackoff.nanoseconds {
                state.wait = self.context.settings.minBackoff
            }
            if self.dials, !state.isClosed { self.scheduleDial(&state) }
            return end
        }
        guard let end else { return }
        self.metrics.queueBytes.set(0)
        self.metrics.up.set(0)
        self.count(.linkLost, end.lost)
        if end.wasUp || end.isNews { self.log(error, wasUp: end.wasUp) }
        if end.wasUp { self.context.receiver.linkReset(self.peer) }
    }

    private func scheduleDial(_ state: inout State) {
        let wait = state.wait * Double.random(in: 0.8...1)
        state.wait = min(state.wait * 2, self.context.settings.maxBackoff)
        state.redial?.cancel()
        state.redial = self.eventLoop.scheduleTask(in: TimeAmount(wait)) { self.dial() }
    }

    private func log(_ error: VecraftError?, wasUp: Bool) {
        let about: Logger.Metadata = [
            "peer": "\(self.peer)", "error": "\(error.map(String.init(describing:)) ?? "none")",
        ]
        if wasUp {
            self.context.logger.warning("link to a peer lost", metadata: about)
        } else {
            self.context.logger.warning("no link to a peer", metadata: about)
        }
    }

    // MARK: The table

    func move(to address: PeerAddress) {
        let old = self.state.withLock { state -> LinkSession? in
            guard state.address != address else { return nil }
            state.address = address
            state.wait = self.context.settings.minBackoff
            return self.dials ? state.session : nil
        }
        guard let old else { return }
        self.eventLoop.execute { old.end(VecraftError(.unavailable, "the peer has another address")) }
    }

    /// - Parameter done: Called when the receiver has been told that the link is broken, on an event loop as always.
    func close(_ done: @escaping @Sendable () -> Void = {}) {
        let session = self.state.withLock { state -> LinkSession? in
            state.isClosed = true
            state.redial?.cancel()
            state.redial = nil
            return state.session
        }
        self.eventLoop.execute {
            session?.end(VecraftError(.unavailable, "the link is closed", reason: "LINK_CLOSED"))
            done()
        }
    }
}
