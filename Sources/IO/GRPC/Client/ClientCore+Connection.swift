import NIOCore
import NIOHTTP2
import NIOPosix
import NIOSSL
import Primitives

/// The connection of the client: made, lost and made again. On the loop.
extension ClientCore {
    func addConnectWaiter(_ waiter: CheckedContinuation<VecraftError?, Never>) {
        switch self.link {
        case .ready: waiter.resume(returning: nil)
        case .closed: waiter.resume(returning: ClientCore.closed)
        case .connecting: self.connectWaiters.append(waiter)
        case .idle, .waiting:
            self.connectWaiters.append(waiter)
            self.beginConnecting()
        }
    }

    func beginConnecting() {
        self.link = .connecting
        let channel = ClientBootstrap(group: self.eventLoop)
            .connectTimeout(TimeAmount(self.settings.connectTimeout))
            .channelOption(.socketOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in channel.eventLoop.makeCompletedFuture { try self.prepare(channel) } }
            .connect(host: self.host, port: self.port)
        channel.assumeIsolated().whenComplete { result in
            switch result {
            case .success(let channel): self.adopt(channel)
            case .failure(let error): self.connectFailed("\(error)")
            }
        }
    }

    private func prepare(_ channel: any Channel) throws {
        let pipeline = channel.pipeline.syncOperations
        if let tls = self.tls {
            try pipeline.addHandler(NIOSSLClientHandler(context: tls, serverHostname: self.serverName))
        }
        var configuration = NIOHTTP2Handler.ConnectionConfiguration()
        configuration.initialSettings = [
            HTTP2Setting(parameter: .enablePush, value: 0),
            HTTP2Setting(parameter: .maxConcurrentStreams, value: 0),
            HTTP2Setting(parameter: .maxHeaderListSize, value: self.settings.maxHeaderListBytes),
            HTTP2Setting(parameter: .initialWindowSize, value: self.settings.streamWindowBytes),
            HTTP2Setting(parameter: .maxFrameSize, value: 64 << 10),
        ]
        configuration.headerBlockValidation = .disabled
        configuration.contentLengthValidation = .disabled
        configuration.maximumRecentlyResetStreams = 1_000
        configuration.maximumSequentialEmptyDataFrames = 8
        configuration.controlFrameRateLimit.maximumCount = 2_000
        configuration.controlFrameRateLimit.windowLength = .milliseconds(200)
        var stream = NIOHTTP2Handler.StreamConfiguration()
        stream.streamResetFrameRateLimit.maximumCount = 20_000
        stream.streamResetFrameRateLimit.windowLength = .seconds(1)
        try pipeline.addHandler(
            NIOHTTP2Handler(mode: .client, connectionConfiguration: configuration, streamConfiguration: stream))
        try pipeline.addHandler(ClientConnection(core: self, isTLS: self.tls != nil))
    }

    /// Takes the channel that won: a name with several addresses is tried at all of them, and the others are closed.
    private func adopt(_ channel: any Channel) {
        guard case .connecting = self.link,
            let connection = try? channel.pipeline.syncOperations.handler(type: ClientConnection.self)
        else { return channel.close(promise: nil) }
        connection.isAdopted = true
        self.connections[ObjectIdentifier(connection)] = connection
        channel.closeFuture.assumeIsolated().whenComplete { _ in self.connectionClosed(connection) }
        if connection.isReady { return self.connectionReady(connection) }
        // TCP may have connected to something that never speaks HTTP/2.
        self.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(self.settings.connectTimeout)) {
            if !connection.isReady { connection.close() }
        }
    }

    private func connectFailed(_ why: String) {
        guard case .connecting = self.link else { return }
        var random = SystemRandomNumberGenerator()
        let wait = self.backoff.next(using: &random)
        let message = "cannot connect to \(self.authority): \(why)"
        self.link = .waiting(until: .now() + TimeAmount(wait), why: message)
        self.failPending(VecraftError(.unavailable, message, reason: "CONNECTION_LOST", retryAfter: wait))
    }

    private func failPending(_ error: VecraftError) {
        let calls = self.pending
        self.pending = []
        for call in calls { call.finish(error, trailers: nil) }
        let waiters = self.connectWaiters
        self.connectWaiters = []
        for waiter in waiters { waiter.resume(returning: error) }
    }

    func connectionReady(_ connection: ClientConnection) {
        guard case .connecting = self.link else { return connection.close() }
        self.backoff.reset()
        self.link = .ready(connection)
        self.housekeeping = self.housekeeping ?? self.eventLoop.scheduleRepeatedTask(
            initialDelay: .seconds(1), delay: .seconds(1)
        ) { [weak self] _ in
            let now = NIODeadline.now()
            self?.connections.values.forEach { $0.keepHouse(now: now) }
        }
        let calls = self.pending
        self.pending = []
        for call in calls { self.place(call) }
        let waiters = self.connectWaiters
        self.connectWaiters = []
        for waiter in waiters { waiter.resume(returning: nil) }
    }

    /// It takes no new calls; the next call makes a new connection.
    func connectionRetired(_ connection: ClientConnection) {
        if case .ready(let current) = self.link, current === connection { self.link = .idle }
    }

    func connectionLost(_ connection: ClientConnection, _ why: String) {
        if connection.isReady { self.connectionRetired(connection) } else { self.connectFailed(why) }
    }

    private func connectionClosed(_ connection: ClientConnection) {
        self.connections[ObjectIdentifier(connection)] = nil
        // Closed before it was ever active.
        if !connection.isReady { self.connectFailed("connection closed") }
        guard self.connections.isEmpty else { return }
        self.housekeeping?.cancel()
        self.housekeeping = nil
        let waiters = self.closeWaiters
        self.closeWaiters = []
        for waiter in waiters { waiter.resume() }
    }

    func closeNow() {
        self.link = .closed
        self.failPending(ClientCore.closed)
        let connections = Array(self.connections.values)
        for connection in connections {
            for call in connection.openCalls { call.fail(ClientCore.closed) }
            connection.close()
        }
    }
}
