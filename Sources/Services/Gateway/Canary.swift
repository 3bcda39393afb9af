internal import Logging
internal import MetaManager
internal import NIOCore
internal import NIOPosix
package import Observability
internal import Primitives
internal import QueryProcessor
internal import Synchronization
internal import Wire

/// What a canary has found.
package struct CanaryMetrics: Sendable {
    /// By level and result: "ok", "violation" of what the level promises, "failed" without an answer.
    package let checks: CounterFamily
    /// The write, and the read at the level. Seconds.
    package let duration: HistogramFamily
    /// Seconds since 1970; of the last round without fault.
    package let lastSuccess: GaugeFamily

    package init(_ registry: MetricsRegistry) {
        self.checks = registry.counter(
            "vecraft_canary_checks_total",
            help:
                "Reads of a point the node has just written, by level and whether the level was kept; violations should be 0.",
            labels: ["level", "result"])
        self.duration = registry.histogram(
            "vecraft_canary_duration_seconds",
            help: "Time to write the canary's point and to read it back at the level.",
            labels: ["level"])
        self.lastSuccess = registry.gauge(
            "vecraft_canary_last_success_timestamp_seconds", help: "When all levels were last found kept.", labels: [])
    }
}

/// Writes a point of its own and reads it back at each level, again and again, as a caller would, and judges what it is told.
///
/// The point is in the collection `canary` of the nodes' own tenant, which whichever node is first makes. Its requests are of
/// the tier background and in none of the callers' metrics.
package final class Canary: Sendable {
    static let collection = "canary"
    private static let patience: UInt64 = 5_000_000_000

    private let gateway: Gateway
    private let id: String
    private let judge: Mutex<CanaryJudge>
    private let checks: [[Counter]]
    private let durations: [Histogram]
    private let metrics: CanaryMetrics
    private let log = Logger(label: "vecraft.canary")

    private enum Outcome: Int, CaseIterable {
        case ok = 0, violation, failed
    }

    /// - Parameter node: No other node has this name.
    package init(_ gateway: Gateway, node: String, _ metrics: CanaryMetrics) {
        self.gateway = gateway
        self.id = node
        self.metrics = metrics
        self.judge = Mutex(CanaryJudge(process: UInt64.random(in: 1...UInt64.max)))
        self.checks = ConsistencyLevel.allCases.map { level in
            Outcome.allCases.map { metrics.checks.with(level.name, "\($0)") }
        }
        self.durations = ConsistencyLevel.allCases.map { metrics.duration.with($0.name) }
    }

    /// One round at each interval, until cancelled.
    /// - Parameter isServing: Without it no round is made, and one that failed meanwhile does not count.
    package func run(every interval: Duration, while isServing: @escaping @Sendable () -> Bool) async {
        while !Task.isCancelled {
            if isServing() { await self.round(isServing) }
            do { try await Task.sleep(for: interval) } catch { return }
        }
    }

    private func round(_ isServing: @Sendable () -> Bool) async {
        let value = self.judge.withLock { $0.next() }
        let began = SystemTime.monotonicNanoseconds
        let session: [UInt8]
        do throws(VecraftError) {
            try await self.makeCollection()
            session = try await self.write(value)
        } catch {
            self.judge.withLock { $0.doubt(value) }
            guard isServing() else { return }
            self.log.debug("canary: the write failed", metadata: ["error": "\(error)"])
            for level in ConsistencyLevel.allCases { self.count(level, .failed) }
            return
        }
        let written = SystemTime.monotonicNanoseconds
        self.judge.withLock { $0.acknowledge(value, at: written) }
        var isGood = true
        for level in ConsistencyLevel.allCases {
            let start = SystemTime.monotonicNanoseconds
            let outcome = await self.check(level, session)
            guard outcome != .failed || isServing() else { return }
            self.count(level, outcome)
            isGood = isGood && outcome == .ok
            guard outcome != .failed else { continue }
            self.durations[Int(level.rawValue) - 1].observe(
                nanoseconds: (written &- began) &+ (SystemTime.monotonicNanoseconds &- start))
        }
        if isGood { self.metrics.lastSuccess.with([]).set(Double(SystemTime.nanoseconds) / 1e9) }
    }

    private func count(_ level: ConsistencyLevel, _ outcome: Outcome) {
        self.checks[Int(level.rawValue) - 1][outcome.rawValue].increment()
    }

    private func check(_ level: ConsistencyLevel, _ session: [UInt8]) async -> Outcome {
        let bound = ReadRequirement.defaultMaxStalenessMilliseconds
        var options = VecraftV1.ReadOptions(consistency: VecraftV1.ConsistencyLevel(level))
        if level == .readYourWrites { options.sessionToken = session }
        if level == .bounded { options.maxStalenessMs = UInt32(bound) }
        let request = VecraftV1.GetRequest(
            collection: Self.collection, ids: [self.id], read: options, tenant: CollectionSchema.ownTenant)
        let began = SystemTime.monotonicNanoseconds
        do throws(VecraftError) {
            let reply = try await self.gateway.read(
                GetOperation.self, request, try self.context(), on: MultiThreadedEventLoopGroup.singleton.any()
            ) { VecraftV1.GetResponse($0) }
            let text = (reply.points.first?.payload?.json).map { String(decoding: $0, as: UTF8.self) }
            let seen = text.flatMap { try? JSONValue(parsing: $0)["value"]?.stringValue }.flatMap { CanaryValue($0) }
            var read = CanaryJudge.Read(level: level, seen: seen, began: began, boundMilliseconds: bound)
            read.tookNanoseconds = SystemTime.monotonicNanoseconds &- began
            if let info = reply.info, info.achieved != .strong { read.missedMilliseconds = UInt64(info.stalenessMs) }
            let judged = read
            switch self.judge.withLock({ $0.judge(judged) }) {
            case .ok: return .ok
            case .violation(let what):
                self.log.error(
                    "canary: a read did not keep what its level promises",
                    metadata: ["level": "\(level.name)", "what": "\(what)"])
                return .violation
            }
        } catch {
            self.log.debug("canary: a read failed", metadata: ["level": "\(level.name)", "error": "\(error)"])
            return .failed
        }
    }

    /// Returns the session's token.
    private func write(_ value: CanaryValue) async throws(VecraftError) -> [UInt8] {
        let point = VecraftV1.Point(
            id: self.id, vector: VecraftV1.Vector(values: [1, 0]),
            payload: VecraftV1.Payload(json: Array("{\"value\":\"\(value.text)\"}".utf8)))
        let request = VecraftV1.UpsertRequest(
            collection: Self.collection, points: [point], tenant: CollectionSchema.ownTenant)
        let reply = try await self.gateway.upsert(request, try self.context())
        return reply.write?.sessionToken ?? []
    }

    private func makeCollection() async throws(VecraftError) {
        if (try? self.gateway.meta.collection(tenant: CollectionSchema.ownTenant, name: Self.collection)) != nil {
            return
        }
        let config = VecraftV1.CollectionConfig(
            vector: VecraftV1.VectorConfig(dimension: 2, distance: .l2), shards: 1)
        let request = VecraftV1.CreateCollectionRequest(
            name: Self.collection, config: config, tenant: CollectionSchema.ownTenant)
        let context = try self.context()
        let result = await withCheckedContinuation { continuation in
            self.gateway.createCollection(request, context) { continuation.resume(returning: $0) }
        }
        _ = try result.get()
    }

    private func context() throws(VecraftError) -> RequestContext {
        let now = SystemTime.monotonicNanoseconds
        var context = try RequestContext(deadline: now &+ Self.patience, arrived: now, peer: "") { header in
            header == "x-vecraft-client-id" ? "\(CollectionSchema.ownTenant)/\(self.id)" : nil
        }
        context.principal = CollectionSchema.ownTenant
        context.isOwn = true
        return context
    }
}
