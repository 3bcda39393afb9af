internal import FileStore
internal import GRPC
internal import Gateway
internal import HTTP
internal import JournalFormat
internal import JournalService
internal import JournalStore
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Observability
internal import Primitives
internal import ServiceHost

// A node that is the journal and nothing else.

extension ServedNode {
    /// Serves the journal until a signal ends it.
    func runJournal(_ signals: TerminationSignals, _ traces: NodeTraces?) async throws {
        self.exportProcess()
        let directory = try self.prepareDirectory()
        let (journal, reporting) = try await self.openJournal(directory)
        let shutdown = ShutdownTrace(self.log)
        var failure: (any Error)?
        do { try await self.serveJournal(journal, reporting, signals, shutdown) } catch { failure = error }
        shutdown.step("closing the journal")
        await journal.close()
        await traces?.end()
        do { try await self.group.shutdownGracefully() } catch {
            self.log.warning("event loops", metadata: ["error": "\(error)"])
        }
        shutdown.end()
        if let failure { throw failure }
    }

    private func serveJournal(
        _ journal: NodeJournal, _ reporting: JournalReporting, _ signals: TerminationSignals, _ shutdown: ShutdownTrace
    ) async throws {
        self.registerJournalCheck(journal, reporting)
        let collectors = self.collectors(journal, reporting)
        defer { for collector in collectors { collector.cancel() } }
        var settings = GRPCServerSettings()
        settings.maxMessageBytes = self.settings.grpc.maxMessageBytes
        settings.prepareForPeers()
        // Without a catalog an entry is judged by its form alone; whoever applies it judges the rest.
        let grpc = try GRPCServer(
            settings: settings,
            methods: JournalAPI.methods(journal.client) { (entry) throws(VecraftError) in try EntryForm.check(entry) },
            observer: WireMetrics(self.registry), group: self.group)
        let http = try self.httpServer(isStarting: false)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await self.serveHTTP(http) }
            group.addTask {
                guard let http = try await self.listen(grpc) else { return }
                try await journal.catchUp { [log = self.log] in
                    log.notice("waiting for the other nodes", metadata: ["for": "\($0)"])
                }
                guard self.readiness.state != .draining else { return }
                self.readiness.enter(.ready)
                self.log.notice("ready", metadata: ["grpc": "\(self.addresses.grpc)", "http": "\(http)", "role": "journal"])
                Console.print("vecraft ready grpc=\(self.addresses.grpc) http=\(http)")
            }
            group.addTask {
                guard let signal = await signals.first() else { return }
                shutdown.begin(signal.name)
                self.readiness.enter(.draining)
                async let web: Void = http.shutDown()
                await grpc.drain(grace: .seconds(3))
                await web
                throw CancellationError()
            }
            do { while try await group.next() != nil {} } catch is CancellationError { group.cancelAll() }
        }
    }
}

/// What can be judged of an entry without a catalog.
private enum EntryForm {
    static func check(_ entry: EntryView) throws(VecraftError) {
        switch entry.operation {
        case .upsert, .delete, .deleteByFilter, .barrier: return
        case .ddl, .configuration, .decision, .payloadPatch, .transactionPrepare, .transactionCommit, .transactionAbort:
            throw VecraftError(
                .failedPrecondition, "entry: \(entry.operation.name) entries are not taken from the wire", field: "entry",
                reason: "OPERATION_NOT_ADMITTED")
        }
    }
}
