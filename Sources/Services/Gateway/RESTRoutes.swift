package import HTTP
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import Primitives
internal import ShardEngine
internal import Wire

extension Gateway {
    /// The public API as JSON. Every path stands twice: under a tenant, and short for the tenant "default".
    package func routes() -> [HTTPRoute] {
        var routes: [HTTPRoute] = []
        for root in ["/v1", "/v1/tenants/{tenant}"] {
            let collection = root + "/collections/{collection}"
            routes += [
                HTTPRoute(.get, root + "/collections") { try await self.restList($0) },
                HTTPRoute(.put, collection) { try await self.restCreate($0) },
                HTTPRoute(.get, collection) { try await self.restDescribe($0) },
                HTTPRoute(.patch, collection) { try await self.restUpdate($0) },
                HTTPRoute(.delete, collection) { try await self.restDrop($0) },
                HTTPRoute(.put, collection + "/points") { try await self.restUpsert($0) },
                HTTPRoute(.post, collection + "/points") { try await self.restGetMany($0) },
                HTTPRoute(.get, collection + "/points/{id}") { try await self.restGetOne($0) },
                HTTPRoute(.delete, collection + "/points/{id}") { try await self.restDeleteOne($0) },
                HTTPRoute(.post, collection + "/points:search") { try await self.restSearch($0) },
                HTTPRoute(.post, collection + "/points:count") { try await self.restCount($0) },
                HTTPRoute(.post, collection + "/points:scroll") { try await self.restScroll($0) },
                HTTPRoute(.post, collection + "/points:delete") { try await self.restDelete($0) },
            ]
        }
        routes += self.lineageRoutes
        routes += [
            HTTPRoute(.get, "/v1/status") { call in
                try call.refuseQuery(except: [])
                return .json(self.currentStatus().json(includingDefaults: true))
            }
        ]
        return routes
    }

    // MARK: Collections

    private func restCreate(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        let config: VecraftV1.CollectionConfig = try call.message()
        let request = VecraftV1.CreateCollectionRequest(
            name: call.parameter("collection"), config: config, tenant: call.optionalParameter("tenant") ?? "")
        let response = try await self.timedChange(context, self.operations.createCollection) { done in
            self.createCollection(request, context, completion: done)
        }
        return .json(response.json(), status: response.write == nil ? 200 : 201)
    }

    private func restUpdate(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        var request: VecraftV1.UpdateCollectionRequest = try call.message()
        let (name, tenant) = (call.parameter("collection"), call.optionalParameter("tenant") ?? "default")
        guard request.name.isEmpty || request.name == name else {
            throw VecraftError.invalid("name", "the body says \"\(request.name.prefix(64))\", the path \"\(name)\"")
        }
        guard request.tenant.isEmpty || request.tenant == tenant else {
            throw VecraftError.invalid(
                "tenant", "the body says \"\(request.tenant.prefix(64))\", the path \"\(tenant)\"")
        }
        (request.name, request.tenant) = (name, tenant)
        let wanted = request
        let response = try await self.timedChange(context, self.operations.updateCollection) { done in
            self.updateCollection(wanted, context, completion: done)
        }
        return .json(response.json())
    }

    private func restDrop(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        let request = VecraftV1.DropCollectionRequest(
            name: call.parameter("collection"), tenant: call.optionalParameter("tenant") ?? "")
        let response = try await self.timedChange(context, self.operations.dropCollection) { done in
            self.dropCollection(request, context, completion: done)
        }
        return .json(response.json())
    }

    private func restDescribe(_ call: HTTPCall) async throws -> HTTPReply {
        let request = VecraftV1.DescribeCollectionRequest(
            name: call.parameter("collection"), tenant: call.optionalParameter("tenant") ?? "")
        let context = try self.context(call)
        let response = try await self.timed(context, self.operations.describeCollection) { done in
            done(Result { () throws(VecraftError) in try self.describeCollection(request) })
        }
        return .json(response.json(includingDefaults: true))
    }

    private func restList(_ call: HTTPCall) async throws -> HTTPReply {
        let request = VecraftV1.ListCollectionsRequest(tenant: call.optionalParameter("tenant") ?? "")
        let context = try self.context(call)
        let response = try await self.timed(context, self.operations.listCollections) { done in
            done(Result { () throws(VecraftError) in try self.listCollections(request) })
        }
        return .json(response.json(includingDefaults: true))
    }

    // MARK: Points

    private func restUpsert(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        var request: VecraftV1.UpsertRequest = try call.message()
        try call.place(&request.collection, &request.tenant)
        let response = try await self.upsert(request, context)
        return .json(response.json()).session(response.write?.sessionToken)
    }

    private func restDelete(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        var request: VecraftV1.DeleteRequest = try call.message()
        try call.place(&request.collection, &request.tenant)
        let response = try await self.delete(request, context)
        return .json(response.json()).session(response.write?.sessionToken)
    }

    private func restDeleteOne(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        let request = VecraftV1.DeleteRequest(
            collection: call.parameter("collection"), ids: [call.parameter("id")],
            tenant: call.optionalParameter("tenant") ?? "")
        let response = try await self.delete(request, context)
        return .json(response.json()).session(response.write?.sessionToken)
    }

    private func restGetMany(_ call: HTTPCall) async throws -> HTTPReply {
        try await self.restRead(GetOperation.self, call) { (request: inout VecraftV1.GetRequest) throws(VecraftError) in
            try call.place(&request.collection, &request.tenant)
            request.read = try call.readOptions(request.read)
        }
    }

    private func restGetOne(_ call: HTTPCall) async throws -> HTTPReply {
        let context = try self.context(call)
        var request = VecraftV1.GetRequest(
            collection: call.parameter("collection"), ids: [call.parameter("id")], withVectors: true,
            tenant: call.optionalParameter("tenant") ?? "")
        request.read = try call.readOptions(nil)
        let response = try await self.read(GetOperation.self, request, context, on: self.anyLoop) {
            VecraftV1.GetResponse($0)
        }
        guard let point = response.points.first else {
            throw VecraftError(
                .notFound, "there is no point \"\(call.parameter("id"))\"", field: "id", reason: "POINT_NOT_FOUND")
        }
        return HTTPReply.json(point.json()).adding("etag", "\"\(point.version)\"").session(response.info?.sessionToken)
    }

    private func restSearch(_ call: HTTPCall) async throws -> HTTPReply {
        try await self.restRead(SearchOperation.self, call) {
            (request: inout VecraftV1.SearchRequest) throws(VecraftError) in
            try call.place(&request.collection, &request.tenant)
            request.read = try call.readOptions(request.read)
        }
    }

    private func restCount(_ call: HTTPCall) async throws -> HTTPReply {
        try await self.restRead(CountOperation.self, call) {
            (request: inout VecraftV1.CountRequest) throws(VecraftError) in
            try call.place(&request.collection, &request.tenant)
            request.read = try call.readOptions(request.read)
        }
    }

    private func restScroll(_ call: HTTPCall) async throws -> HTTPReply {
        try await self.restRead(ScrollOperation.self, call) {
            (request: inout VecraftV1.ScrollRequest) throws(VecraftError) in
            try call.place(&request.collection, &request.tenant)
            request.read = try call.readOptions(request.read)
        }
    }

    private func restRead<Op: ReadOperation, Message: WireMessage>(
        _: Op.Type, _ call: HTTPCall, _ complete: (inout Message) throws(VecraftError) -> Void
    ) async throws -> HTTPReply where Message.Builder.View == Op.Request {
        let context = try self.context(call)
        let request = try self.noting(Op.self, call, context) { () throws(VecraftError) in
            var request: Message = try call.message()
            try complete(&request)
            return request
        }
        let limit = self.settings.maxReplyBytes
        let (bytes, session) = try await self.read(Op.self, request, context, on: self.anyLoop) { reply in
            (reply.json(includingDefaults: true, upTo: limit), Op.info(of: reply).map { [UInt8]($0.sessionToken) })
        }
        guard let bytes else { throw AnswerRoom.exceeded(limit) }
        return HTTPReply.json(bytes).session(session)
    }

    // MARK: Helpers

    private var anyLoop: any EventLoop { MultiThreadedEventLoopGroup.singleton.any() }

    func timed<R: Sendable>(
        _ context: RequestContext, _ metrics: OperationMetrics,
        _ body: (@escaping @Sendable (Result<R, VecraftError>) -> Void) -> Void
    ) async throws(VecraftError) -> R {
        let result = await withCheckedContinuation { continuation in
            body { continuation.resume(returning: $0) }
        }
        metrics.record(context, .background, result, since: context.arrived)
        return try result.get()
    }

    private func timedChange<R: Sendable>(
        _ context: RequestContext, _ metrics: OperationMetrics,
        _ body: (@escaping @Sendable (Result<R, VecraftError>) -> Void) -> Void
    ) async throws(VecraftError) -> R {
        let result = await BoundedWait.until(context.wireDeadline, on: self.anyLoop, body)
        metrics.record(context, .background, result, since: context.arrived)
        return try result.get()
    }

    /// - Parameter parameters: Of the query, those the route reads; others are refused, for they would do nothing.
    func context(
        _ call: HTTPCall, accepting parameters: Set<String> = []
    ) throws(VecraftError) -> RequestContext {
        try call.refuseQuery(except: parameters)
        var wish: Duration?
        if let text = call.header("x-vecraft-timeout-ms") {
            guard let milliseconds = UInt32(text), milliseconds > 0 else {
                throw .invalid("x-vecraft-timeout-ms", "must be a whole number of milliseconds above 0")
            }
            wish = .milliseconds(milliseconds)
        }
        var context = try RequestContext(
            deadline: self.deadline(arrived: call.receivedAt, wish: wish), arrived: call.receivedAt,
            peer: call.peer ?? "", { call.header($0) })
        context.requestID = call.requestID
        context.requestBytes = call.body.readableBytes
        context.answersText = true
        context.trace = call.trace
        context.begin(self.tracer, "\(call.verb.rawValue) \(call.route)") { call.traceState }
        return context
    }
}

extension HTTPCall {
    /// The body as a message; an empty body is an empty message.
    func message<Message: WireMessage>() throws(VecraftError) -> Message {
        try self.withBody { (raw) throws(VecraftError) in
            raw.isEmpty ? try Message(json: "{}") : try Message(json: raw)
        }
    }

    func refuseQuery(except known: Set<String>) throws(VecraftError) {
        guard !self.queryText.isEmpty else { return }
        for (name, _) in try self.query() where !known.contains(name) {
            throw .invalid(String(name.prefix(64)), "is not a query parameter of \(self.route)")
        }
    }

    /// `?limit=`; 0 if it does not stand there.
    func limit() throws(VecraftError) -> UInt32 {
        guard let text = try self.query("limit") else { return 0 }
        guard let limit = UInt32(text), limit > 0 else {
            throw .invalid("limit", "\"\(text.prefix(64))\" is not a whole number above 0")
        }
        return limit
    }

    /// Puts the path's collection and tenant into a message; a body that says others is a mistake.
    func place(_ collection: inout String, _ tenant: inout String) throws(VecraftError) {
        let fromPath = (self.parameter("collection"), self.optionalParameter("tenant") ?? "default")
        guard collection.isEmpty || collection == fromPath.0 else {
            throw .invalid("collection", "the body says \"\(collection.prefix(64))\", the path \"\(fromPath.0)\"")
        }
        guard tenant.isEmpty || tenant == fromPath.1 else {
            throw .invalid("tenant", "the body says \"\(tenant.prefix(64))\", the path \"\(fromPath.1)\"")
        }
        (collection, tenant) = fromPath
    }

    /// `X-Vecraft-Consistency` counts where the body does not say.
    fileprivate func readOptions(_ body: VecraftV1.ReadOptions?) throws(VecraftError) -> VecraftV1.ReadOptions? {
        guard let text = self.header("x-vecraft-consistency") else { return body }
        guard let level = ConsistencyLevel.allCases.first(where: { $0.name == text.lowercased() }) else {
            throw .invalid(
                "x-vecraft-consistency", "\"\(text.prefix(64))\" is none of eventual, bounded, read_your_writes, strong"
            )
        }
        var options = body ?? VecraftV1.ReadOptions()
        if options.consistency == .unspecified { options.consistency = VecraftV1.ConsistencyLevel(level) }
        return options
    }
}

extension HTTPReply {
    fileprivate func session(_ token: [UInt8]?) -> HTTPReply {
        guard let token, !token.isEmpty else { return self }
        return self.adding("x-vecraft-session", Base64Text.encode(token))
    }
}
