internal import Logging
package import NIOPosix
package import Observability
package import Primitives
internal import Synchronization

/// Takes ended spans out of a ``SpanSink`` and sends them to a collector, in batches, one at a time.
///
/// Never in a request's way: spans wait in the sink, whose oldest are dropped when the collector is slow. A batch that is not taken
/// is sent again with growing waits until its time is over, and then lost. Both are counted in
/// `vecraft_trace_spans_dropped_total`.
package final class SpanExporter: Sendable {
    /// What an orderly end may take to hear of the batch under way, and as much again to hand over the last spans.
    package static let lastWords = Duration.seconds(2)

    /// A collector that asks for more is asked again after that.
    static let longestPause = Duration.seconds(300)

    private let settings: TraceExportSettings
    private let sink: SpanSink
    private let encoding: SpanEncoding
    private let collector: any TraceCollector
    private let exported: Counter
    private let failures: Counter
    private let log = Logger(label: "vecraft.traces")
    /// What was wrong last; said once, and once when it is over. Not more often than once in ``quiet``.
    private let trouble: Mutex<(why: String?, said: ContinuousClock.Instant?)> = Mutex((nil, nil))
    private static let quiet = Duration.seconds(10)
    /// The collector asked to be left alone until then.
    private let notBefore: Mutex<ContinuousClock.Instant?> = Mutex(nil)

    /// - Parameters:
    ///   - settings: With the process's own resource attributes.
    ///   - version: Of the program.
    /// - Throws: INVALID_ARGUMENT if a certificate cannot be used.
    package convenience init(
        _ settings: TraceExportSettings, sink: SpanSink, version: String, registry: MetricsRegistry,
        group: MultiThreadedEventLoopGroup
    ) throws(VecraftError) {
        let collector: any TraceCollector =
            switch settings.transport {
            case .grpc: try GRPCTraceCollector(settings, group: group)
            case .http: try HTTPTraceCollector(settings, group: group)
            }
        self.init(settings, sink: sink, version: version, metrics: SpanExportMetrics(registry), collector: collector)
    }

    init(
        _ settings: TraceExportSettings, sink: SpanSink, version: String, metrics: SpanExportMetrics,
        collector: any TraceCollector
    ) {
        self.settings = settings
        self.sink = sink
        self.encoding = SpanEncoding(resource: settings.resource, scope: "vecraft", version: version)
        self.exported = metrics.exported
        self.failures = metrics.failures
        self.collector = collector
    }

    /// Until cancelled; then what is left is handed over, within twice ``lastWords``.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            // Two reasons to look: enough spans, or long enough since.
            let (looks, look) = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
            group.addTask { for await _ in self.sink.fillings { look.yield() } }
            group.addTask {
                while !Task.isCancelled {
                    do { try await Task.sleep(for: self.settings.delay) } catch { break }
                    look.yield()
                }
                look.finish()
            }
            group.addTask { for await _ in looks { await self.exportAll() } }
        }
        // Not of the cancelled task: what it asks would fail at once.
        await Task { await self.handOver() }.value
        await self.collector.close()
    }

    private func handOver() async {
        let end = ContinuousClock.now + Self.lastWords
        while ContinuousClock.now < end {
            guard let batch = self.sink.take() else { return }
            await self.export(batch, until: end)
        }
        self.lose(self.sink.count, "the node ends")
    }

    private func exportAll() async {
        while !Task.isCancelled {
            if let end = self.notBefore.withLock({ $0 }) {
                do { try await Task.sleep(until: end, clock: .continuous) } catch { return }
                self.notBefore.withLock { $0 = nil }
            }
            guard let batch = self.sink.take() else { return }
            await self.export(batch, until: ContinuousClock.now + self.settings.patience)
            // Less than a batch is left to the next look: a trickle of spans is not a request each.
            if self.sink.count < self.settings.batch { return }
        }
    }

    private func export(_ batch: SpanBatch, until end: ContinuousClock.Instant) async {
        let request = self.encoding.request(batch)
        var pause = Duration.milliseconds(500)
        while true {
            switch await self.send(request, until: end) {
            case .taken(let rejected, let message):
                let lost = Int(clamping: min(rejected, UInt64(batch.count)))
                self.exported.increment(by: UInt64(batch.count - lost))
                if lost > 0 { self.lose(lost, "the collector rejected some: \(message)") } else { self.recovered() }
                return
            case .refused(let error):
                self.failures.increment()
                return self.lose(batch.count, error.message)
            case .again(let error):
                self.failures.increment()
                // At random, so that the nodes of a cluster do not come back all at once.
                let wait = max(pause * Double.random(in: 0.8...1.2), min(error.retryAfter ?? .zero, Self.longestPause))
                if error.retryAfter != nil { self.notBefore.withLock { $0 = ContinuousClock.now + wait } }
                guard ContinuousClock.now + wait < end, !Task.isCancelled else {
                    return self.lose(batch.count, error.message)
                }
                self.say(error.message)
                do { try await Task.sleep(for: wait) } catch {}
                pause = min(pause * 2, .seconds(5))
            }
        }
    }

    /// Whoever cancels waits for the batch under way, but not for long.
    private func send(_ request: [UInt8], until end: ContinuousClock.Instant) async -> ExportOutcome {
        let (outcomes, outcome) = AsyncStream<ExportOutcome>.makeStream(bufferingPolicy: .bufferingOldest(1))
        let timeout = max(.milliseconds(1), min(self.settings.timeout, end - ContinuousClock.now))
        let sending = Task { outcome.yield(await self.collector.send(request, timeout: timeout)) }
        let tooLate = ExportOutcome.again(VecraftError(.cancelled, "the node ends"))
        return await withTaskCancellationHandler {
            await Task {
                for await outcome in outcomes { return outcome }
                return tooLate
            }.value
        } onCancel: {
            Task {
                try? await Task.sleep(for: Self.lastWords)
                outcome.yield(tooLate)
                sending.cancel()
            }
        }
    }

    private func lose(_ count: Int, _ why: String) {
        guard count > 0 else { return }
        self.sink.dropped.increment(by: UInt64(count))
        self.say(why)
    }

    private func say(_ why: String) {
        let isNew = self.trouble.withLock { trouble in
            let isNew = trouble.why == nil && trouble.said.map { $0 + Self.quiet < .now } ?? true
            trouble.why = why
            if isNew { trouble.said = .now }
            return isNew
        }
        guard isNew else { return }
        self.log.warning(
            "spans are not taken by the collector",
            metadata: ["collector": "\(self.settings.host):\(self.settings.port)", "why": "\(why)"])
    }

    private func recovered() {
        guard
            self.trouble.withLock({ trouble in
                defer { trouble.why = nil }
                return trouble.why != nil
            })
        else { return }
        self.log.info("spans are taken again")
    }
}

/// Metrics of the export of spans.
package struct SpanExportMetrics: Sendable {
    /// Spans that a collector took.
    package let exported: Counter
    /// Requests to the collector that failed.
    package let failures: Counter

    package init(_ registry: MetricsRegistry) {
        self.exported = registry.counter(
            "vecraft_trace_spans_exported_total", help: "Sampled spans that the collector took.")
        self.failures = registry.counter(
            "vecraft_trace_export_failures_total",
            help: "Requests to the collector of spans that failed; most are repeated.")
    }
}
