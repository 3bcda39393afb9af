internal import GRPC
internal import JournalService
internal import NIOCore
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import StorageNode
internal import Synchronization
internal import Wire

extension Gateway {
    /// A read as a unary method: at once on the event loop when the replica is fresh enough, else parked.
    func unary<Op: ReadOperation>(_: Op.Type) -> GRPCMethod {
        .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let start = SystemTime.monotonicNanoseconds
            let metrics = Op.metrics(self.operations)
            var context: RequestContext?
            do throws(VecraftError) {
                let ready = try self.context(call)
                context = ready
                let scratch = call.loopLocal(LoopScratch.self)
                defer { scratch.arena.reset() }
                let request = try Op.Request.decode(message, in: scratch.arena)
                self.traced(Op.self, request, ready)
                switch try Op.run(self, request, ready, nil, scratch.arena) {
                case .answered(let reply, let level):
                    out.write(reply)
                    self.answered(Op.self, request, reply, ready)
                    metrics.record(context, .interactive, .ok, level: ConsistencyLabel(level), since: start)
                    return .reply
                case .behind(let parked):
                    self.park(call.deferred(), Op.self, ready, parked)
                    return .later
                case .scattered(let read):
                    self.scatter(call.deferred(), Op.self, ready, read)
                    return .later
                }
            } catch {
                metrics.record(context, .interactive, error, since: start)
                self.failed(Op.self, error, context, message)
                throw error
            }
        }
    }

    private func scatter<Op: ReadOperation>(
        _ reply: GRPCDeferredReply, _: Op.Type, _ context: RequestContext, _ read: ParkedRead
    ) {
        self.scatter(Op.self, reply.message, context, read, on: reply.eventLoop) { [self] result in
            let metrics = Op.metrics(self.operations)
            switch result {
            case .success((let bytes, let level)):
                metrics.record(context, .interactive, .ok, level: ConsistencyLabel(level), since: context.arrived)
                reply.reply(bytes)
            case .failure(let error):
                metrics.record(context, .interactive, error, since: context.arrived)
                self.failed(Op.self, error, context, reply.message)
                reply.fail(error)
            }
        }
    }

    private func park<Op: ReadOperation>(
        _ reply: GRPCDeferredReply, _: Op.Type, _ context: RequestContext, _ parked: ParkedRead
    ) {
        let loop = reply.eventLoop
        let since = SystemTime.monotonicNanoseconds
        self.wait(for: parked, until: context.lagDeadline, on: loop, cancelled: { reply.onCancel($0) }) {
            [self] outcome in
            // On the loop: a search here costs what it would have cost there.
            self.query.waited(parked.plan, nanoseconds: SystemTime.monotonicNanoseconds &- since)
            context.span?.stage("wait for replay", since: since, error: outcome.failure)
            let result = outcome.flatMap { parked in
                Result { () throws(VecraftError) in
                    try self.finish(Op.self, reply.message, context, parked)
                }
            }
            switch result {
            case .success((let bytes, let level)):
                Op.metrics(self.operations).record(
                    context, .interactive, .ok, level: ConsistencyLabel(level), since: context.arrived)
                reply.reply(bytes)
            case .failure(let error):
                Op.metrics(self.operations).record(context, .interactive, error, since: context.arrived)
                self.failed(Op.self, error, context, reply.message)
                reply.fail(error)
            }
        }
    }

    private func finish<Op: ReadOperation>(
        _: Op.Type, _ message: ByteBuffer, _ context: RequestContext, _ parked: ParkedRead
    ) throws(VecraftError) -> ([UInt8], ConsistencyLevel) {
        try ArenaPool.shared.withArena { arena throws(VecraftError) in
            let request = try message.decode(Op.Request.self, in: arena)
            switch try Op.run(self, request, context, parked, arena) {
            case .answered(let reply, let level):
                self.answered(Op.self, request, reply, context)
                return (reply.encode(), level)
            case .behind, .scattered:
                throw VecraftError(.internalError, "a read was woken before its offset was applied")
            }
        }
    }

    /// Parks a read until its replica is fresh enough, its time ends, or its caller leaves. `body` runs once, on `loop`.
    func wait(
        for parked: ParkedRead, until end: UInt64, on loop: any EventLoop,
        cancelled: (@escaping @Sendable () -> Void) -> Void,
        _ body: @escaping @Sendable (Result<ParkedRead, VecraftError>) -> Void
    ) {
        if parked.plan.needsConfirmation {
            return self.confirm(parked, until: end, on: loop, cancelled: cancelled, body)
        }
        var woken = parked
        woken.plan.waited = true
        let after = woken
        let timer = TimerBox()
        let ticket = self.query.park(parked.plan, replica: parked.replica) { result in
            timer.cancel()
            loop.execute { body(result.map { after }) }
        }
        guard let ticket else { return }
        let waiters = parked.replica.replay.waiters
        timer.arm(
            loop.scheduleTask(deadline: .uptimeNanoseconds(end)) { [self] in
                waiters.cancel(ticket, error: self.query.behind(parked.plan, replica: parked.replica))
            })
        cancelled { waiters.cancel(ticket, error: VecraftError(.cancelled, "the caller left")) }
    }
}

extension Gateway {
    /// Asks the partition's leader what is committed (ReadIndex), then waits for that like any other.
    private func confirm(
        _ parked: ParkedRead, until end: UInt64, on loop: any EventLoop,
        cancelled: (@escaping @Sendable () -> Void) -> Void,
        _ body: @escaping @Sendable (Result<ParkedRead, VecraftError>) -> Void
    ) {
        let box = LeavingBox()
        cancelled { box.leave() }
        let answered = Once()
        let late = loop.scheduleTask(deadline: .uptimeNanoseconds(end)) { [self] in
            guard answered.take() else { return }
            body(.failure(self.query.behind(parked.plan, replica: parked.replica)))
        }
        self.query.journal.readIndex(parked.plan.partition) { [self] result in
            guard answered.take() else { return }
            late.cancel()
            loop.execute {
                switch result {
                case .failure(let error): body(.failure(error))
                case .success(let committed):
                    var confirmed = parked
                    confirmed.plan.confirm(committed)
                    let read = confirmed
                    if read.plan.isSatisfied(by: read.replica.replay.waiters.applied) { return body(.success(read)) }
                    self.wait(for: read, until: end, on: loop, cancelled: { box.onLeaving($0) }, body)
                }
            }
        }
    }
}

/// The first of several to come.
final class Once: Sendable {
    private let isTaken = Atomic(false)
    func take() -> Bool { !self.isTaken.exchange(true, ordering: .acquiringAndReleasing) }
}

/// A caller who may leave before it is known what that ends.
private final class LeavingBox: Sendable {
    private struct State {
        var hasLeft = false
        var act: (@Sendable () -> Void)?
    }
    private let state = Mutex(State())

    func leave() {
        let act = self.state.withLock { state in
            state.hasLeft = true
            return state.act
        }
        act?()
    }

    func onLeaving(_ act: @escaping @Sendable () -> Void) {
        let hasLeft = self.state.withLock { state in
            state.act = act
            return state.hasLeft
        }
        if hasLeft { act() }
    }
}

/// A timer that may be cancelled before it is known.
final class TimerBox: Sendable {
    private enum State {
        case waiting
        case armed(Scheduled<Void>)
        case cancelled
    }
    private let state = Mutex(State.waiting)

    func arm(_ timer: Scheduled<Void>) {
        let late = self.state.withLock { state in
            if case .cancelled = state { return true }
            state = .armed(timer)
            return false
        }
        if late { timer.cancel() }
    }

    func cancel() {
        let armed = self.state.withLock { state -> Scheduled<Void>? in
            defer { state = .cancelled }
            if case .armed(let timer) = state { return timer }
            return nil
        }
        armed?.cancel()
    }
}

extension ByteBuffer {
    /// Appends an encoded message.
    mutating func write(_ message: some WireBuilder) {
        let size = message.encodedSize
        self.writeWithUnsafeMutableBytes(minimumWritableBytes: size) { raw in message.encode(into: raw, size: size) }
    }

    /// Decodes the readable bytes.
    func decode<V: WireView>(_: V.Type, in arena: Arena) throws(VecraftError) -> V {
        let outcome: Result<V, VecraftError> = self.withUnsafeReadableBytes { raw in
            Result { () throws(VecraftError) in try V.decode(raw, in: arena) }
        }
        return try outcome.get()
    }
}
