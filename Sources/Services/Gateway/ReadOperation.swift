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
}

/// A read that waits for its replica.
struct ParkedRead: Sendable {
    var plan: ReadPlan
    let replica: CollectionReplica
}

/// A read of the public API: request and reply in place, on whichever wire they travel.
protocol ReadOperation: SendableMetatype {
    associatedtype Request: WireView, SendableMetatype
    associatedtype Reply: WireBuilder, SendableMetatype
    static func metrics(_ operations: Operations) -> OperationMetrics
    /// What the answer was made from.
    static func info(_ reply: Reply) -> VecraftV1.ReadInfo.View?
    /// - Parameters:
    ///   - parked: What an earlier attempt waited for; nil at the first.
    ///   - arena: Holds request and reply.
    static func run(
        _ gateway: Gateway, _ request: Request, _ context: RequestContext, _ parked: ParkedRead?, _ arena: Arena
    ) throws(VecraftError) -> ReadOutcome<Reply>
}

extension Gateway {
    /// Collection and tenant of a request.
    func schema(_ name: TextView, _ tenant: TextView) throws(VecraftError) -> CollectionSchema {
        guard !name.isEmpty else { throw .invalid("collection", "must be given") }
        return try self.meta.collection(tenant: tenant.isEmpty ? "default" : tenant.string, name: name.string)
    }

    /// The replica to read from and what it must have applied; nil plan satisfied means go on at once.
    func prepare(
        _ schema: CollectionSchema, _ options: VecraftV1.ReadOptions.View?, _ context: RequestContext, _ parked: ParkedRead?
    ) throws(VecraftError) -> ParkedRead {
        if let parked { return parked }
        let replica = try self.query.replica(schema.id)
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
        return ParkedRead(plan: try self.query.plan(requirement, replica: replica), replica: replica)
    }

    /// How large an answer may become.
    func room(_ context: RequestContext) -> AnswerRoom {
        AnswerRoom(bytes: self.settings.maxReplyBytes, deadline: context.deadline)
    }

    /// How large a page may become: cut by an estimate that is never too small, with space for what is beside its points.
    func pageRoom(_ context: RequestContext) -> AnswerRoom {
        AnswerRoom(
            bytes: min(context.pageBytes, self.settings.maxReplyBytes - 8192), form: context.answersText ? .text : .binary,
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
        info.serverTimeUs = (SystemTime.monotonicNanoseconds &- context.arrived) / 1000
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
