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

extension ServedNode {
    /// From listening to the signal that ends it.
    func serve(_ parts: Parts, _ signals: TerminationSignals, _ shutdown: ShutdownTrace) async throws {
        self.registerChecks(parts)
        let collector = self.registry.onScrape {
            parts.journalReporting.collect(parts.journal)
            parts.storage.collect()
        }
        defer { collector.cancel() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await parts.gateway.run() }
            group.addTask { await parts.meta.run() }
            group.addTask { try await parts.http.run() }
            group.addTask { try await self.listenAndReplay(parts) }
            group.addTask {
                guard let signal = await signals.first() else { return }
                shutdown.begin(signal.name)
                self.readiness.enter(.draining)
                parts.gateway.beginDraining()
                // Clients first: what runs may finish, nothing new begins.
                await parts.grpc.drain(grace: .seconds(3))
                await parts.http.shutDown()
                parts.gateway.stop()
                parts.meta.stop()
            }
            try await group.waitForAll()
        }
    }

    private func listenAndReplay(_ parts: Parts) async throws {
        let settings = self.settings.grpc
        let tls = settings.tlsCertificate.isEmpty
            ? nil
            : GRPCTLS(
                certificateChain: .file(settings.tlsCertificate), privateKey: .file(settings.tlsKey),
                trustRoots: settings.tlsClientCA.isEmpty ? nil : .file(settings.tlsClientCA))
        let port = try await parts.grpc.start(host: settings.host, port: settings.port, tls: tls)
        self.addresses.bound(grpc: "\(settings.host):\(port)")
        guard let http = await self.addresses.httpBound() else { return }

        self.readiness.enter(.replaying, progress: parts.goals.description)
        var lastLine = ContinuousClock.now
        while !parts.goals.isReached {
            if self.readiness.state == .draining { return }
            if lastLine.duration(to: .now) > .seconds(2) {
                lastLine = .now
                self.log.notice("replaying the journal", metadata: ["progress": "\(parts.goals.description)"])
            }
            self.readiness.enter(.replaying, progress: parts.goals.description)
            try await Task.sleep(for: .milliseconds(20))
        }
        guard self.readiness.state != .draining else { return }
        self.readiness.enter(.ready)
        parts.gateway.beginServing()
        self.log.notice(
            "ready", metadata: ["grpc": "\(self.addresses.grpc)", "http": "\(http)", "data": "\(self.settings.node.dataDirectory)"])
        Console.print("vecraft ready grpc=\(self.addresses.grpc) http=\(http)")
    }

    private func registerChecks(_ parts: Parts) {
        self.readiness.add("journal") {
            let failed = parts.journalReporting.failed
            if let first = failed.first { return .init(ok: false, "\(first.partition): \(first.error.message)") }
            return .init(ok: true, Figures.count(parts.journal.partitions.count, "partition") + " open")
        }
        self.readiness.add("metadata") {
            if let error = parts.meta.standstill { return .init(ok: false, error.message) }
            return .init(ok: true, Figures.count(parts.meta.catalog.byID.count, "collection"))
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
    func close(_ parts: Parts, _ shutdown: ShutdownTrace) async {
        parts.gateway.stop()
        parts.meta.stop()
        shutdown.step("replay stopped, writing checkpoints")
        parts.storage.stop()
        shutdown.step("closing the journal")
        parts.journal.journal.close()
        do { try parts.store.close() } catch {
            self.log.warning("closing the metadata store", metadata: ["error": "\(error)"])
        }
        do { try await self.group.shutdownGracefully() } catch {
            self.log.warning("event loops", metadata: ["error": "\(error)"])
        }
        shutdown.end()
    }
}

/// Says how an orderly end goes on.
final class ShutdownTrace: Sendable {
    private let log: Logger
    private let clock = ContinuousClock()
    private let started: ContinuousClock.Instant

    init(_ log: Logger) {
        self.log = log
        self.started = self.clock.now
    }
    func begin(_ signal: String) { self.log.notice("stopping", metadata: ["signal": "\(signal)"]) }
    func step(_ what: String) { self.log.info("stopping", metadata: ["step": "\(what)"]) }
    func end() { self.log.notice("stopped") }
}
