internal import JournalService
internal import NIOCore
internal import Observability
package import Primitives
internal import QueryProcessor
internal import ShardEngine
internal import StorageNode
internal import Synchronization
internal import Tracing
internal import Wire

/// On whose behalf another node is asked: for its log and spans.
package struct ReadCaller: Sendable {
    package var trace: TraceContext?
    package var traceState: String?
    /// "" if it has none.
    package var requestID = ""
}

/// Asks other nodes for their shards.
package protocol ShardPeers: Sendable {
    /// - Parameters:
    ///   - request: A `vecraft.internal.v1.ShardReadRequest`.
    ///   - origin: For whom.
    ///   - completion: With the public method's reply; from any thread.
    func read(
        _ request: [UInt8], at node: UInt64, timeout: Duration, origin: ReadCaller,
        completion: @escaping @Sendable (Result<[UInt8], VecraftError>) -> Void)
}

/// A read whose shards lie on several nodes: each node is asked once for all it holds, a node that fails or keeps silent is replaced by
/// another that holds the same, and the answers become one.
///
/// Slow nodes are not waited for alone: once a part has taken longer than 95 of 100 do, another holder is asked as well and the first
/// answer counts (Dean and Barroso, "The Tail at Scale", 2013).
final class ScatteredRead<Op: ReadOperation>: Sendable {
    typealias Completion = @Sendable (Result<([UInt8], ConsistencyLevel), VecraftError>) -> Void

    private struct State {
        /// Replies so far, each of other shards.
        var replies: [[UInt8]] = []
        /// Who gave each of them, for which shards; node 0 is this one.
        var origins: [ReadOrigin] = []
        var covered: Set<UInt32> = []
        /// Nobody can answer for these; only where a partial answer is taken.
        var lost: Set<UInt32> = []
        var tried: [UInt32: Set<UInt64>] = [:]
        /// Questions under way, by shard.
        var pending: [UInt32: Int] = [:]
        var completion: Completion?
        /// What the last node said whose shards were not fresh enough in time.
        var behind: VecraftError?
    }
    private let state: Mutex<State>
    private let gateway: Gateway
    private let message: ByteBuffer
    private let context: RequestContext
    private let read: ParkedRead
    private let wanted: Set<UInt32>
    private let loop: any EventLoop
    /// Holds the read until it is over.
    private let timer = TimerBox()

    init(
        _ gateway: Gateway, _ message: ByteBuffer, _ context: RequestContext, _ read: ParkedRead,
        on loop: any EventLoop,
        _ completion: @escaping Completion
    ) throws(VecraftError) {
        let schema = read.replica.schema
        let concerned = try ArenaPool.shared.withArena { arena throws(VecraftError) in
            Op.concerned(try message.decode(Op.Request.self, in: arena), schema)
        }
        let wanted = concerned ?? Set(0..<schema.shards)
        self.wanted = wanted
        var read = read
        read.elsewhere.removeAll { !wanted.contains($0) }
        read.shards.removeAll { !wanted.contains($0.engine.id.shard) }
        self.gateway = gateway
        self.message = message
        self.context = context
        self.read = read
        self.loop = loop
        self.state = Mutex(State(completion: completion))
    }

    private static var pause: TimeAmount { .milliseconds(5) }

    private var schema: CollectionSchema { self.read.replica.schema }

    /// What is committed is known, or each part finds out for itself.
    func start() {
        // Whoever is behind says so at that time, and knows by how much.
        let end = self.context.lagDeadline + (self.context.deadline - self.context.lagDeadline) / 2
        self.timer.arm(self.loop.scheduleTask(deadline: .uptimeNanoseconds(end)) { self.timeOut() })
        self.loop.execute {
            self.askHere()
            self.ask(self.read.elsewhere, after: nil)
        }
    }

    // MARK: This node's part

    private func askHere() {
        guard !self.read.shards.isEmpty else { return }
        var here = self.read
        here.elsewhere = []
        if here.plan.requirement.level == .bounded {
            // How stale this node's part is was left to it, as to the others.
            do throws(VecraftError) {
                here.plan = try self.gateway.query.plan(here.plan.requirement, replica: here.replica)
            } catch { return self.fail(error) }
        }
        let own = here
        let shards = own.shards.map(\.engine.id.shard)
        if own.plan.isSatisfied(by: own.replica.replay.waiters.applied) { return self.answerHere(own, shards) }
        let since = SystemTime.monotonicNanoseconds
        self.gateway.wait(for: own, until: self.context.lagDeadline, on: self.loop, cancelled: { _ in }) { result in
            self.gateway.query.waited(own.plan, nanoseconds: SystemTime.monotonicNanoseconds &- since)
            self.context.span?.stage("wait for replay", since: since, error: result.failure)
            switch result {
            case .success(let ready): self.answerHere(ready, shards)
            case .failure(let error): self.lose(shards, error)
            }
        }
    }

    private func answerHere(_ own: ParkedRead, _ shards: [UInt32]) {
        do throws(VecraftError) {
            let reply = try ArenaPool.shared.withArena { arena throws(VecraftError) in
                let request = try self.message.decode(Op.Request.self, in: arena)
                var context = self.context
                context.isPart = true
                guard case .answered(let reply, _) = try Op.run(self.gateway, request, context, own, arena) else {
                    throw VecraftError(.internalError, "a part was woken before its offset was applied")
                }
                return reply.encode()
            }
            self.take(reply, of: shards, from: 0)
        } catch {
            // Moved away while it was waited for: others have it.
            if error.code == .unavailable { self.ask(shards, after: error) } else { self.fail(error) }
        }
    }

    // MARK: The others'

    /// Asks for shards, each at the next node that holds it and was not asked yet.
    ///
    /// - Parameter error: Why they are asked again; what the caller hears if nobody is left.
    private func ask(_ shards: [UInt32], after error: VecraftError?) {
        var byNode: [UInt64: [UInt32]] = [:]
        var isLost = false
        self.state.withLock { state in
            var chosen: [(shard: UInt32, node: UInt64)] = []
            // What another node is asked for already is left to it: parts that overlap could not be told apart.
            for shard in shards where !state.covered.contains(shard) && state.pending[shard, default: 0] == 0 {
                let left = self.gateway.placement.holders(of: shard, in: self.schema)
                    .filter { !state.tried[shard, default: []].contains($0) }
                if let node = self.gateway.fanOut.prefer(
                    left, like: byNode.keys, near: self.gateway.placement.isNear)
                {
                    chosen.append((shard, node))
                    byNode[node, default: []].append(shard)
                } else if state.pending[shard, default: 0] == 0 {
                    isLost = true
                }
            }
            guard !isLost else { return }
            for (shard, node) in chosen {
                state.tried[shard, default: []].insert(node)
                state.pending[shard, default: 0] += 1
            }
        }
        if isLost, error?.reason == "COLLECTION_DROPPED" { return self.askAgain(shards) }
        if isLost {
            let error =
                error
                ?? VecraftError(
                    .unavailable, "no node is known to hold a shard of collection \"\(self.schema.name)\"",
                    reason: "SHARD_LOST", retryAfter: .milliseconds(200))
            guard self.read.allowsPartial else { return self.fail(error) }
            // Each by itself: some of them may yet be had.
            if shards.count > 1 {
                for shard in shards { self.ask([shard], after: error) }
            } else {
                self.lose(shards, error)
            }
            return
        }
        for (node, shards) in byNode { self.ask(node, shards) }
    }

    /// All holders say that there is no such collection. This node knows it: they have not heard of it yet, or this one not of its end.
    private func askAgain(_ shards: [UInt32]) {
        do throws(VecraftError) { _ = try self.gateway.query.replica(self.schema.id) } catch { return self.fail(error) }
        self.state.withLock { state in for shard in shards { state.tried[shard] = [] } }
        self.loop.scheduleTask(in: Self.pause) {
            guard self.state.withLock({ $0.completion != nil }) else { return }
            self.ask(shards, after: nil)
        }
    }

    private func ask(_ node: UInt64, _ shards: [UInt32]) {
        let now = SystemTime.monotonicNanoseconds
        guard now < self.context.deadline else { return }
        let request = self.request(shards)
        let hedge = self.hedge(node, shards)
        let span = self.context.span
        let asked = span.map { (trace: $0.child(), at: SystemTime.nanoseconds) }
        let origin = ReadCaller(
            trace: asked?.trace ?? self.context.trace, traceState: span?.traceState, requestID: self.context.requestID)
        self.gateway.peers.read(request, at: node, timeout: .nanoseconds(self.context.deadline - now), origin: origin) {
            result in
            self.loop.execute {
                hedge.cancel()
                if let span, let asked {
                    span.report(
                        "ask node", .client, as: asked.trace, since: asked.at, error: result.failure,
                        [SpanField("vecraft.node", node), SpanField("vecraft.shards", shards.count)])
                }
                self.gateway.fanOut.answered(node, result, nanoseconds: SystemTime.monotonicNanoseconds &- now)
                self.state.withLock { state in for shard in shards { state.pending[shard, default: 1] -= 1 } }
                switch result {
                case .success(let reply): self.take(reply, of: shards, from: node)
                case .failure(let error) where Self.isWorthAgain(error):
                    if error.reason == "REPLICA_BEHIND" { self.state.withLock { $0.behind = error } }
                    self.ask(shards, after: error)
                case .failure(let error): self.fail(error)
                }
            }
        }
    }

    private func request(_ shards: [UInt32]) -> [UInt8] {
        let requirement = self.read.plan.requirement
        let message = self.message.withUnsafeReadableBytes { [UInt8]($0) }
        return VecraftInternalV1.ShardReadRequest(
            operation: Op.shardOperation, request: message, collection: self.schema.id, shards: shards,
            neededOffset: self.read.plan.needed,
            maxStalenessMs: requirement.level == .bounded
                ? UInt32(clamping: max(1, requirement.maxStalenessMilliseconds)) : 0,
            pageBytes: UInt64(self.context.pageBytes), answersText: self.context.answersText
        ).encode()
    }

    /// A node that is away, stopping, starting or behind; another one may not be.
    private static func isWorthAgain(_ error: VecraftError) -> Bool {
        if error.code == .unavailable || error.reason == "REPLICA_BEHIND" { return true }
        return error.reason == "COLLECTION_DROPPED"
    }

    private func hedge(_ node: UInt64, _ shards: [UInt32]) -> Scheduled<Void> {
        self.loop.scheduleTask(in: .nanoseconds(Int64(self.gateway.fanOut.hedgeDelay))) {
            self.gateway.fanOut.late(node)
            // Only where one node can take all of it: parts that overlap could not be told apart.
            let other = self.state.withLock { state -> UInt64? in
                guard state.completion != nil, !shards.contains(where: { state.covered.contains($0) }) else {
                    return nil
                }
                var common: Set<UInt64>?
                for shard in shards {
                    let left = Set(self.gateway.placement.holders(of: shard, in: self.schema))
                        .subtracting(state.tried[shard, default: []])
                    common = common.map { $0.intersection(left) } ?? left
                }
                guard
                    let node = common?.min(by: { first, second in
                        let (a, b) = (self.gateway.placement.isNear(first), self.gateway.placement.isNear(second))
                        return a == b ? first < second : a
                    }), self.gateway.fanOut.takeHedge()
                else { return nil }
                for shard in shards {
                    state.tried[shard, default: []].insert(node)
                    state.pending[shard, default: 0] += 1
                }
                return node
            }
            guard let other else { return }
            self.ask(other, shards)
        }
    }

    // MARK: Putting together

    private func take(_ reply: [UInt8], of shards: [UInt32], from node: UInt64) {
        let replies = self.state.withLock { state -> [[UInt8]]? in
            guard state.completion != nil, !shards.contains(where: { state.covered.contains($0) }) else { return nil }
            state.covered.formUnion(shards)
            state.replies.append(reply)
            state.origins.append(ReadOrigin(node: node, shards: shards))
            return state.covered == self.wanted ? state.replies : nil
        }
        guard let replies else { return self.lose([], nil) }
        self.complete(Result { () throws(VecraftError) in try self.merge(replies, without: []) })
    }

    /// Nobody can answer for some shards: an answer without them, if one is taken and there is one.
    private func lose(_ shards: [UInt32], _ error: VecraftError?) {
        guard self.read.allowsPartial else {
            if let error { self.fail(error) }
            return
        }
        let isOver = self.state.withLock { state in
            state.lost.formUnion(shards)
            return !state.lost.isEmpty && state.covered.union(state.lost).isSuperset(of: self.wanted)
        }
        if isOver { self.finishPartially(error) }
    }

    private func finishPartially(_ error: VecraftError?) {
        let (replies, covered) = self.state.withLock { ($0.replies, $0.covered) }
        guard !replies.isEmpty else {
            return self.fail(
                error
                    ?? VecraftError(
                        .unavailable, "no shard of collection \"\(self.schema.name)\" can be had", reason: "SHARD_LOST")
            )
        }
        self.complete(
            Result { () throws(VecraftError) in try self.merge(replies, without: self.wanted.subtracting(covered)) })
    }

    private func merge(
        _ replies: [[UInt8]], without absent: Set<UInt32>
    ) throws(VecraftError) -> ([UInt8], ConsistencyLevel) {
        try ArenaPool.shared.withArena { arena throws(VecraftError) in
            let request = try self.message.decode(Op.Request.self, in: arena)
            var parts: [Op.Reply.View] = []
            for reply in replies {
                parts.append(
                    try reply.withBytes { (raw) throws(VecraftError) in try Op.Reply.View.decode(raw, in: arena) })
            }
            let merged = Op.Reply(in: arena)
            try Op.merge(
                parts, request, self.schema, self.gateway.pageRoom(self.context), without: absent, into: merged)
            let answer = try self.answer(parts.map { Op.info(of: $0) })
            let info = Op.infoSlot(merged).make()
            self.gateway.fill(info, answer, self.context)
            info.cacheHit = parts.allSatisfy { Op.info(of: $0)?.cacheHit ?? false }
            if !absent.isEmpty { info.missingShards.set(absent.sorted()) }
            var origins = self.state.withLock { $0.origins }
            for (i, part) in parts.enumerated() where i < origins.count {
                origins[i].version = Op.info(of: part)?.indexVersion.first?.offset ?? 0
            }
            guard merged.encodedSize <= self.gateway.settings.maxReplyBytes else {
                throw AnswerRoom.exceeded(self.gateway.settings.maxReplyBytes)
            }
            self.gateway.answered(Op.self, request, merged, self.context, origins)
            return (merged.encode(), answer.achieved)
        }
    }

    private func answer(_ infos: [VecraftV1.ReadInfo.View?]) throws(VecraftError) -> ReadAnswer {
        var applied = JournalOffset.max
        // Shards that are further than others have shown it: the session must not find them behind that again.
        var session = SessionToken()
        var staleness: UInt64 = 0
        var missed: UInt64 = 0
        var plan = self.read.plan
        for info in infos {
            guard let info, let version = info.indexVersion.first else {
                throw VecraftError(.internalError, "a node did not say what its answer was made from")
            }
            applied = min(applied, version.offset)
            session.merge(try SessionToken(info.sessionToken))
            staleness = max(staleness, UInt64(info.stalenessMs))
            if info.achieved != .strong { missed = max(missed, UInt64(info.stalenessMs)) }
            if info.syncPerformed { plan.waited = true }
        }
        guard plan.isSatisfied(by: applied) else {
            throw VecraftError(.internalError, "a node answered at offset \(applied), asked for \(plan.needed)")
        }
        return self.gateway.query.answer(
            plan, ReadExtent([applied]), stalenessMilliseconds: staleness, missed: missed, session: session)
    }

    private func timeOut() {
        let known = self.state.withLock { $0.behind }
        let behind = known ?? self.gateway.query.behind(self.read.plan, replica: self.read.replica)
        if self.read.allowsPartial { self.finishPartially(behind) } else { self.fail(behind) }
    }
    private func fail(_ error: VecraftError) { self.complete(.failure(error)) }
    private func complete(_ result: Result<([UInt8], ConsistencyLevel), VecraftError>) {
        let completion = self.state.withLock { state in
            defer { state.completion = nil }
            return state.completion
        }
        guard let completion else { return }
        self.timer.cancel()
        completion(result)
    }
}

extension Gateway {
    /// Answers a read from shards here and elsewhere; `body` runs once, on `loop`.
    func scatter<Op: ReadOperation>(
        _: Op.Type, _ message: ByteBuffer, _ context: RequestContext, _ read: ParkedRead, on loop: any EventLoop,
        _ body: @escaping ScatteredRead<Op>.Completion
    ) {
        let begin: @Sendable (ReadPlan) -> Void = { plan in
            var ready = read
            ready.plan = plan
            do throws(VecraftError) {
                try ScatteredRead<Op>(self, message, context, ready, on: loop, body).start()
            } catch { body(.failure(error)) }
        }
        var plan = read.plan
        guard plan.requirement.level == .strong else {
            // How stale a part is it finds out itself.
            if plan.requirement.level == .bounded { plan.leaveToParts() }
            return begin(plan)
        }
        let answered = Once()
        let late = loop.scheduleTask(deadline: .uptimeNanoseconds(context.lagDeadline)) { [self] in
            guard answered.take() else { return }
            body(.failure(self.query.behind(read.plan, replica: read.replica)))
        }
        self.query.journal.readIndex(plan.partition) { result in
            guard answered.take() else { return }
            late.cancel()
            loop.execute {
                switch result {
                case .failure(let error): body(.failure(error))
                case .success(let committed):
                    var confirmed = read.plan
                    confirmed.confirm(committed)
                    begin(confirmed)
                }
            }
        }
    }
}
