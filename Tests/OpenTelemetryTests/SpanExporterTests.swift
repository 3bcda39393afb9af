import Observability
import Primitives
import Synchronization
import TestSupport
import Testing
import Tracing
import Wire

@testable import OpenTelemetry

/// Answers as it is told; then takes everything.
private final class ScriptedCollector: TraceCollector {
    private struct State {
        var script: [ExportOutcome]
        var requests: [[UInt8]] = []
        var isClosed = false
    }
    private let state: Mutex<State>
    /// Answers wait until it is opened.
    private let gate: AsyncStream<Void>?

    init(_ script: [ExportOutcome] = [], gate: AsyncStream<Void>? = nil) {
        self.state = Mutex(State(script: script))
        self.gate = gate
    }

    func send(_ request: [UInt8], timeout: Duration) async -> ExportOutcome {
        if let gate { for await _ in gate {} }
        return self.state.withLock { state in
            state.requests.append(request)
            return state.script.isEmpty ? .taken(rejected: 0, message: "") : state.script.removeFirst()
        }
    }
    func close() async { self.state.withLock { $0.isClosed = true } }

    var requests: [OTLPCollectorTraceV1.ExportTraceServiceRequest] {
        get throws {
            try self.state.withLock { $0.requests }.map { try .decode($0) }
        }
    }
    /// Names of the spans of each request.
    var names: [[String]] {
        get throws {
            try self.requests.map { $0.resourceSpans.flatMap(\.scopeSpans).flatMap(\.spans).map(\.name) }
        }
    }
    var isClosed: Bool { self.state.withLock { $0.isClosed } }
}

@Suite struct SpanExporterTests {
    private struct Parts {
        let tracer: SpanTracer
        let exporter: SpanExporter
        let metrics: SpanExportMetrics
        func spans(_ range: Range<Int>) {
            for i in range { self.tracer.startSpan("s\(i)", context: .topLevel).end() }
        }
    }

    private func parts(
        _ collector: ScriptedCollector, _ change: (inout TraceExportSettings) -> Void = { _ in }
    ) throws -> Parts {
        var settings = try #require(
            try TraceExportSettings(environment: [
                "OTEL_TRACES_EXPORTER": "otlp", "OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_BSP_MAX_QUEUE_SIZE": "8",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4", "OTEL_SERVICE_NAME": "t",
            ]))
        change(&settings)
        let registry = MetricsRegistry()
        let metrics = SpanExportMetrics(registry)
        let sink = SpanSink(capacity: settings.queue, batch: settings.batch, registry: registry)
        return Parts(
            tracer: SpanTracer(sink: sink),
            exporter: SpanExporter(settings, sink: sink, version: "1", metrics: metrics, collector: collector),
            metrics: metrics)
    }

    @Test func batchesAreSentInOrderAndTheRestInTime() async throws {
        let collector = ScriptedCollector()
        let parts = try self.parts(collector)
        parts.spans(0..<6)
        let run = Task { await parts.exporter.run() }
        try await eventually("it comes so") { parts.metrics.exported.count == 6 }
        run.cancel()
        await run.value
        #expect(try collector.names == [["s0", "s1", "s2", "s3"], ["s4", "s5"]])
        #expect(collector.isClosed && parts.tracer.sink.dropped.count == 0)
    }

    @Test func enoughSpansDoNotWaitForTheTime() async throws {
        let collector = ScriptedCollector()
        let parts = try self.parts(collector) { $0.delay = .seconds(3_600) }
        let run = Task { await parts.exporter.run() }
        parts.spans(0..<4)
        try await eventually("it comes so") { parts.metrics.exported.count == 4 }
        // What ends now is handed over at the end.
        parts.spans(4..<5)
        run.cancel()
        await run.value
        #expect(try collector.names == [["s0", "s1", "s2", "s3"], ["s4"]])
    }

    @Test func whatIsNotTakenIsSentAgainUntilItsTimeIsOver() async throws {
        let away = ExportOutcome.again(VecraftError(.unavailable, "away"))
        let collector = ScriptedCollector([away, away])
        let parts = try self.parts(collector)
        parts.spans(0..<1)
        let run = Task { await parts.exporter.run() }
        try await eventually("it comes so") { parts.metrics.exported.count == 1 }
        #expect(try collector.names == [["s0"], ["s0"], ["s0"]] && parts.metrics.failures.count == 2)
        run.cancel()
        await run.value

        let never = try self.parts(ScriptedCollector(Array(repeating: away, count: 1_000))) {
            $0.patience = .milliseconds(1)
        }
        never.spans(0..<3)
        let other = Task { await never.exporter.run() }
        try await eventually("it comes so") { never.tracer.sink.dropped.count == 3 }
        other.cancel()
        await other.value
        #expect(never.metrics.exported.count == 0)
    }

    /// A pause of centuries is none that a clock can be asked for.
    @Test func aPauseThatIsAskedForIsBounded() async throws {
        let busy = ExportOutcome.again(VecraftError(.unavailable, "busy", retryAfter: .seconds(Int64.max)))
        let parts = try self.parts(ScriptedCollector([busy]))
        parts.spans(0..<1)
        let run = Task { await parts.exporter.run() }
        try await eventually("it comes so") { parts.tracer.sink.dropped.count == 1 }
        parts.spans(0..<2)
        run.cancel()
        await run.value
        #expect(parts.metrics.failures.count == 1 && parts.metrics.exported.count == 2)
    }

    /// RFC 9110, section 10.2.3: a number of seconds, or when.
    @Test func aDateSaysHowLong() {
        let text = "Sun, 06 Nov 1994 08:49:37 GMT"
        #expect(HTTPDate.seconds(text, after: 784_111_777) == 0 && HTTPDate.seconds(text, after: 784_111_700) == 77)
        #expect(HTTPDate.seconds(text, after: 784_111_900) == 0)
        for bad in [
            "", "soon", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49 GMT",
            "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Now 1994 08:49:37 GMT", "Sun, x6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 99999999999 08:49:37 GMT", "Sun, 06 Nov 1994 08:xx:49:37 GMT", "Sun, 06 Nov 1994 08:99:37 GMT",
        ] { #expect(HTTPDate.seconds(bad, after: 0) == nil, "\(bad)") }
        // Whatever somebody writes into it: a number, and no trap.
        for odd in ["Sun, 06 Nov -2147483648 08:49:37 GMT", "Sun, 2147483647 Nov 2147483647 23:0:0 GMT"] {
            #expect(HTTPDate.seconds(odd, after: 0) ?? 0 >= 0, "\(odd)")
        }
    }

    @Test func whatIsRefusedIsLostAndCounted() async throws {
        let collector = ScriptedCollector([
            .refused(VecraftError(.unauthenticated, "who are you")), .taken(rejected: 1, message: "too old"),
        ])
        let parts = try self.parts(collector) { $0.batch = 2 }
        parts.spans(0..<4)
        let run = Task { await parts.exporter.run() }
        try await eventually("it comes so") { parts.metrics.exported.count == 1 }
        run.cancel()
        await run.value
        #expect(parts.tracer.sink.dropped.count == 3 && parts.metrics.failures.count == 1)
    }

    @Test func aCollectorThatHangsHoldsUpNoEnd() async throws {
        let (gate, open) = AsyncStream<Void>.makeStream()
        let parts = try self.parts(ScriptedCollector(gate: gate))
        parts.spans(0..<1)
        let run = Task { await parts.exporter.run() }
        try await eventually("it comes so") { parts.tracer.sink.count == 0 }
        run.cancel()
        await run.value
        #expect(parts.tracer.sink.dropped.count == 1)
        open.finish()
    }

    /// Values of every size that a varint or a length has, read back by protobuf-c.
    @Test func attributesOfEverySizeComeBack() throws {
        var values: [SpanField.Value] = [.flag(true), .flag(false), .number(0), .number(-1.5), .number(.infinity), .text("")]
        for bit in 0..<64 {
            values.append(.integer(Int64(bitPattern: 1 << UInt64(bit))))
            values.append(.integer(Int64(bitPattern: 1 << UInt64(bit) &- 1)))
        }
        for count in [1, 15, 126, 127, 128, 129, 16_383, 16_384, 70_000] {
            values.append(.text(String(repeating: "é", count: count)))
        }
        values += [.list([]), .list(values), .list([.list([.text("deep"), .integer(0)])])]
        let sink = SpanSink(registry: MetricsRegistry())
        let tracer = SpanTracer(sink: sink)
        tracer.report("a", .internal, links: [], since: 1,
            SpanFields(values.enumerated().map { SpanField("key-\($0.offset)", $0.element) }))
        tracer.report("b", .internal, links: [], since: 1, [])
        let encoding = SpanEncoding(resource: [], scope: "vecraft", version: "9")
        let decoded = try OTLPCollectorTraceV1.ExportTraceServiceRequest.decode(encoding.request(#require(sink.take())))
        let spans = decoded.resourceSpans.flatMap(\.scopeSpans).flatMap(\.spans)
        func same(_ one: OTLPCommonV1.AnyValue?, _ other: SpanField.Value) -> Bool {
            switch (one?.value, other) {
            case (.stringValue(let a), .text(let b)): a == b
            case (.boolValue(let a), .flag(let b)): a == b
            case (.intValue(let a), .integer(let b)): a == b
            case (.doubleValue(let a), .number(let b)): a == b
            case (.arrayValue(let a), .list(let b)): a.values.count == b.count && zip(a.values, b).allSatisfy { same($0, $1) }
            default: false
            }
        }
        try #require(spans.map(\.name) == ["a", "b"] && spans[0].attributes.count == values.count)
        for (i, value) in values.enumerated() {
            #expect(spans[0].attributes[i].key == "key-\(i)" && same(spans[0].attributes[i].value, value), "\(i)")
        }
        #expect(spans[1].attributes == [])
    }

    @Test func aSpanIsEncodedWhole() throws {
        let sink = SpanSink(registry: MetricsRegistry())
        let tracer = SpanTracer(sink: sink)
        let caller = TraceContext(
            traceHigh: 0x0af7_6519_16cd_43dd, traceLow: 0x8448_eb21_1c80_319c, spanID: 0xb7ad_6b71_6920_3331,
            sampled: true)
        let request = try #require(tracer.request(caller, state: { "v=1" }, name: "?").1)
        request.add { fields in
            fields.append(SpanField("n", 7))
            fields.append(SpanField("f", .flag(true)))
            fields.append(SpanField("d", .number(0.5)))
            fields.append(SpanField("l", .list([.text("a")])))
        }
        request.end("search", .server, error: VecraftError(.unavailable, "no leader")) {
            $0.append(SpanField("t", "x"))
        }
        tracer.report("apply", .consumer, links: [caller], since: SystemTime.nanoseconds, [])
        let encoding = SpanEncoding(resource: [.init(name: "service.name", value: "s")], scope: "vecraft", version: "9")
        let decoded = try OTLPCollectorTraceV1.ExportTraceServiceRequest.decode(encoding.request(#require(sink.take())))
        let all = try #require(decoded.resourceSpans.first)
        #expect(all.resource?.attributes == [.init(key: "service.name", value: .init(value: .stringValue("s")))])
        let scope = try #require(all.scopeSpans.first)
        #expect(scope.scope == .init(name: "vecraft", version: "9") && scope.spans.count == 2)
        let span = scope.spans[0]
        #expect(
            span.traceID == [
                0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd, 0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c, 0x80, 0x31, 0x9c,
            ])
        #expect(span.parentSpanID == [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31] && span.spanID.count == 8)
        #expect(span.kind == .server && span.traceState == "v=1" && span.flags == 1)
        #expect(span.startTimeUnixNano > 1_700_000_000_000_000_000 && span.endTimeUnixNano >= span.startTimeUnixNano)
        #expect(span.status == .init(message: "no leader", code: .error))
        #expect(
            span.attributes.map(\.value) == [
                .init(value: .intValue(7)), .init(value: .boolValue(true)), .init(value: .doubleValue(0.5)),
                .init(value: .arrayValue(.init(values: [.init(value: .stringValue("a"))]))),
                .init(value: .stringValue("x")),
            ])
        #expect(scope.spans[1].links.map(\.spanID) == [span.parentSpanID] && scope.spans[1].parentSpanID == [])
    }
}
