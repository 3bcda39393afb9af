package import GRPC
internal import NIOCore
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import Wire

extension Gateway {
    /// `vecraft.internal.v1.ShardReads/Read`: answers other nodes from the shards held here. For the listener that nodes have for each other.
    package var shardRead: GRPCUnaryHandler {
        { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try VecraftInternalV1.ShardReadRequest.decode(message)
            guard !request.shards.isEmpty else { throw .invalid("shards", "none are named") }
            guard Set(request.shards).count == request.shards.count else {
                throw .invalid("shards", "one is named twice")
            }
            let arrived = SystemTime.monotonicNanoseconds
            var deadline = self.deadline(arrived: arrived, wish: self.settings.maxTimeout)
            if let limit = call.deadline { deadline = min(deadline, limit.uptimeNanoseconds) }
            var context = RequestContext(
                deadline: deadline, arrived: arrived,
                scope: ShardScope(
                    collection: request.collection, shards: request.shards, needed: request.neededOffset,
                    maxStalenessMilliseconds: request.maxStalenessMs == 0 ? nil : UInt64(request.maxStalenessMs)),
                trace: call.metadata["traceparent"].flatMap { TraceContext(traceparent: $0) },
                requestID: call.metadata["x-request-id"] ?? "")
            let metadata = call.metadata
            context.begin(self.tracer, "shards") { metadata["tracestate"] }
            context.pageBytes = Int(clamping: request.pageBytes)
            context.answersText = request.answersText
            let ready = context
            let question = ByteBuffer(bytes: request.request)
            switch request.operation {
            case .search: return try self.answer(SearchOperation.self, question, ready, call, &out)
            case .get: return try self.answer(GetOperation.self, question, ready, call, &out)
            case .count: return try self.answer(CountOperation.self, question, ready, call, &out)
            case .scroll: return try self.answer(ScrollOperation.self, question, ready, call, &out)
            case .sync: return try self.answer(SyncOperation.self, question, ready, call, &out)
            default: throw .invalid("operation", "\(request.operation.rawValue) is unknown")
            }
        }
    }

    private static let shardReads: StaticString = "vecraft.internal.v1.ShardReads/Read"

    private func answer<Op: ReadOperation>(
        _: Op.Type, _ question: ByteBuffer, _ context: RequestContext, _ call: borrowing GRPCCall,
        _ out: inout ByteBuffer
    ) throws(VecraftError) -> GRPCUnaryOutcome {
        var waiting: ParkedRead?
        let reply: [UInt8]
        do throws(VecraftError) { reply = try self.part(Op.self, question, context, nil, &waiting) } catch {
            context.answeredPart("shards " + Op.metrics(self.operations).name, Self.shardReads, error)
            throw error
        }
        guard let read = waiting else {
            out.writeBytes(VecraftInternalV1.ShardReadResponse(reply: reply).encode())
            context.answeredPart("shards " + Op.metrics(self.operations).name, Self.shardReads, nil)
            return .reply
        }
        let deferred = call.deferred(keepingMessage: false)
        let loop = deferred.eventLoop
        let since = SystemTime.monotonicNanoseconds
        self.wait(for: read, until: context.lagDeadline, on: loop, cancelled: { deferred.onCancel($0) }) {
            [self] outcome in
            self.query.waited(read.plan, nanoseconds: SystemTime.monotonicNanoseconds &- since)
            context.span?.stage("wait for replay", since: since, error: outcome.failure)
            do throws(VecraftError) {
                var again: ParkedRead?
                let reply = try self.part(Op.self, question, context, try outcome.get(), &again)
                guard again == nil else {
                    throw VecraftError(.internalError, "a read was woken before its offset was applied")
                }
                deferred.reply(VecraftInternalV1.ShardReadResponse(reply: reply).encode())
                context.answeredPart("shards " + Op.metrics(self.operations).name, Self.shardReads, nil)
            } catch {
                deferred.fail(error)
                context.answeredPart("shards " + Op.metrics(self.operations).name, Self.shardReads, error)
            }
        }
        return .later
    }

    private func part<Op: ReadOperation>(
        _: Op.Type, _ question: ByteBuffer, _ context: RequestContext, _ parked: ParkedRead?,
        _ waiting: inout ParkedRead?
    ) throws(VecraftError) -> [UInt8] {
        var behind: ParkedRead?
        let reply = try ArenaPool.shared.withArena { arena throws(VecraftError) -> [UInt8] in
            let request = try question.decode(Op.Request.self, in: arena)
            switch try Op.run(self, request, context, parked, arena) {
            case .answered(let reply, _): return reply.encode()
            case .behind(let read), .scattered(let read):
                behind = read
                return []
            }
        }
        waiting = behind
        return reply
    }
}
