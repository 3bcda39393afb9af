package import GRPC
package import HLC
package import JournalService
package import Lineage
internal import Logging
package import MetaManager
import NIOCore
package import Observability
package import Primitives
package import QueryProcessor
package import StorageNode
internal import Synchronization
internal import Wire

/// Settings of the edge.
package struct GatewaySettings: Sendable {
    /// For callers that name no deadline.
    package var defaultTimeout: Duration = .seconds(30)
    /// Longer wishes are cut to this.
    package var maxTimeout: Duration = .seconds(600)
    /// Callers whose last writes are remembered, twice over.
    package var recentWriters = 10_000
    /// Longest answer; one that would be larger is refused before it is built.
    package var maxReplyBytes = Limits.messageBytes
    /// Bytes of write requests that may be in progress, from validation to the answer; one alone is always taken. A request
    /// takes about twice its size in memory.
    package var maxWriteBytes = 192 << 20
    /// Exports that may run at once. Each holds at most ``exportPageBytes`` as a page and as much unsent.
    package var maxExports = 64
    package var exportPageBytes = 1 << 20
    /// Reads that take longer are logged with where their time went, at most ten a second.
    package var slowQueryNanoseconds = UInt64.max
    /// Streams of changes that may run at once.
    package var maxWatchers = 64
    package init() {}
}

/// The edge: turns requests of either wire into journal entries and reads.
///
/// A unary call runs on its event loop from decoding to the journal's queue, or to the encoded answer. What must wait is
/// parked without a thread and goes on where the answer is.
package final class Gateway: Sendable {
    let settings: GatewaySettings
    let clock: HLCClock
    let journal: any JournalClient
    let meta: MetaManager
    let storage: StorageNode
    let query: QueryProcessor
    let lineage: LineageService
    let recent: RecentWriters
    let operations: Operations
    let status: NodeStatus
    let health: HealthBoard
    let jobs = BackgroundJobs(sideBySide: 4, maxPending: 256)
    /// What other nodes ask, apart from what is asked here and waits for them: nodes whose turns are all taken by questions to each other
    /// would wait in a ring. Long and short ones apart as well. They ask nobody, so they end.
    let peerReads = BackgroundJobs(sideBySide: 2, maxPending: 256)
    let peerVerifies = BackgroundJobs(sideBySide: 2, maxPending: 256)
    let writes: Budget
    let exports: Budget
    let watchers: Budget
    let replays: Budget
    /// Where shards are that are not here, and who asks for them.
    let placement: any ShardDirectory
    let peers: any ShardPeers
    let fanOut: FanOut
    let cache: ResultCache?
    let coverage: WriteCoverage?
    /// Nil: no spans are recorded.
    let tracer: SpanTracer?
    let log = Logger(label: "vecraft.gateway")
    let slowLines = LineBudget(perSecond: 10)

    package init(
        settings: GatewaySettings, clock: HLCClock, journal: any JournalClient, meta: MetaManager, storage: StorageNode,
        query: QueryProcessor, lineage: LineageService, requestMetrics: RequestMetrics, status: NodeStatus,
        placement: any ShardDirectory, peers: any ShardPeers, fanOutMetrics: FanOutMetrics, cache: ResultCache? = nil,
        coverage: WriteCoverage? = nil, tracer: SpanTracer? = nil
    ) {
        self.tracer = tracer
        self.coverage = coverage
        self.cache = cache
        self.placement = placement
        self.peers = peers
        self.fanOut = FanOut(fanOutMetrics)
        self.settings = settings
        self.clock = clock
        self.journal = journal
        self.meta = meta
        self.storage = storage
        self.query = query
        self.lineage = lineage
        self.recent = RecentWriters(capacity: settings.recentWriters)
        self.operations = Operations(requestMetrics)
        self.status = status
        self.health = HealthBoard()
        self.writes = Budget(settings.maxWriteBytes) { held, limit in
            VecraftError(
                .resourceExhausted, "write requests of \(held) bytes are in progress; at most \(limit)",
                reason: "WRITES_IN_PROGRESS", retryAfter: .milliseconds(200))
        }
        // Each may hold half a gigabyte.
        self.replays = Budget(2) { _, limit in
            VecraftError(
                .resourceExhausted, "\(limit) replays run already", reason: "TOO_MANY_REPLAYS", retryAfter: .seconds(1))
        }
        self.watchers = Budget(settings.maxWatchers) { _, limit in
            VecraftError(
                .resourceExhausted, "\(limit) streams of changes run already", reason: "TOO_MANY_WATCHERS",
                retryAfter: .seconds(1))
        }
        self.exports = Budget(settings.maxExports) { _, limit in
            VecraftError(
                .resourceExhausted, "\(limit) exports run already", reason: "TOO_MANY_EXPORTS", retryAfter: .seconds(1))
        }
    }

    /// Runs the slow unary calls (lineage, verification) until cancelled.
    package func run() async {
        // Ends with the jobs, below; notes are written until then.
        let noting = Task { [lineage] in await lineage.reads?.run() }
        async let reads: Void = self.peerReads.run()
        async let verifies: Void = self.peerVerifies.run()
        await self.jobs.run()
        _ = await (reads, verifies)
        noting.cancel()
        self.lineage.reads?.close()
    }

    /// Not ready any more: health answers NOT_SERVING, so that clients go elsewhere before calls are refused.
    package func beginDraining() { self.health.set(serving: false) }
    package func beginServing() { self.health.set(serving: true) }
    package func stop() { for jobs in [self.jobs, self.peerReads, self.peerVerifies] { jobs.stop() } }

    // MARK: Time

    /// Monotonic nanoseconds at which a caller stops waiting.
    func deadline(arrived: UInt64, wish: Duration?) -> UInt64 {
        let most = min(wish ?? self.settings.defaultTimeout, self.settings.maxTimeout)
        let parts = most.components
        let nanoseconds = max(0, parts.seconds) * 1_000_000_000 + parts.attoseconds / 1_000_000_000
        return arrived &+ UInt64(max(0, nanoseconds))
    }

    func context(_ call: borrowing GRPCCall) throws(VecraftError) -> RequestContext {
        try self.context(metadata: call.metadata, peer: call.peer, deadline: call.deadline)
    }

    func context(
        metadata: GRPCMetadata, peer: GRPCPeer, deadline: NIODeadline?
    ) throws(VecraftError) -> RequestContext {
        let arrived = SystemTime.monotonicNanoseconds
        var most = self.deadline(arrived: arrived, wish: nil)
        // NIODeadline counts the same monotonic clock.
        if let deadline {
            most = min(deadline.uptimeNanoseconds, self.deadline(arrived: arrived, wish: self.settings.maxTimeout))
        }
        var context = try RequestContext(deadline: most, arrived: arrived, peer: peer.address) { metadata[$0] }
        context.begin(self.tracer, "gRPC call") { metadata["tracestate"] }
        return context
    }
}

/// Per-operation metrics, made once.
struct Operations: Sendable {
    let search, get, count, scroll, upsert, delete: OperationMetrics
    let createCollection, describeCollection, listCollections, updateCollection, dropCollection: OperationMetrics
    let lineage, verify, status: OperationMetrics

    init(_ metrics: RequestMetrics) {
        self.search = metrics.operation("search")
        self.get = metrics.operation("get")
        self.count = metrics.operation("count")
        self.scroll = metrics.operation("scroll")
        self.upsert = metrics.operation("upsert")
        self.delete = metrics.operation("delete")
        self.createCollection = metrics.operation("create_collection")
        self.describeCollection = metrics.operation("describe_collection")
        self.listCollections = metrics.operation("list_collections")
        self.updateCollection = metrics.operation("update_collection")
        self.dropCollection = metrics.operation("drop_collection")
        self.lineage = metrics.operation("lineage")
        self.verify = metrics.operation("verify")
        self.status = metrics.operation("status")
    }
}

extension OperationMetrics {
    /// Of a request that was answered; `code` is OK.
    func record(
        _ context: RequestContext?, _ tier: Tier, _ code: VecraftError.Code, level: ConsistencyLabel = .none,
        since start: UInt64
    ) {
        if context?.isOwn == true { return }
        self.record(
            tier: tier, level: level, code: code, nanoseconds: SystemTime.monotonicNanoseconds &- start,
            trace: context?.trace)
        context?.answered(self.name, tier, level, nil, since: start)
    }

    func record(_ context: RequestContext?, _ tier: Tier, _ error: VecraftError, since start: UInt64) {
        if context?.isOwn == true { return }
        self.record(
            tier: tier, level: .none, error: error, nanoseconds: SystemTime.monotonicNanoseconds &- start,
            trace: context?.trace)
        context?.answered(self.name, tier, .none, error, since: start)
    }

    func record<R>(_ context: RequestContext?, _ tier: Tier, _ result: Result<R, VecraftError>, since start: UInt64) {
        switch result {
        case .success: self.record(context, tier, .ok, since: start)
        case .failure(let error): self.record(context, tier, error, since: start)
        }
    }
}

/// Scratch of one event loop.
final class LoopScratch {
    let arena = Arena()
    static func make() -> AnyObject { LoopScratch() }
}

extension GRPCServerSettings {
    /// What the gateway's handlers rely on.
    package mutating func prepareForGateway() {
        self.loopLocal = { LoopScratch.make() }
        self.statusDetails = { StatusDetails.encode($0) }
    }
}

extension Gateway {
    /// Looks up writes that were acknowledged a moment ago.
    package func checkCoverage() async { await self.coverage?.check() }

    /// How much of what the gateway may hold at once is held: by name, used and limit.
    package var load: [(name: String, used: Int, limit: Int)] {
        [("writes", self.writes.used, self.writes.limit), ("exports", self.exports.used, self.exports.limit)]
    }
}
