internal import Logging
internal import Observability
internal import Primitives
internal import Tracing
internal import Wire

/// One line a request at level `debug`, and at `error` for a request that failed by a fault of ours.
private let requestLog = Logger(label: "vecraft.request")
/// A flood of faults must not become a flood of lines.
private let faultLines = LineBudget(perSecond: 10)

extension RequestContext {
    /// Takes its place in the caller's trace, or begins one. Without a tracer the caller's trace is passed on as it is.
    ///
    /// - Parameter name: Of a span that nobody ends.
    mutating func begin(_ tracer: SpanTracer?, _ name: @autoclosure () -> String, state: () -> String?) {
        guard let tracer else { return }
        (self.trace, self.span) = tracer.request(self.trace, state: state, name: name())
    }

    /// For code that runs as a task: its lines of the log, and what it asks of other nodes.
    var instrumentation: InstrumentationContext {
        var context = InstrumentationContext.topLevel
        context.trace = self.trace
        context.traceState = self.span?.traceState
        return context
    }

    func asTask<R: Sendable>(
        _ body: @escaping @Sendable () async throws(VecraftError) -> R
    ) async -> Result<R, VecraftError> {
        await InstrumentationContext.withValue(self.instrumentation) {
            do throws(VecraftError) { return .success(try await body()) } catch { return .failure(error) }
        }
    }

    /// Whose line of the log it is.
    var logFields: Logger.Metadata {
        var fields: Logger.Metadata = [:]
        if !self.requestID.isEmpty { fields["request_id"] = "\(self.requestID)" }
        if let trace = self.trace {
            fields["trace_id"] = "\(trace.traceIDHex)"
            fields["span_id"] = "\(trace.spanIDHex)"
        }
        return fields
    }

    /// It is answered: its span ends, and its line is written where lines of requests are.
    @inline(__always)
    func answered(
        _ operation: String, _ tier: Tier, _ level: ConsistencyLabel, _ error: VecraftError?, since start: UInt64
    ) {
        if let span = self.span { self.end(span, operation, tier, level, error) }
        if error.map(Self.isFault) ?? false || requestLog.logLevel <= .debug {
            self.log(operation, tier, level, error, since: start)
        }
    }

    /// Of another node's question.
    /// - Parameter method: With its service.
    func answeredPart(_ operation: @autoclosure () -> String, _ method: StaticString, _ error: VecraftError?) {
        if let span = self.span {
            span.end(operation(), .server, error: error) { fields in
                fields.append(SpanField("rpc.method", "\(method)"))
                if !self.requestID.isEmpty { fields.append(SpanField("vecraft.request_id", self.requestID)) }
            }
        }
        if let error, Self.isFault(error) {
            self.log(operation(), .interactive, .none, error, since: self.arrived)
        }
    }

    private static func isFault(_ error: VecraftError) -> Bool {
        error.code == .internalError || error.code == .dataLoss || error.code == .unknown
    }

    @inline(never)
    private func end(
        _ span: RequestSpan, _ operation: String, _ tier: Tier, _ level: ConsistencyLabel, _ error: VecraftError?
    ) {
        // OpenTelemetry's names for databases and calls; ours for what they have none for.
        span.end(operation, .server, error: error) { fields in
            fields.append(SpanField("db.operation.name", operation))
            fields.append(SpanField("vecraft.tier", tier.label))
            if level != .none { fields.append(SpanField("vecraft.consistency", level.text)) }
            if !self.requestID.isEmpty { fields.append(SpanField("vecraft.request_id", self.requestID)) }
            if let error { fields.append(SpanField("error.type", error.reason ?? error.code.name)) }
        }
    }

    @inline(never)
    private func log(
        _ operation: String, _ tier: Tier, _ level: ConsistencyLabel, _ error: VecraftError?, since start: UInt64
    ) {
        let isFault = error.map(Self.isFault) ?? false
        guard !isFault || faultLines.take() else { return }
        var fields = self.logFields
        fields["operation"] = "\(operation)"
        fields["tier"] = "\(tier.label)"
        if level != .none { fields["level"] = "\(level.text)" }
        fields["total_ms"] = "\(Double((SystemTime.monotonicNanoseconds &- start) / 10_000) / 100)"
        fields["status"] = "\(error?.code.name ?? VecraftError.Code.ok.name)"
        if let error { fields["error"] = "\(error.message)" }
        requestLog.log(level: isFault ? .error : .debug, isFault ? "request failed" : "request", metadata: fields)
    }
}

extension RequestSpan {
    /// What a request is about.
    func place(tenant: String, collection: String) {
        // Before anybody has looked at them they may be of any length.
        self.add { fields in
            fields.append(SpanField("db.namespace", Self.cut(tenant)))
            fields.append(SpanField("db.collection.name", Self.cut(collection)))
        }
    }

    private static func cut(_ name: String) -> String {
        // By scalars: a character may be of any length.
        name.utf8.count <= 128 ? name : String(String.UnicodeScalarView(name.unicodeScalars.prefix(128)))
    }

    /// A stage of the request that ends now.
    /// - Parameter start: By the monotonic clock, nanoseconds.
    func stage(_ name: String, since start: UInt64, error: VecraftError? = nil, _ fields: SpanFields = []) {
        let spent = SystemTime.monotonicNanoseconds &- start
        let now = SystemTime.nanoseconds
        self.report(name, .internal, as: self.child(), since: now - min(spent, now), error: error, fields)
    }
}

extension Result where Failure == VecraftError {
    var failure: VecraftError? {
        if case .failure(let error) = self { error } else { nil }
    }
}

extension Gateway {
    /// What a read is about, for its span.
    @inline(__always)
    func traced<Op: ReadOperation>(_: Op.Type, _ request: Op.Request, _ context: RequestContext) {
        guard let span = context.span else { return }
        let place = Op.place(request)
        span.place(tenant: place.tenant.isEmpty ? "default" : place.tenant.string, collection: place.collection.string)
    }

    /// What an answer was made from, for its span.
    @inline(never)
    func trace<Op: ReadOperation>(_: Op.Type, _ reply: Op.Reply, _ span: RequestSpan, _ origins: [ReadOrigin]?) {
        let view = reply.view
        span.add { fields in
            if let info = Op.info(of: view) {
                if info.stalenessMs > 0 { fields.append(SpanField("vecraft.staleness_ms", UInt64(info.stalenessMs))) }
                if info.syncPerformed { fields.append(SpanField("vecraft.waited_for_replay", .flag(true))) }
                if let version = info.indexVersion.first {
                    fields.append(SpanField("vecraft.partition", version.partition.string))
                    fields.append(SpanField("vecraft.index_version", version.offset))
                }
            }
            Op.stages(of: view, into: &fields)
            if let origins { fields.append(SpanField("vecraft.nodes_asked", Set(origins.map(\.node)).count)) }
        }
    }
}
