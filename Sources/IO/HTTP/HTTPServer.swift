import Hummingbird
import HummingbirdCore
import HummingbirdTLS
package import Logging
package import NIOCore
import NIOPosix
package import Observability
import Primitives
import ServiceLifecycle

/// The HTTP/1.1 server: routes in, answers out; transport by Hummingbird, everything a client can observe decided here.
package final class HTTPServer: Service {
    private let settings: HTTPServerSettings
    private let group: ServiceGroup
    private let dispatcher: HTTPDispatcher

    /// - Parameters:
    ///   - routes: All of them; two of one method and path trap.
    ///   - isStarting: More come with ``complete(with:)``; until then other paths are answered with UNAVAILABLE.
    ///   - ids: Draws request ids.
    ///   - onBound: Told the port once connections are accepted.
    package init(
        _ settings: HTTPServerSettings, routes: [HTTPRoute], isStarting: Bool = false, registry: MetricsRegistry,
        ids: TraceIDs = TraceIDs(), eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, logger: Logger,
        onBound: @escaping @Sendable (_ port: Int) async -> Void
    ) throws {
        self.settings = settings
        let dispatcher = HTTPDispatcher(
            routes, isStarting: isStarting, settings: settings, metrics: HTTPMetrics(registry), ids: ids, logger: logger)
        self.dispatcher = dispatcher
        let maximumBodyBytes = settings.maximumBodyBytes
        var http1 = HTTP1Channel.Configuration(
            additionalChannelHandlers: [ContinueHandler(maximumBodyBytes: maximumBodyBytes)],
            idleTimeout: settings.idleTimeout)
        // 16 KiB is what common servers take in one header; a bearer token with many claims fits.
        http1.httpDecoder = .init(maxHeaderFieldSize: 16 << 10, maxHeaderListSize: 64 << 10, maxHeaderFieldCount: 200)
        var server = HTTPServerBuilder.http1(configuration: http1)
        if let tls = settings.tls { server = try .tls(server, tlsConfiguration: tls) }
        // The transport's own messages are about connections; what matters of requests is logged by the dispatcher.
        var quiet = logger
        quiet.logLevel = max(logger.logLevel, .warning)
        let application = Application(
            responder: dispatcher, server: server,
            configuration: ApplicationConfiguration(
                address: .hostname(settings.host, port: settings.port), serverName: "vecraft", backlog: 1_024,
                availableConnectionsDelegate: MaximumAvailableConnections(settings.maximumConnections, logger: quiet)),
            onServerRunning: { channel in await onBound(channel.localAddress?.port ?? settings.port) },
            eventLoopGroupProvider: .shared(eventLoops), logger: quiet)
        var configuration = ServiceGroupConfiguration(
            services: [
                .init(
                    service: application, successTerminationBehavior: .gracefullyShutdownGroup,
                    failureTerminationBehavior: .cancelGroup)
            ], logger: quiet)
        configuration.maximumGracefulShutdownDuration = settings.drainTimeout
        self.group = ServiceGroup(configuration: configuration)
    }

    /// Serves until ``shutDown()``, a graceful shutdown of the surrounding service group, or cancellation. Once.
    /// - Throws: `.failedPrecondition` if the address cannot be listened on.
    package func run() async throws {
        do {
            try await self.group.run()
        } catch let error as IOError {
            throw VecraftError(
                .failedPrecondition,
                "cannot listen for HTTP on \(self.settings.host):\(self.settings.port): \(error.localizedDescription)",
                field: "http.port")
        }
    }

    /// Adds the routes of a server that began before they could be answered.
    package func complete(with routes: [HTTPRoute]) { self.dispatcher.complete(with: routes) }

    /// Stops accepting, closes idle connections, lets requests under way finish within the drain timeout; ``run()``
    /// then returns.
    package func shutDown() async { await self.group.triggerGracefulShutdown() }
}
