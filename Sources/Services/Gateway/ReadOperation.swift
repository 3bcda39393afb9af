internal import JournalService
internal import MetaManager
internal import Observability
internal import Primitives
internal import QueryProcessor
internal import ShardEngine
internal import StorageNode
internal import Wire

/// What a read came to.
enum ReadOutcome<Reply> {
    case answered(Reply, ConsistencyLevel)
    /// The replica must first have applied more; ask again with the same plan then.
    case behind(ParkedRead)
    /// Other nodes hold some of the shards.
    case scattered(ParkedRead)
}

/// A read that waits for its replica.
struct ParkedRead: Sendable {
    var plan: ReadPlan
    let replica: CollectionReplica
    /// Those that answer, here.
    var shards: [ShardReplica]
    /// Those that others must answer for.
    var elsewhere: [UInt32] = []
    /// The caller takes an answer that lacks some.
    var allowsPartial = false
}

/// A read of the public API: request and reply in place, on whichever wire they travel.
protocol ReadOperation: SendableMetatype {
    associatedtype Request: WireView, SendableMetatype
    associatedtype Reply: WireBuilder, SendableMetatype
    static func metrics(_ operations: Operations) -> OperationMetrics
    /// - Parameters:
    ///   - parked: What an earlier attempt waited for; nil at the first.
    ///   - arena: Holds request and reply.
    static func run(
        _ gateway: Gateway, _ request: Request, _ context: RequestContext, _ parked: ParkedRead?, _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<Reply>

    /// Collection and tenant, as the request names them.
    static func place(_ request: Request) -> (collection: TextView, tenant: TextView)
    /// How it is asked of another node.
    static var shardOperation: VecraftInternalV1.ShardOperation { get }
    static func infoSlot(_ reply: Reply) -> MessageSlot<VecraftV1.ReadInfo.Builder>
    /// What the answer was made from.
    static func info(of reply: Reply.View) -> VecraftV1.ReadInfo.View?
    /// Where an answer's time went, for its span and for the log of slow queries. Keys begin with "vecraft.".
    static func stages(of reply: Reply.View, into fields: inout some SpanFieldReceiver)
    /// Shards that can have anything to say; nil: all.
    static func concerned(_ request: Request, _ schema: CollectionSchema) -> Set<UInt32>?
    /// Makes one answer of those of several nodes, but for its info.
    /// - Parameter absent: Shards that nobody answered for.
    static func merge(
        _ parts: [Reply.View], _ request: Request, _ schema: CollectionSchema, _ room: AnswerRoom,
        without absent: Set<UInt32>,
        into reply: Reply
    ) throws(VecraftError)
}

extension ReadOperation {
    static func concerned(_ request: Request, _ schema: CollectionSchema) -> Set<UInt32>? { nil }
    static func stages(of reply: Reply.View, into fields: inout some SpanFieldReceiver) {}
}

extension Gateway {
    /// Collection and tenant of a request; of another node's question the collection that it means.
    func schema(
        _ name: TextView, _ tenant: TextView, _ context: RequestContext
    ) throws(VecraftError) -> CollectionSchema {
        guard let scope = context.scope else { return try self.schema(name, tenant) }
        return try self.query.replica(scope.collection).schema
    }

    func schema(_ name: TextView, _ tenant: TextView) throws(VecraftError) -> CollectionSchema {
        guard !name.isEmpty else { throw .invalid("collection", "must be given") }
        return try self.meta.collection(tenant: tenant.isEmpty ? "default" : tenant.string, name: name.string)
    }

    /// The replica to read from and what it must have applied; nil plan satisfied means go on at once.
    func prepare(
        _ schema: CollectionSchema, _ options: VecraftV1.ReadOptions.View?, _ context: RequestContext,
        _ parked: ParkedRead?
    ) throws(VecraftError) -> ParkedRead {
        if let parked { return parked }
        let replica = try self.query.replica(schema.id)
        if let scope = context.scope { return try self.prepare(replica, scope) }
        var requirement = ReadRequirement(session: context.session)
        if let options {
            requirement.level = try ConsistencyLevel(wire: options.consistency)
            let staleness = options.maxStalenessMs
            guard staleness <= 3_600_000 else {
                throw .invalid("read.max_staleness_ms", "\(staleness); at most 3600000")
            }
            if staleness > 0 { requirement.maxStalenessMilliseconds = UInt64(staleness) }
            let token = options.sessionToken
            if !token.isEmpty { requirement.session.merge(try SessionToken(token)) }
        }
        if requirement.level == .readYourWrites {
            requirement.remembered = self.recent.offset(context.caller, schema.partition)
        }
        var read = try self.read(requirement, replica)
        read.allowsPartial = options?.allowPartial ?? false
        return read
    }

    /// Of all shards, wherever they are.
    func read(_ requirement: ReadRequirement, _ replica: CollectionReplica) throws(VecraftError) -> ParkedRead {
        var read = ParkedRead(
            plan: try self.query.plan(requirement, replica: replica), replica: replica, shards: replica.shards)
        if !replica.isWhole {
            let here = Set(replica.shards.map(\.engine.id.shard))
            read.elsewhere = (0..<replica.schema.shards).filter { !here.contains($0) }
        }
        return read
    }

    /// For another node, which has decided what must have been applied.
    private func prepare(_ replica: CollectionReplica, _ scope: ShardScope) throws(VecraftError) -> ParkedRead {
        var requirement = ReadRequirement(level: .eventual)
        if let staleness = scope.maxStalenessMilliseconds {
            requirement.level = .bounded
            requirement.maxStalenessMilliseconds = staleness
        } else if scope.needed > 0 {
            requirement.level = .readYourWrites
            requirement.remembered = scope.needed
        }
        var shards: [ShardReplica] = []
        for index in scope.shards {
            guard let shard = replica.shard(index) else {
                throw VecraftError(
                    .unavailable, "shard \(index) of collection \"\(replica.schema.name)\" is not on this node",
                    reason: QueryProcessor.shardNotHere, retryAfter: .milliseconds(100))
            }
            shards.append(shard)
        }
        return ParkedRead(plan: try self.query.plan(requirement, replica: replica), replica: replica, shards: shards)
    }

    /// Why a read cannot be answered at once, if so.
    func obstacle<Reply>(_ read: ParkedRead) -> ReadOutcome<Reply>? {
        guard read.elsewhere.isEmpty else { return .scattered(read) }
        return read.plan.isSatisfied(by: read.replica.replay.waiters.applied) ? nil : .behind(read)
    }

    /// How large an answer may become.
    func room(_ context: RequestContext) -> AnswerRoom {
        AnswerRoom(bytes: self.settings.maxReplyBytes, deadline: context.deadline)
    }

    /// How large a page may become: cut by an estimate that is never too small, with space for what is beside its points.
    func pageRoom(_ context: RequestContext) -> AnswerRoom {
        AnswerRoom(
            bytes: min(context.pageBytes, self.settings.maxReplyBytes - 8192),
            form: context.answersText ? .text : .binary,
            deadline: context.deadline)
    }

    func fill(_ info: VecraftV1.ReadInfo.Builder, _ answer: ReadAnswer, _ context: RequestContext) {
        info.requested = VecraftV1.ConsistencyLevel(answer.requested)
        info.achieved = VecraftV1.ConsistencyLevel(answer.achieved)
        info.stalenessMs = UInt32(clamping: answer.stalenessMilliseconds)
        let version = info.indexVersion.make(1)[0]
        version.partition.set(answer.partition.description)
        version.offset = answer.indexVersion
        info.syncPerformed = answer.syncPerformed
        info.sessionToken.set(answer.session.bytes)
        let spent = SystemTime.monotonicNanoseconds &- context.arrived
        info.serverTimeUs = spent / 1000
        // Parts of an answer are counted where they are put together.
        if context.scope == nil, !context.isPart, !context.isOwn { self.query.answered(answer, since: spent) }
    }
}

extension ConsistencyLabel {
    init(_ level: ConsistencyLevel) {
        self =
            switch level {
            case .eventual: .eventual
            case .bounded: .bounded
            case .readYourWrites: .readYourWrites
            case .strong: .strong
            }
    }
}
