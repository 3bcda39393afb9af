package import Filter
package import JournalService
import Observability
package import Primitives
package import ShardEngine
package import StorageNode

/// What an answer was made from (`vecraft.v1.ReadInfo`).
package struct ReadAnswer: Sendable {
    package var requested: ConsistencyLevel
    package var achieved: ConsistencyLevel
    package var stalenessMilliseconds: UInt64
    /// The bound of a bounded read; nil of others.
    package var maxStalenessMilliseconds: UInt64?
    /// What may be missed by those parts that are not known to hold all that was committed when the read arrived.
    package var missedMilliseconds: UInt64
    package var partition: PartitionID
    package var indexVersion: JournalOffset
    package var syncPerformed: Bool
    /// The request's token, and as much as any shard has shown.
    package var session: SessionToken
}

extension ReadAnswer {
    /// An answer may miss what was older than the bound when the read arrived.
    ///
    /// Ages are whole milliseconds, rounded up, on both sides: 2 ms are granted for that.
    /// - Parameters:
    ///   - bound: Milliseconds that the read allows; nil: any.
    ///   - missed: Milliseconds that its answer may miss.
    ///   - nanoseconds: Since it arrived.
    package static func breaks(_ bound: UInt64?, missed: UInt64, after nanoseconds: UInt64) -> Bool {
        guard let bound else { return false }
        return missed > bound + nanoseconds / 1_000_000 + 2
    }
}

/// Decides how fresh a read must be, and answers it from the replica once it is.
///
/// ``plan(_:collection:)`` first; if the plan is not satisfied yet, ``park(_:deadline:_:)``; then one of the reads.
package final class QueryProcessor: Sendable {
    private let storage: StorageNode
    package let journal: any JournalClient
    private let metrics: QueryMetrics
    private let byLevel: LevelMetrics
    private let byStrategy: StrategyMetrics

    package init(storage: StorageNode, journal: any JournalClient, metrics: QueryMetrics) {
        self.storage = storage
        self.journal = journal
        self.metrics = metrics
        self.byLevel = LevelMetrics(metrics)
        self.byStrategy = StrategyMetrics(metrics)
    }

    /// A collection's replica and what a read of it must wait for.
    /// - Throws: NOT_FOUND if it was dropped meanwhile; INVALID_ARGUMENT for a token from another history.
    package func plan(
        _ requirement: ReadRequirement, replica: CollectionReplica
    ) throws(VecraftError) -> ReadPlan {
        let state = try replica.replay.state()
        let plan = ReadPlan(
            requirement, partition: replica.replay.partition, replica: state, isReplicated: self.journal.isReplicated)
        // A session may have seen, on another node, what this one has not heard of yet: it is waited for.
        if !self.journal.isReplicated, plan.tokenIsFromTheFuture(committed: state.committed) {
            throw VecraftError(
                .failedPrecondition,
                "session_token: it has seen \(plan.partition) up to \(requirement.session.offset(of: plan.partition)), which ends at \(state.committed); it belongs to another cluster or to data that was restored",
                field: "session_token", reason: "SESSION_FROM_ANOTHER_HISTORY")
        }
        return plan
    }

    package func replica(_ collection: UInt64) throws(VecraftError) -> CollectionReplica {
        guard let replica = self.storage.replica(collection) else {
            throw self.storage.absence(of: collection)
        }
        return replica
    }

    /// Calls back when the plan's offset is applied. Cancel with the ticket when the deadline passes or the caller leaves.
    package func park(
        _ plan: ReadPlan, replica: CollectionReplica,
        _ callback: @escaping @Sendable (Result<Void, VecraftError>) -> Void
    ) -> UInt64? {
        self.byLevel.syncs(plan.requirement.level).increment()
        return replica.replay.waiters.wait(for: plan.needed, callback)
    }

    /// The distinct error of a read whose time ended before its replica had caught up.
    package func behind(_ plan: ReadPlan, replica: CollectionReplica) -> VecraftError {
        self.byLevel.behind(plan.requirement.level).increment()
        let state = try? replica.replay.state()
        let applied = state?.applied ?? 0
        guard !plan.needsConfirmation else {
            return VecraftError(
                .deadlineExceeded,
                "the replica may be behind: \(plan.partition) is applied up to \(applied), and its leader did not say in time what is committed (\(state?.stalenessMilliseconds ?? 0) ms of lag)",
                reason: "REPLICA_BEHIND", retryAfter: .milliseconds(100))
        }
        return VecraftError(
            .deadlineExceeded,
            "the replica is behind: \(plan.partition) is applied up to \(applied), this \(plan.requirement.level.name) read needs \(plan.needed) (\(plan.needed - min(applied, plan.needed)) entries, \(state?.stalenessMilliseconds ?? 0) ms of lag)",
            reason: "REPLICA_BEHIND", retryAfter: .milliseconds(100))
    }

    package func waited(_ plan: ReadPlan, nanoseconds: UInt64) {
        self.byLevel.wait(plan.requirement.level).observe(nanoseconds: nanoseconds)
    }

    /// Counts an answer that goes to a caller, and judges whether a bounded read got what it asked for.
    /// - Parameter nanoseconds: Since the read arrived: so much older may its answer have become meanwhile.
    package func answered(_ answer: ReadAnswer, since nanoseconds: UInt64) {
        self.byLevel.reads(answer.requested).increment()
        if ReadAnswer.breaks(answer.maxStalenessMilliseconds, missed: answer.missedMilliseconds, after: nanoseconds) {
            self.metrics.boundedViolations.increment()
        }
    }

    /// Why a node does not answer for a shard.
    package static let shardNotHere = "SHARD_NOT_HERE"

    package func search(
        _ request: ShardSearch, plan: ReadPlan, replica: CollectionReplica, shards: [ShardReplica]
    ) throws(VecraftError) -> (MergedSearch, ReadAnswer, nanoseconds: UInt64) {
        let mark = replica.replay.mark
        let start = SystemTime.monotonicNanoseconds
        let result = try Self.search(request, shards)
        let spent = SystemTime.monotonicNanoseconds &- start
        self.metrics.engineSeconds.observe(nanoseconds: spent)
        self.metrics.visited.increment(by: result.plan.visited)
        self.byStrategy.count(result.plan.strategies)
        return (result, try self.answer(plan, replica, result.extent, since: mark), spent)
    }

    private static func search(
        _ request: ShardSearch, _ shards: [ShardReplica]
    ) throws(VecraftError) -> MergedSearch {
        var results: [ShardSearchResult] = []
        results.reserveCapacity(shards.count)
        for shard in shards { results.append(try shard.engine.search(request)) }
        return Merging.search(results, limit: request.limit)
    }

    package func get(
        ids: [UnsafeRawBufferPointer], withVectors: Bool, withPayload: Bool, room: AnswerRoom, plan: ReadPlan,
        replica: CollectionReplica, shards held: [ShardReplica]
    ) throws(VecraftError) -> (MergedGet, ReadAnswer) {
        let mark = replica.replay.mark
        let shards = replica.schema.shards
        if shards == 1 {
            let result = try held[0].engine.get(
                ids: ids, withVectors: withVectors, withPayload: withPayload, room: room)
            let merged = MergedGet(
                points: MergedPoints(result.points), missing: result.missing, extent: ReadExtent([result.applied]))
            return (merged, try self.answer(plan, replica, merged.extent, since: mark))
        }
        var positions = [[Int]](repeating: [], count: Int(shards))
        for (position, id) in ids.enumerated() { positions[Int(ShardSlots.shard(of: id, of: shards))].append(position) }
        // Before they are asked: true of them all the while.
        let applied = held.map(\.engine.applied).min() ?? 0
        var results = [ShardGetResult?](repeating: nil, count: Int(shards))
        for (shard, wanted) in positions.enumerated() where !wanted.isEmpty {
            // Of another part of the answer.
            guard let found = held.first(where: { $0.engine.id.shard == UInt32(shard) }) else { continue }
            results[shard] = try found.engine.get(
                ids: wanted.map { ids[$0] }, withVectors: withVectors, withPayload: withPayload, room: room)
        }
        let result = Merging.get(results, positions: positions, count: ids.count, applied: applied)
        // Each part is held to the limit; together they may still break it.
        try room.check(result.points.batches)
        return (result, try self.answer(plan, replica, result.extent, since: mark))
    }

    package func count(
        _ filter: Filter?, deadline: UInt64, plan: ReadPlan, replica: CollectionReplica, shards: [ShardReplica]
    ) throws(VecraftError) -> (ShardCountResult, ReadAnswer) {
        let mark = replica.replay.mark
        var total = try shards[0].engine.count(filter, deadline: deadline)
        for shard in shards.dropFirst() { total.add(try shard.engine.count(filter, deadline: deadline)) }
        let extent = ReadExtent(applied: total.applied, seen: total.seen)
        return (total, try self.answer(plan, replica, extent, since: mark))
    }

    package func scroll(
        after: [UInt8]?, filter: Filter?, limit: Int, withVectors: Bool, withPayload: Bool, deadline: UInt64,
        room: AnswerRoom, plan: ReadPlan, replica: CollectionReplica, shards: [ShardReplica]
    ) throws(VecraftError) -> (MergedScroll, ReadAnswer) {
        let mark = replica.replay.mark
        var pages: [ShardScrollResult] = []
        for shard in shards {
            pages.append(
                try shard.engine.scroll(
                    after: after, filter: filter, limit: limit, withVectors: withVectors, withPayload: withPayload,
                    deadline: deadline, room: room))
        }
        let result = Merging.scroll(pages, limit: limit, room: room)
        return (result, try self.answer(plan, replica, result.extent, since: mark))
    }

    /// Of a read that wanted nothing but freshness.
    package func answer(
        _ plan: ReadPlan, _ replica: CollectionReplica, shards: [ShardReplica]
    ) throws(VecraftError) -> ReadAnswer {
        let mark = replica.replay.mark
        return try self.answer(plan, replica, ReadExtent(shards.map(\.engine.applied)), since: mark)
    }

    private func answer(
        _ plan: ReadPlan, _ replica: CollectionReplica, _ extent: ReadExtent, since mark: ReplayMark
    ) throws(VecraftError) -> ReadAnswer {
        // A shard that was moved away while the read waited is fed no more: it stays behind what replay has reached.
        guard plan.isSatisfied(by: extent.applied) else {
            throw VecraftError(
                .unavailable, "a shard of collection \"\(replica.schema.name)\" was moved to another node meanwhile",
                reason: Self.shardNotHere, retryAfter: .milliseconds(10))
        }
        let staleness = replica.replay.staleness(applied: extent.applied, since: mark)
        return self.answer(plan, extent, stalenessMilliseconds: staleness)
    }

    /// - Parameters:
    ///   - extent: Of every shard that was asked, wherever it is.
    ///   - staleness: Of the stalest.
    ///   - missed: Of an answer from several nodes: the stalest part that is not strong.
    ///   - session: What the answers of other nodes say that a session has seen with them.
    package func answer(
        _ plan: ReadPlan, _ extent: ReadExtent, stalenessMilliseconds staleness: UInt64, missed: UInt64? = nil,
        session parts: SessionToken = SessionToken()
    ) -> ReadAnswer {
        let achieved = plan.achieved(applied: extent.applied, stalenessMilliseconds: staleness)
        self.byLevel.staleness(achieved).observe(nanoseconds: staleness &* 1_000_000)
        var session = plan.requirement.session
        session.merge(parts)
        session.merge(plan.partition, extent.seen)
        return ReadAnswer(
            requested: plan.requirement.level, achieved: achieved, stalenessMilliseconds: staleness,
            maxStalenessMilliseconds: plan.requirement.level == .bounded
                ? plan.requirement.maxStalenessMilliseconds : nil,
            missedMilliseconds: missed ?? (achieved == .strong ? 0 : staleness),
            partition: plan.partition, indexVersion: extent.applied, syncPerformed: plan.waited, session: session)
    }
}

/// Handles by level, made once.
private struct LevelMetrics: Sendable {
    private let stalenessOf: [Histogram]
    private let waitOf: [Histogram]
    private let syncsOf: [Counter]
    private let behindOf: [Counter]
    private let readsOf: [Counter]

    init(_ metrics: QueryMetrics) {
        let names = ConsistencyLevel.allCases.map(\.name)
        self.stalenessOf = names.map { metrics.staleness.with($0) }
        self.waitOf = names.map { metrics.syncWait.with($0) }
        self.syncsOf = names.map { metrics.syncs.with($0) }
        self.behindOf = names.map { metrics.behind.with($0) }
        self.readsOf = names.map { metrics.reads.with($0) }
    }
    func staleness(_ level: ConsistencyLevel) -> Histogram { self.stalenessOf[Int(level.rawValue) - 1] }
    func wait(_ level: ConsistencyLevel) -> Histogram { self.waitOf[Int(level.rawValue) - 1] }
    func syncs(_ level: ConsistencyLevel) -> Counter { self.syncsOf[Int(level.rawValue) - 1] }
    func reads(_ level: ConsistencyLevel) -> Counter { self.readsOf[Int(level.rawValue) - 1] }
    func behind(_ level: ConsistencyLevel) -> Counter { self.behindOf[Int(level.rawValue) - 1] }
}

/// One counter for each of the eight combinations of strategies.
private struct StrategyMetrics: Sendable {
    private let counters: [Counter]

    init(_ metrics: QueryMetrics) {
        self.counters = (0..<8).map { raw in
            var plan = ShardSearchPlan()
            plan.strategies = ShardSearchPlan.Strategies(rawValue: UInt8(raw))
            return metrics.strategies.with(plan.strategy)
        }
    }
    func count(_ strategies: ShardSearchPlan.Strategies) { self.counters[Int(strategies.rawValue & 7)].increment() }
}
