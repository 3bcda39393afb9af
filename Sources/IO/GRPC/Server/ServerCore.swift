import NIOCore
import NIOPosix
import NIOSSL
import Primitives
import Synchronization

/// A method as it is served: its place in the observer's list, its path, its handler.
final class ServedMethod: Sendable {
    let index: Int
    let path: String
    let kind: GRPCMethod

    init(index: Int, path: String, kind: GRPCMethod) {
        self.index = index
        self.path = path
        self.kind = kind
    }
}

/// What all connections of a server share.
final class ServerCore: Sendable {
    let settings: GRPCServerSettings
    let limits: HTTP2Limits
    let methods: [String: ServedMethod]
    let unknownMethod: ServedMethod
    let observer: (any GRPCObserver)?
    let connections = Attendance()
    let tasks = Attendance()
    private let group: any EventLoopGroup
    private let loops = Mutex<[ObjectIdentifier: ServerLoop]>([:])
    private let listening = Mutex(Listening())
    private let draining = Atomic<Bool>(false)

    private struct Listening {
        var channels: [any Channel] = []
        var isOver = false
    }

    init(
        settings: GRPCServerSettings, methods: [String: GRPCMethod], observer: (any GRPCObserver)?,
        group: any EventLoopGroup
    ) {
        self.settings = settings
        self.limits = HTTP2Limits(settings)
        self.observer = observer
        self.group = group
        let paths = methods.keys.sorted()
        var served: [String: ServedMethod] = [:]
        for (index, path) in paths.enumerated() {
            served[path] = methods[path].map { ServedMethod(index: index, path: path, kind: $0) }
        }
        self.methods = served
        self.unknownMethod = ServedMethod(
            index: paths.count, path: "unknown",
            kind: .unary { (_, _, _) throws(VecraftError) in throw VecraftError(.unimplemented, "unknown method") })
        observer?.prepare(methods: paths + ["unknown"])
    }

    var isDraining: Bool { self.draining.load(ordering: .relaxed) }
    var connectionCount: Int { self.connections.count }

    // MARK: Listening

    func listen(host: String, port: Int, tls: GRPCTLS?) async throws(VecraftError) -> Int {
        let context = try tls.map { (tls) throws(VecraftError) in try tls.serverContext() }
        let bootstrap = ServerBootstrap(group: self.group)
            .serverChannelOption(.backlog, value: 1_024)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try self.accept(channel, context) }
            }
        let channel: any Channel
        do {
            channel = try await bootstrap.bind(host: host, port: port).get()
        } catch {
            throw VecraftError(.unavailable, "cannot listen on \(host):\(port): \(error)")
        }
        let isOver = self.listening.withLock { state in
            if !state.isOver { state.channels.append(channel) }
            return state.isOver
        }
        guard !isOver, let bound = channel.localAddress?.port else {
            try? await channel.close().get()
            throw VecraftError(.unavailable, "the server is shutting down", reason: "SHUTTING_DOWN")
        }
        return bound
    }

    private func accept(_ channel: any Channel, _ context: NIOSSLContext?) throws {
        guard self.connections.enter(limit: self.settings.maxConnections) else {
            self.observer?.connectionRefused()
            throw VecraftError(.resourceExhausted, "too many connections")
        }
        channel.closeFuture.whenComplete { _ in self.connections.leave() }
        let pipeline = channel.pipeline.syncOperations
        if let context { try pipeline.addHandler(NIOSSLServerHandler(context: context)) }
        try pipeline.addHandler(ServerConnection(loop: self.loop(of: channel.eventLoop)))
    }

    private func loop(of eventLoop: any EventLoop) -> ServerLoop {
        self.loops.withLock { loops in
            if let loop = loops[ObjectIdentifier(eventLoop)] { return loop }
            let loop = ServerLoop(eventLoop: eventLoop, core: self)
            loops[ObjectIdentifier(eventLoop)] = loop
            return loop
        }
    }

    // MARK: Drain

    func drain(grace: Duration) async {
        let channels = self.listening.withLock { state in
            state.isOver = true
            defer { state.channels = [] }
            return state.channels
        }
        for channel in channels { try? await channel.close().get() }
        self.draining.store(true, ordering: .relaxed)
        let loops = self.loops.withLock { Array($0.values) }
        for loop in loops { loop.eventLoop.execute { loop.drain() } }
        if await !self.connections.waitUntilEmpty(atMost: grace, on: self.group.any()) {
            for loop in loops { loop.eventLoop.execute { loop.endCalls() } }
            // Every connection closes itself within a second of this; TLS waits five for the client's farewell.
            _ = await self.connections.waitUntilEmpty(atMost: .seconds(10), on: self.group.any())
        }
        // Functions were cancelled with their calls; one that does not listen is not waited for longer.
        _ = await self.tasks.waitUntilEmpty(atMost: .seconds(5), on: self.group.any())
        self.loops.withLock { $0 = [:] }
    }
}
