internal import JournalStore
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import ShardEngine
internal import Wire

// The same operations for callers that can wait: HTTP handlers and streams.

extension Gateway {
    /// Runs a read to its end, waiting for the replica where it must.
    /// - Parameter take: Copies what is wanted out of the reply before its arena goes.
    func read<Op: ReadOperation, Message: WireMessage, R: Sendable>(
        _: Op.Type, _ message: Message, _ context: RequestContext, on loop: any EventLoop,
        take: @Sendable (Op.Reply.View) -> R
    ) async throws(VecraftError) -> R where Message.Builder.View == Op.Request {
        let start = SystemTime.monotonicNanoseconds
        let metrics = Op.metrics(self.operations)
        do throws(VecraftError) {
            var parked: ParkedRead?
            while true {
                switch try self.attempt(Op.self, message, context, parked, take: take) {
                case .answered(let result, let level):
                    metrics.record(context, .interactive, .ok, level: ConsistencyLabel(level), since: start)
                    return result
                case .behind(let read):
                    let since = SystemTime.monotonicNanoseconds
                    let waited = await self.caughtUp(read, context, on: loop)
                    context.span?.stage("wait for replay", since: since, error: waited.failure)
                    parked = try waited.get()
                    self.query.waited(read.plan, nanoseconds: SystemTime.monotonicNanoseconds &- since)
                case .scattered(let read):
                    let (bytes, level) = try await self.scattered(Op.self, message, context, read, on: loop)
                    metrics.record(context, .interactive, .ok, level: ConsistencyLabel(level), since: start)
                    return try ArenaPool.shared.withArena { arena throws(VecraftError) in
                        let view = try bytes.withBytes { (raw) throws(VecraftError) in
                            try Op.Reply.View.decode(raw, in: arena)
                        }
                        return take(view)
                    }
                }
            }
        } catch {
            metrics.record(context, .interactive, error, since: start)
            self.failed(Op.self, error, context, message)
            throw error
        }
    }

    private func attempt<Op: ReadOperation, Message: WireMessage, R>(
        _: Op.Type, _ message: Message, _ context: RequestContext, _ parked: ParkedRead?, take: (Op.Reply.View) -> R
    ) throws(VecraftError) -> ReadOutcome<R> where Message.Builder.View == Op.Request {
        try ArenaPool.shared.withArena { arena throws(VecraftError) in
            let request = message.built(in: arena).view
            if parked == nil { self.traced(Op.self, request, context) }
            switch try Op.run(self, request, context, parked, arena) {
            case .answered(let reply, let level):
                self.answered(Op.self, request, reply, context)
                return .answered(take(reply.view), level)
            case .behind(let read): return .behind(read)
            case .scattered(let read): return .scattered(read)
            }
        }
    }

    private func scattered<Op: ReadOperation, Message: WireMessage>(
        _: Op.Type, _ message: Message, _ context: RequestContext, _ read: ParkedRead, on loop: any EventLoop
    ) async throws(VecraftError) -> ([UInt8], ConsistencyLevel) {
        let result = await withCheckedContinuation { continuation in
            self.scatter(Op.self, ByteBuffer(bytes: message.encode()), context, read, on: loop) {
                continuation.resume(returning: $0)
            }
        }
        return try result.get()
    }

    private func caughtUp(
        _ read: ParkedRead, _ context: RequestContext, on loop: any EventLoop
    ) async -> Result<ParkedRead, VecraftError> {
        await withCheckedContinuation { continuation in
            self.wait(for: read, until: context.lagDeadline, on: loop, cancelled: { _ in }) {
                continuation.resume(returning: $0)
            }
        }
    }

    func upsert(
        _ request: VecraftV1.UpsertRequest, _ context: RequestContext
    ) async throws(VecraftError) -> VecraftV1.UpsertResponse {
        let (write, appended) = try await self.write(context, self.operations.upsert) { arena throws(VecraftError) in
            try self.prepare(upsert: request.built(in: arena).view, context)
        }
        let bytes = self.upsertReply(write, context, appended)
        return try VecraftV1.UpsertResponse.decode(bytes)
    }

    func delete(
        _ request: VecraftV1.DeleteRequest, _ context: RequestContext
    ) async throws(VecraftError) -> VecraftV1.DeleteResponse {
        let (write, appended) = try await self.write(context, self.operations.delete) { arena throws(VecraftError) in
            try self.prepare(delete: request.built(in: arena).view, context)
        }
        return ArenaPool.shared.withArena { arena in
            let reply = VecraftV1.DeleteResponse.Builder(in: arena)
            self.fill(reply.write.make(), appended, write, session: context.session)
            return VecraftV1.DeleteResponse(reply.view)
        }
    }

    private func write(
        _ context: RequestContext, _ metrics: OperationMetrics,
        _ prepare: (Arena) throws(VecraftError) -> PreparedWrite
    ) async throws(VecraftError) -> (PreparedWrite, Appended) {
        let start = SystemTime.monotonicNanoseconds
        var tier = Tier.interactive
        do throws(VecraftError) {
            let write = try ArenaPool.shared.withArena(prepare)
            tier = write.tier
            let loop = MultiThreadedEventLoopGroup.singleton.any()
            let result = await BoundedWait.until(context.wireDeadline, on: loop) { done in
                self.append(write, context, on: loop, completion: done)
            }
            let appended = try result.get()
            metrics.record(context, tier, .ok, since: start)
            return (write, appended)
        } catch {
            metrics.record(context, tier, error, since: start)
            throw error
        }
    }
}
