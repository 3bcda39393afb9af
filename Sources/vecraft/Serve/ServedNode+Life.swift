internal import ControlPlane
internal import Etcd
internal import FileStore
internal import Foundation
internal import GRPC
internal import Gateway
internal import HTTP
internal import JournalService
internal import JournalStore
internal import Logging
internal import MetaManager
internal import Metadata
internal import NIOCore
internal import Observability
internal import Primitives
internal import ServiceHost
internal import StorageNode
internal import Synchronization
internal import Wire

extension ServedNode {
    /// From listening to the signal that ends it.
    func serve(_ parts: Parts, _ signals: TerminationSignals, _ shutdown: ShutdownTrace) async throws {
        self.registerChecks(parts)
        let collector = self.registry.onScrape { parts.storage.collect() }
        let watch = self.watch(parts)
        defer {
            watch.cancel()
            collector.cancel()
            for collector in parts.collectors { collector.cancel() }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await parts.gateway.run() }
            group.addTask { await parts.meta.run() }
            group.addTask { try await parts.web.value }
            group.addTask { await parts.builder?.run() }
            group.addTask { try await self.listenAndReplay(parts) }
            group.addTask {
                guard let signal = await signals.first() else { return }
                shutdown.begin(signal.name)
                self.readiness.enter(.draining)
                await self.drain(parts)
            }
            do {
                // The first failure ends all the others, which `waitForAll` would wait for.
                while try await group.next() != nil {}
            } catch {
                self.log.critical("cannot go on serving", metadata: ["error": "\(error)"])
                self.readiness.enter(.draining)
                await self.drain(parts)
                throw error
            }
        }
    }

    /// Clients first: what runs may finish, nothing new begins.
    private func drain(_ parts: Parts) async {
        parts.gateway.beginDraining()
        parts.builder?.stop()
        async let http: Void = parts.http.shutDown()
        await parts.grpc.drain(grace: .seconds(3))
        await http
        parts.gateway.stop()
        parts.meta.stop()
    }

    func serveHTTP(_ http: HTTPServer) async throws {
        do {
            try await http.run()
        } catch let error as VecraftError {
            throw error
        } catch {
            // A server told to stop before it had begun calls that an error.
            if self.readiness.state == .draining { return }
            let settings = self.settings.http
            guard self.addresses.http.isEmpty else { throw error }
            throw VecraftError(
                .failedPrecondition, "cannot listen for HTTP on \(settings.host):\(settings.port): \(error)",
                field: "http.port")
        }
    }

    /// Listens for clients, over TLS if settings say so.
    ///
    /// - Returns: Where HTTP listens; nil if the node was told to stop before, which is an orderly end.
    func listen(_ grpc: GRPCServer) async throws -> String? {
        let settings = self.settings.grpc
        let port: Int
        do throws(VecraftError) {
            port = try await grpc.start(host: settings.host, port: settings.port, tls: settings.tls)
        } catch {
            if self.readiness.state == .draining { return nil }
            throw error
        }
        self.addresses.bound(grpc: "\(settings.host):\(port)")
        return await self.addresses.httpBound()
    }

    private func listenAndReplay(_ parts: Parts) async throws {
        guard let http = try await self.listen(parts.grpc) else { return }

        self.readiness.enter(.replaying, progress: parts.progress)
        var lastLine = ContinuousClock.now
        while !parts.goals.isReached || parts.isBuilding {
            if self.readiness.state == .draining { return }
            if lastLine.duration(to: .now) > .seconds(2) {
                lastLine = .now
                self.log.notice("replaying the journal", metadata: ["progress": "\(parts.progress)"])
            }
            self.readiness.enter(.replaying, progress: parts.progress)
            try await Task.sleep(for: .milliseconds(20))
        }
        guard self.readiness.state != .draining else { return }
        if let member = parts.member { await self.announce(member, http: http) }
        self.readiness.enter(.ready)
        parts.gateway.beginServing()
        self.log.notice(
            "ready",
            metadata: [
                "grpc": "\(self.addresses.grpc)", "http": "\(http)", "data": "\(self.settings.node.dataDirectory)",
            ])
        Console.print("vecraft ready grpc=\(self.addresses.grpc) http=\(http)")
    }

    func registerJournalCheck(_ journal: NodeJournal, _ reporting: JournalReporting) {
        self.readiness.add("journal") {
            if let first = reporting.failed.first {
                return .init(ok: false, "\(first.partition): \(first.error.message)")
            }
            if reporting.isDiskFull { return .init(ok: false, "writes are refused: the disk is full") }
            let leaderless = journal.replicated?.replicas.filter { !$0.status.isReady }.map { "\($0.partition)" } ?? []
            guard leaderless.isEmpty else {
                return .init(ok: false, "no leader of \(leaderless.joined(separator: ", "))")
            }
            return .init(ok: true, Figures.count(journal.client.partitions.count, "partition") + " open")
        }
    }

    private func registerChecks(_ parts: Parts) {
        self.readiness.add("metadata") {
            if let error = parts.meta.standstill { return .init(ok: false, error.message) }
            let callers = parts.meta.catalog.byID.values.count { $0.tenant != CollectionSchema.ownTenant }
            return .init(ok: true, Figures.count(callers, "collection"))
        }
        self.readiness.add("replay") {
            var lag: UInt64 = 0
            for replay in parts.storage.partitions {
                if let error = replay.standstill { return .init(ok: false, "\(replay.partition): \(error.message)") }
                lag += replay.lag.entries
            }
            return .init(ok: true, Figures.count(lag, "entry", "entries") + " behind")
        }
    }

    /// Takes apart in reverse: storage makes its shards durable while the journal is still there to be followed.
    func close(_ parts: Parts, _ shutdown: ShutdownTrace, _ traces: NodeTraces?) async {
        parts.gateway.stop()
        parts.meta.stop()
        await parts.member?.close()
        shutdown.step("writing checkpoints")
        let isStored = parts.storage.stop(within: shutdown.left)
        shutdown.step("closing the journal")
        await parts.journal.close()
        await (parts.member?.store as? EtcdMetadataStore)?.close()
        parts.lock?.release()
        do { try parts.store.close() } catch {
            self.log.warning("closing the metadata store", metadata: ["error": "\(error)"])
        }
        // The last shards were written; what they did is told of too.
        await traces?.end()
        // A thread still writes a checkpoint: the process ends over it, as any kill does, and the journal has it all.
        guard isStored else { return shutdown.end() }
        do { try await self.group.shutdownGracefully() } catch {
            self.log.warning("event loops", metadata: ["error": "\(error)"])
        }
        shutdown.end()
    }
}

/// Says how an orderly end goes on, and how long it may still take.
final class ShutdownTrace: Sendable {
    /// Of the ten seconds a node promises, what draining and checkpoints may take together.
    private static let limit = Duration.seconds(8)
    /// Checkpoints get this even if the draining took all of it.
    private static let least = Duration.seconds(2)

    private let log: Logger
    private let clock = ContinuousClock()
    private let began: Mutex<ContinuousClock.Instant?> = Mutex(nil)

    init(_ log: Logger) { self.log = log }

    func begin(_ signal: String) {
        self.began.withLock { $0 = self.clock.now }
        self.log.notice("stopping", metadata: ["signal": "\(signal)"])
    }
    func step(_ what: String) { self.log.info("stopping", metadata: ["step": "\(what)"]) }
    func end() { self.log.notice("stopped") }

    /// Time for checkpoints.
    var left: Duration {
        let spent = self.began.withLock { $0 }.map { $0.duration(to: self.clock.now) } ?? .zero
        return max(Self.least, Self.limit - spent)
    }
}
