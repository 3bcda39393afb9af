import Observability
import Primitives
import Testing
import Tracing
import Wire

/// What a sink holds, as protobuf-c reads it.
extension SpanSink {
    fileprivate func spans(batches: Int = .max) throws -> [OTLPTraceV1.Span] {
        var spans: [OTLPTraceV1.Span] = []
        for _ in 0..<batches {
            guard let batch = self.take() else { break }
            let some = try OTLPTraceV1.ScopeSpans.decode(Array(batch.encoded)).spans
            #expect(some.count == batch.count)
            spans += some
        }
        return spans
    }
}

extension OTLPTraceV1.Span {
    fileprivate static func words(_ bytes: [UInt8]) -> [UInt64] {
        stride(from: 0, to: bytes.count, by: 8).map { i in bytes[i..<i + 8].reduce(0) { $0 << 8 | UInt64($1) } }
    }
    fileprivate var id: UInt64? { Self.words(self.spanID).first }
    fileprivate var parent: UInt64? { Self.words(self.parentSpanID).first }
    fileprivate var trace: TraceContext {
        let words = Self.words(self.traceID)
        return TraceContext(traceHigh: words[0], traceLow: words[1], spanID: self.id ?? 0, sampled: self.flags == 1)
    }
    fileprivate var texts: [String] {
        self.attributes.map { attribute in
            if case .stringValue(let text) = attribute.value?.value {
                "\(attribute.key)=\(text)"
            } else {
                attribute.key
            }
        }
    }
}

@Suite struct TracerTests {
    private struct Headers: Injector, Extractor {
        func inject(_ value: String, forKey key: String, into carrier: inout [String: String]) { carrier[key] = value }
        func extract(key: String, from carrier: [String: String]) -> String? { carrier[key] }
    }

    private func tracer(
        _ sampler: TraceSampler = .parentBased(root: .always), capacity: Int = 8, batch: Int = 4
    ) -> SpanTracer {
        SpanTracer(
            sink: SpanSink(capacity: capacity, batch: batch, registry: MetricsRegistry()), sampler: sampler,
            ids: TraceIDs(seed: 42))
    }

    @Test func aChildContinuesItsParentsTrace() throws {
        let tracer = self.tracer()
        tracer.withSpan("outer", ofKind: .server) { outer in
            tracer.withSpan("inner") { inner in
                #expect(inner.trace.traceLow == outer.trace.traceLow)
                #expect(inner.trace.spanID != outer.trace.spanID)
            }
        }
        let spans = try tracer.sink.spans()
        #expect(spans.map(\.name) == ["inner", "outer"])
        #expect(spans[0].parent == spans[1].id && spans[0].trace.traceLow == spans[1].trace.traceLow)
        #expect(spans[1].parent == nil)
        #expect(
            spans[0].startTimeUnixNano <= spans[0].endTimeUnixNano
                && spans[0].startTimeUnixNano > 1_700_000_000_000_000_000)
        #expect(tracer.sink.count == 0)
    }

    @Test func traceparentAndTracestateGoInAndOut() throws {
        let tracer = self.tracer()
        let incoming = [
            "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "vendor=1,other=2",
        ]
        var context = InstrumentationContext.topLevel
        tracer.extract(incoming, into: &context, using: Headers())
        let span = tracer.startSpan("work", context: context, ofKind: .server)
        var outgoing: [String: String] = [:]
        tracer.inject(span.context, into: &outgoing, using: Headers())
        #expect(outgoing["traceparent"] == "00-4bf92f3577b34da6a3ce929d0e0e4736-\(span.trace.spanIDHex)-01")
        #expect(outgoing["tracestate"] == "vendor=1,other=2")
        span.end()
        #expect(try tracer.sink.spans().first?.parent == 0x00f0_67aa_0ba9_02b7)
    }

    @Test(arguments: [
        "", "00-zz", "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ])
    func aMalformedParentBeginsANewTrace(header: String) {
        let tracer = self.tracer()
        var context = InstrumentationContext.topLevel
        tracer.extract(["traceparent": header, "tracestate": "a=b"], into: &context, using: Headers())
        #expect(context.trace == nil)
        #expect(context.traceState == nil)
    }

    @Test func anUnsampledTraceCarriesIdentifiersAndRecordsNothing() {
        let tracer = self.tracer(.never)
        let span = tracer.startSpan("quiet", context: .topLevel)
        #expect(!span.isRecording)
        #expect(!span.trace.sampled)
        var outgoing: [String: String] = [:]
        tracer.inject(span.context, into: &outgoing, using: Headers())
        #expect(outgoing["traceparent"]?.hasSuffix("-00") == true)
        span.end()
        #expect(tracer.sink.count == 0)
    }

    @Test func aRatioSamplesAboutThatPartAndFollowsTheParentWhereToldTo() {
        let high = TraceContext(traceHigh: 1, traceLow: .max, spanID: 1, sampled: true)
        let low = TraceContext(traceHigh: 1, traceLow: 0, spanID: 1, sampled: false)
        let ratio = self.tracer(.ratio(0.25))
        let sampled = (0..<4_000).filter { _ in ratio.next(nil).sampled }.count
        // Seeded, so this is one number; the bounds say why it is right.
        #expect((850...1_150).contains(sampled), "\(sampled) of 4000, seed 42")
        #expect(!ratio.next(high).sampled && ratio.next(low).sampled, "by the trace's identifier alone")
        let following = self.tracer(.parentBased(root: .ratio(0)))
        #expect(following.next(high).sampled && !following.next(low).sampled && !following.next(nil).sampled)
        #expect(self.tracer(.always).next(low).sampled && !self.tracer(.never).next(high).sampled)
        #expect(self.tracer(.ratio(1)).next(high).sampled)
    }

    @Test func aRequestsSpanGathersAndEndsOnce() throws {
        let tracer = self.tracer()
        let caller = TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: true)
        let (trace, made) = tracer.request(caller, state: { "vendor=1" }, name: "?")
        let span = try #require(made)
        #expect(span.trace == trace && trace.traceLow == 2 && trace.spanID != 3)
        span.add { $0.append(SpanField("db.collection.name", "c")) }
        let below = span.child()
        span.report(
            "append data-0", .producer, as: below, since: SystemTime.nanoseconds,
            error: VecraftError(.unavailable, "no leader"), [SpanField("vecraft.offset", 7 as UInt64)])
        span.end("upsert", .server, error: nil) { $0.append(SpanField("vecraft.tier", "batch")) }
        span.end("again", .server, error: nil) { _ in Issue.record("it has ended") }
        span.add { _ in Issue.record("it has ended") }
        let spans = try tracer.sink.spans()
        #expect(spans.map(\.name) == ["append data-0", "upsert"])
        #expect(spans[0].parent == trace.spanID && spans[0].trace == below && spans[0].status?.code == .error)
        #expect(spans[1].parent == 3 && spans[1].traceState == "vendor=1" && spans[1].status == nil)
        #expect(spans[1].texts == ["db.collection.name=c", "vecraft.tier=batch"])
        #expect(
            tracer.request(
                TraceContext(traceHigh: 1, traceLow: 2, spanID: 3, sampled: false), state: { nil }, name: "?"
            ).1 == nil)
        // Nobody ends this one.
        _ = tracer.request(nil, state: { nil }, name: "PUT /points")
        #expect(try tracer.sink.spans().map(\.name) == ["PUT /points"])
    }

    @Test func aCallersMistakeIsNoErrorOfTheServer() throws {
        let tracer = self.tracer()
        // The second is one character.
        for message in [String(repeating: "x", count: 10_000), "x" + String(repeating: "\u{301}", count: 10_000)] {
            for code in [VecraftError.Code.notFound, .unavailable] {
                let span = try #require(tracer.request(nil, state: { nil }, name: "?").1)
                span.end("get", .server, error: VecraftError(code, message))
            }
        }
        let spans = try tracer.sink.spans()
        for i in [0, 2] {
            #expect(spans[i].status == nil && spans[i + 1].status?.code == .error)
            #expect(spans[i + 1].status?.message.unicodeScalars.count == 512)
        }
    }

    @Test func aSinkWakesItsExporterWhenThereIsEnough() async {
        let sink = SpanSink(capacity: 8, batch: 3, registry: MetricsRegistry())
        let tracer = SpanTracer(sink: sink)
        for _ in 0..<3 { tracer.startSpan("s", context: .topLevel).end() }
        var fillings = sink.fillings.makeAsyncIterator()
        await fillings.next()
        #expect(sink.take()?.count == 3 && sink.count == 0)
    }

    @Test(arguments: [1, 2, 3, 512]) func aFullSinkDropsTheOldestAndCountsIt(batch: Int) throws {
        let tracer = self.tracer(capacity: 3, batch: batch)
        // Of lengths in one byte and in two.
        func name(_ i: Int) -> String { "s\(i)" + String(repeating: "+", count: i % 2 * 200) }
        for i in 0..<5 { tracer.startSpan(name(i), context: .topLevel).end() }
        #expect(tracer.sink.dropped.count == 2 && tracer.sink.finished.count == 5 && tracer.sink.count == 3)
        #expect(try tracer.sink.spans(batches: 1).map(\.name) == (2..<(batch == 2 ? 4 : 3)).map(name))
        for i in 5..<7 { tracer.startSpan(name(i), context: .topLevel).end() }
        #expect(try tracer.sink.spans().last?.name == name(6))
        #expect(tracer.sink.count == 0)
        for i in 0..<1_000 { tracer.startSpan(name(i), context: .topLevel).end() }
        #expect(try tracer.sink.spans().map(\.name) == (997..<1_000).map(name))
    }

    @Test func aSpanKeepsWhatItIsToldUntilItEnds() throws {
        struct Broken: Error {}
        let tracer = self.tracer()
        let write = TraceContext(traceHigh: 5, traceLow: 6, spanID: 7, sampled: true)
        let span = tracer.startSpan("apply", context: .topLevel, ofKind: .consumer)
        span.attributes["vecraft.partition"] = "data-0"
        span.addEvent("fetched")
        span.recordError(Broken())
        span.addLink(to: write)
        span.setStatus(SpanStatus(code: .error))
        span.operationName = "apply batch"
        span.end()
        span.end()
        span.attributes["late"] = true
        let finished = try tracer.sink.spans()
        #expect(finished.count == 1)
        let one = try #require(finished.first)
        #expect(one.name == "apply batch")
        #expect(one.kind == .consumer)
        #expect(one.events.map(\.name) == ["fetched", "exception"])
        #expect(one.links.map(\.traceID) == [[0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 6]])
        #expect(one.links.map(\.spanID) == [[0, 0, 0, 0, 0, 0, 0, 7]] && one.links.map(\.flags) == [1])
        #expect(one.status?.code == .error)
        #expect(one.texts == ["vecraft.partition=data-0"])
        let said = one.events[1].attributes.map(\.key)
        #expect(said == ["exception.message", "exception.type"] && one.events[0].timeUnixNano >= one.startTimeUnixNano)
    }

    @Test func eventsAndLinksAreBounded() throws {
        let tracer = self.tracer()
        let span = tracer.startSpan("busy", context: .topLevel)
        for i in 0..<1_000 {
            span.addEvent("e")
            span.addLink(to: TraceContext(traceHigh: 1, traceLow: UInt64(i), spanID: 1, sampled: true))
        }
        span.end()
        let one = try #require(try tracer.sink.spans().first)
        #expect(one.events.count == 128)
        #expect(one.links.count == 128)
    }

    @Test func identifiersOfOneSourceDiffer() {
        var a = TraceIDs(seed: 1)
        var b = a
        var seen: Set<UInt64> = []
        for _ in 0..<1_000 {
            seen.insert(a.next())
            seen.insert(b.next())
        }
        #expect(seen.count == 2_000)
    }
}
