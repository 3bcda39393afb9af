internal import Foundation
internal import Logging
internal import Observability
internal import OpenTelemetry
internal import Primitives
internal import ServiceHost

/// Spans of this process, where the environment says that they go somewhere.
struct NodeTraces: Sendable {
    let tracer: SpanTracer
    private let exporting: Task<Void, Never>

    /// Nil: nothing is recorded.
    /// - Throws: INVALID_ARGUMENT with the variable as field.
    static func begin(_ node: ServedNode) throws(VecraftError) -> NodeTraces? {
        let process = ProcessInfo.processInfo
        guard var settings = try TraceExportSettings(environment: process.environment) else { return nil }
        let own = node.settings
        let name = own.node.name.isEmpty ? process.hostName : own.node.name
        settings.complete([
            ("service.name", "vecraft"), ("db.system.name", "vecraft"),
            ("service.namespace", own.cluster.isClustered ? own.cluster.id : ""),
            ("service.version", Build.version), ("service.instance.id", "\(name)/\(own.node.dataDirectory)"),
            ("vecraft.node", name), ("vecraft.roles", own.node.roles.map(\.rawValue).joined(separator: ",")),
            ("host.name", process.hostName),
            ("telemetry.sdk.name", "vecraft"), ("telemetry.sdk.language", "swift"),
            ("telemetry.sdk.version", Build.version),
        ])
        let sink = SpanSink(capacity: settings.queue, batch: settings.batch, registry: node.registry)
        let exporter = try SpanExporter(
            settings, sink: sink, version: Build.version, registry: node.registry, group: node.group)
        let tracer = SpanTracer(sink: sink, sampler: settings.sampler)
        tracer.bootstrap()
        for warning in settings.warnings { node.log.warning("\(warning)") }
        node.log.notice(
            "spans are exported",
            metadata: ["collector": "\(settings.host):\(settings.port)", "protocol": "\(settings.transport)"])
        return NodeTraces(tracer: tracer, exporting: Task { await exporter.run() })
    }

    /// Hands over what is left; bounded by the exporter.
    func end() async {
        self.exporting.cancel()
        await self.exporting.value
    }
}
