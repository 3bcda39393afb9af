package import GRPC
internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import NIOCore
internal import Observability
internal import Primitives
internal import Wire

extension Gateway {
    /// Every method this node serves, by full path.
    package func methods() -> [String: GRPCMethod] {
        var methods: [String: GRPCMethod] = [:]
        func add(_ service: String, _ name: String, _ method: GRPCMethod) { methods["/\(service)/\(name)"] = method }

        let points = "vecraft.v1.Points"
        add(points, "Upsert", self.upsertMethod)
        add(points, "UpsertStream", self.upsertStreamMethod)
        add(points, "Import", self.importMethod)
        add(points, "Delete", self.deleteMethod)
        add(points, "Get", self.unary(GetOperation.self))
        add(points, "Search", self.unary(SearchOperation.self))
        add(points, "Count", self.unary(CountOperation.self))
        add(points, "Scroll", self.unary(ScrollOperation.self))
        add(points, "Export", self.exportMethod)

        let collections = "vecraft.v1.Collections"
        add(
            collections, "CreateCollection",
            self.later(self.operations.createCollection, .critical) { (request, context, reply) in
                self.createCollection(request, context, completion: reply)
            })
        add(
            collections, "UpdateCollection",
            self.later(self.operations.updateCollection, .critical) { (request, context, reply) in
                self.updateCollection(request, context, completion: reply)
            })
        add(
            collections, "DropCollection",
            self.later(self.operations.dropCollection, .critical) { (request, context, reply) in
                self.dropCollection(request, context, completion: reply)
            })
        add(
            collections, "DescribeCollection",
            self.now(self.operations.describeCollection) { (request, _) throws(VecraftError) in
                try self.describeCollection(request)
            })
        add(
            collections, "ListCollections",
            self.now(self.operations.listCollections) { (request, _) throws(VecraftError) in
                try self.listCollections(request)
            })

        let lineage = "vecraft.v1.Lineage"
        for (name, handler) in self.lineageHandlers { add(lineage, name, .unary(handler)) }
        add(lineage, "Watch", self.watchMethod)
        add(lineage, "Replay", self.replayMethod)

        let cluster = "vecraft.v1.Cluster"
        add(
            cluster, "Status",
            self.now(self.operations.status) { (_: VecraftV1.StatusRequest, _) throws(VecraftError) in
                self.currentStatus()
            })
        add(cluster, "WatchStatus", self.watchStatusMethod)

        add("grpc.health.v1.Health", "Check", self.healthCheckMethod)
        add("grpc.health.v1.Health", "Watch", self.healthWatchMethod)
        add("grpc.reflection.v1.ServerReflection", "ServerReflectionInfo", Reflection.method)
        add("grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo", Reflection.method)
        let admission = EntryAdmission(self.meta)
        let journal = JournalAPI.methods(self.journal) { (entry) throws(VecraftError) in try admission.admit(entry) }
        for (path, method) in journal { methods[path] = method }
        return methods
    }

    // MARK: Kinds of unary methods

    /// Answers on the event loop.
    private func now<Request: WireMessage, Reply: WireMessage>(
        _ metrics: OperationMetrics,
        _ body: @escaping @Sendable (Request, RequestContext) throws(VecraftError) -> Reply
    ) -> GRPCMethod {
        .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let start = SystemTime.monotonicNanoseconds
            var context: RequestContext?
            do throws(VecraftError) {
                let ready = try self.context(call)
                context = ready
                out.writeBytes(try body(try Request.decode(message), ready).encode())
                metrics.record(context, .background, .ok, since: start)
                return .reply
            } catch {
                metrics.record(context, .background, error, since: start)
                throw error
            }
        }
    }

    private func later<Request: WireMessage, Reply: WireMessage>(
        _ metrics: OperationMetrics, _ tier: Tier,
        _ body:
            @escaping @Sendable (
                Request, RequestContext, @escaping @Sendable (Result<Reply, VecraftError>) -> Void
            ) -> Void
    ) -> GRPCMethod {
        .unary(self.answeringLater(metrics, tier, isLimited: true, body))
    }

    /// Answers when a callback says so.
    ///
    /// - Parameter isLimited: The call ends at the gateway's own limit if its client named none: the body keeps no deadline.
    private func answeringLater<Request: WireMessage, Reply: WireMessage>(
        _ metrics: OperationMetrics, _ tier: Tier, isLimited: Bool = false,
        _ body:
            @escaping @Sendable (
                Request, RequestContext, @escaping @Sendable (Result<Reply, VecraftError>) -> Void
            ) -> Void
    ) -> GRPCUnaryHandler {
        { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let start = SystemTime.monotonicNanoseconds
            var context: RequestContext?
            do throws(VecraftError) {
                let ready = try self.context(call)
                context = ready
                let request = try Request.decode(message)
                let deferred = call.deferred(until: isLimited ? ready.wireDeadline : nil)
                body(request, ready) { result in
                    deferred.answer(result.map { $0.encode() })
                    metrics.record(ready, tier, result, since: start)
                }
                return .later
            } catch {
                metrics.record(context, tier, error, since: start)
                throw error
            }
        }
    }

    /// Answers from a pool of background jobs: for what takes long.
    ///
    /// - Parameter jobs: Nil: those of callers.
    func background<Request: WireMessage, Reply: WireMessage>(
        _ metrics: OperationMetrics, on jobs: BackgroundJobs? = nil,
        _ body: @escaping @Sendable (Request, RequestContext) async throws(VecraftError) -> Reply
    ) -> GRPCUnaryHandler {
        self.answeringLater(metrics, .background) { [self] (request: Request, context, reply) in
            do throws(VecraftError) {
                try (jobs ?? self.jobs).submit {
                    reply(await context.asTask { () async throws(VecraftError) in try await body(request, context) })
                }
            } catch {
                reply(.failure(error))
            }
        }
    }

    // MARK: Streams

    private var exportMethod: GRPCMethod {
        .serverStreaming { [self] (call) throws(VecraftError) in
            let message = try await call.request()
            var request = try message.decodeMessage(VecraftV1.ScrollRequest.self)
            let share = try self.exports.take(1)
            defer { withExtendedLifetime(share) {} }
            while true {
                var context = try self.context(metadata: call.metadata, peer: call.peer, deadline: call.deadline)
                context.pageBytes = self.settings.exportPageBytes
                let page = try await self.read(ScrollOperation.self, request, context, on: call.eventLoop) {
                    (bytes: $0.encode(), next: $0.nextPageToken.string)
                }
                try await call.send(page.bytes)
                if page.next.isEmpty { return }
                request.pageToken = page.next
            }
        }
    }

    private var watchStatusMethod: GRPCMethod {
        .serverStreaming { [self] (call) throws(VecraftError) in
            let message = try await call.request()
            let request = try message.decodeMessage(VecraftV1.WatchStatusRequest.self)
            let interval = request.intervalMs == 0 ? 1000 : request.intervalMs
            guard (100...60_000).contains(interval) else { throw .invalid("interval_ms", "\(interval); 100 to 60000") }
            try await rethrowing {
                while !call.isCancelled {
                    try await call.send(self.currentStatus().encode())
                    try await Task.sleep(for: .milliseconds(interval))
                }
            }
        }
    }

    private var healthCheckMethod: GRPCMethod {
        .unary { [self] (call, message, out) throws(VecraftError) -> GRPCUnaryOutcome in
            let request = try GRPCHealthV1.HealthCheckRequest.decode(message)
            let status = try self.health.check(request.service)
            out.writeBytes(GRPCHealthV1.HealthCheckResponse(status: status).encode())
            return .reply
        }
    }

    private var healthWatchMethod: GRPCMethod {
        .serverStreaming { [self] (call) throws(VecraftError) in
            let message = try await call.request()
            let request = try message.decodeMessage(GRPCHealthV1.HealthCheckRequest.self)
            for await status in try self.health.watch(request.service) {
                try await call.send(GRPCHealthV1.HealthCheckResponse(status: status).encode())
            }
        }
    }
}

extension GRPCDeferredReply {
    func answer(_ result: Result<[UInt8], VecraftError>) {
        switch result {
        case .success(let bytes): self.reply(bytes)
        case .failure(let error): self.fail(error)
        }
    }
}

extension Result where Failure == VecraftError {
    var code: VecraftError.Code {
        switch self {
        case .success: .ok
        case .failure(let error): error.code
        }
    }
}

extension ByteBuffer {
    func decodeMessage<M: WireMessage>(_: M.Type) throws(VecraftError) -> M {
        let outcome: Result<M, VecraftError> = self.withUnsafeReadableBytes { raw in
            Result { () throws(VecraftError) in try M.decode(raw) }
        }
        return try outcome.get()
    }
}
