internal import HTTP
internal import Lineage
internal import Observability
internal import Primitives
internal import ShardEngine
internal import Wire

extension Gateway {
    /// Longest that a question for changes waits for one. Milliseconds.
    private static let changesWait: UInt64 = 10_000

    /// Lineage as JSON.
    var lineageRoutes: [HTTPRoute] {
        var routes: [HTTPRoute] = []
        for root in ["/v1", "/v1/tenants/{tenant}"] {
            let collection = root + "/collections/{collection}"
            routes += [
                HTTPRoute(.get, collection + "/points/{id}/lineage") { try await self.restRecord($0) },
                HTTPRoute(.post, collection + "/lineage:replay") { try await self.restReplay($0) },
            ]
        }
        let lineage = self.lineage
        return routes + [
            HTTPRoute(.get, "/v1/lineage/requests/{request}") { call in
                let limit = try call.limit()
                return try await self.restLineage(call, accepting: ["limit"]) { (deadline) async throws(VecraftError) in
                    try await lineage.request(
                        .init(requestID: call.parameter("request"), limit: limit), deadline: deadline
                    ).json()
                }
            },
            HTTPRoute(.get, "/v1/lineage/traces/{trace}") { call in
                let limit = try call.limit()
                return try await self.restLineage(call, accepting: ["limit"]) { (deadline) async throws(VecraftError) in
                    try await lineage.trace(.init(traceID: call.parameter("trace"), limit: limit), deadline: deadline)
                        .json()
                }
            },
            HTTPRoute(.get, "/v1/lineage/entries/{partition}/{offset}") { call in
                guard let offset = UInt64(call.parameter("offset")) else {
                    throw VecraftError.invalid(
                        "offset", "\"\(call.parameter("offset").prefix(64))\" is not a whole number")
                }
                return try await self.restLineage(call) { (deadline) async throws(VecraftError) in
                    try await lineage.entry(
                        .init(partition: call.parameter("partition"), offset: offset), deadline: deadline
                    ).json()
                }
            },
            HTTPRoute(.get, "/v1/lineage/reads/{request}") { call in
                try await self.restLineage(call) { (_) async throws(VecraftError) in
                    try await lineage.search(.init(requestID: call.parameter("request"))).json()
                }
            },
            HTTPRoute(.post, "/v1/lineage:between") { call in
                let request: VecraftV1.BetweenRequest = try call.message()
                return try await self.restLineage(call) { (deadline) async throws(VecraftError) in
                    try await lineage.between(request, deadline: deadline).json()
                }
            },
            HTTPRoute(.post, "/v1/lineage:cover") { call in
                let request: VecraftV1.CoverRequest = try call.message()
                return try await self.restLineage(call) { (deadline) async throws(VecraftError) in
                    try await lineage.cover(request, deadline: deadline).json(includingDefaults: true)
                }
            },
            HTTPRoute(.post, "/v1/lineage:watch") { try await self.restWatch($0) },
            HTTPRoute(.post, "/v1/lineage:verify") { call in
                try await self.restLineage(call) { (deadline) async throws(VecraftError) in
                    try await lineage.verify(.init(), deadline: deadline).json(includingDefaults: true)
                }
            },
        ]
    }

    private func restRecord(_ call: HTTPCall) async throws -> HTTPReply {
        let request = VecraftV1.RecordLineageRequest(
            collection: call.parameter("collection"), id: call.parameter("id"),
            tenant: call.optionalParameter("tenant") ?? "", withVectors: try call.query("with_vectors") == "true",
            limit: try call.limit())
        return try await self.restLineage(call, accepting: ["limit", "with_vectors"]) {
            (deadline) async throws(VecraftError) in
            try await self.lineage.record(request, deadline: deadline).json()
        }
    }

    /// All points in one answer, as far as one may reach.
    private func restReplay(_ call: HTTPCall) async throws -> HTTPReply {
        var request: VecraftV1.ReplayRequest = try call.message()
        try call.place(&request.collection, &request.tenant)
        let wanted = request
        return try await self.restLineage(call) { (deadline) async throws(VecraftError) in
            let share = try self.replays.take(1)
            defer { withExtendedLifetime(share) {} }
            let replay = try await self.lineage.replay(wanted, deadline: deadline)
            var points: [VecraftV1.StoredPoint] = []
            var whole = VecraftV1.ReplayResponse()
            var bytes = 0
            try await replay.forEachPage { (page) async throws(VecraftError) in
                bytes += page.points.reduce(0) { $0 + $1.id.utf8.count + ($1.payload?.json.count ?? 0) }
                guard bytes <= self.settings.maxReplyBytes else {
                    throw AnswerRoom.exceeded(self.settings.maxReplyBytes)
                }
                points += page.points
                whole = page
            }
            whole.points = points
            return whole.json(includingDefaults: true)
        }
    }

    /// The next changes, waited for if there are none: at most ten seconds, or the call's own time if that is shorter.
    private func restWatch(_ call: HTTPCall) async throws -> HTTPReply {
        let request: VecraftV1.WatchRequest = try call.message()
        let share = try self.watchers.take(1)
        defer { withExtendedLifetime(share) {} }
        let context = try self.context(call)
        let end = min(context.deadline, SystemTime.monotonicNanoseconds + Self.changesWait * 1_000_000)
        let watch = try self.lineage.watch(request)
        while true {
            let changes = try await Self.offTheLoop { () throws(VecraftError) in try watch.step() }
            let isSign = changes.count == 1 && changes[0].entry == nil
            guard isSign, SystemTime.monotonicNanoseconds < end else {
                var json = JSONWriter()
                json.beginObject()
                json.key("changes")
                json.beginArray()
                for change in changes where change.entry != nil { change.json().withUnsafeBytes { json.raw($0) } }
                json.endArray()
                json.key("resume_token")
                json.string(changes.last?.resumeToken ?? "")
                json.key("closed_hlc")
                json.string(String(changes.last?.closedHLC ?? 0))
                json.endObject()
                return .json(json.bytes)
            }
            await watch.wait(atMost: watch.isBehind ? .milliseconds(5) : .milliseconds(500))
        }
    }

    private func restLineage(
        _ call: HTTPCall, accepting parameters: Set<String> = [],
        _ body: @escaping @Sendable (UInt64) async throws(VecraftError) -> [UInt8]
    ) async throws -> HTTPReply {
        let context = try self.context(call, accepting: parameters)
        let bytes: [UInt8] = try await self.timed(context, self.operations.lineage) { done in
            do throws(VecraftError) {
                try self.jobs.submit {
                    done(await context.asTask { () async throws(VecraftError) in try await body(context.deadline) })
                }
            } catch {
                done(.failure(error))
            }
        }
        guard bytes.count <= self.settings.maxReplyBytes else { throw AnswerRoom.exceeded(self.settings.maxReplyBytes) }
        return .json(bytes)
    }
}
