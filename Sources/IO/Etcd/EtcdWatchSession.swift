import GRPC
import Metadata
import NIOCore
import Primitives
import Wire

/// One watch: a stream, made again on whichever member answers when it is lost. One pull at a time.
actor EtcdWatchSession {
    private let client: EtcdClient
    private let keys: EtcdKeys
    private let prefix: String
    private var assembly: WatchAssembly
    private var stream: GRPCClientCall?
    private var member = 0
    private var metadata: GRPCMetadata = [:]
    private var pause = EtcdWatchSession.firstPause
    /// Refusals in a row that a new token may mend.
    private var refusals = 0
    private static let firstPause: Duration = .milliseconds(50)

    init(_ client: EtcdClient, _ keys: EtcdKeys, prefix: String, after: Revision) {
        self.client = client
        self.keys = keys
        self.prefix = prefix
        self.assembly = WatchAssembly(after: after)
    }

    /// - Throws: What another attempt would not change: compaction, lost data, no permission, a closed store.
    func pull() async throws(VecraftError) -> (events: [MetadataEvent], through: Revision) {
        while true {
            do throws(VecraftError) {
                if let events = try await self.step() {
                    self.client.saw(self.assembly.through)
                    return (events, self.assembly.through)
                }
            } catch {
                // Cancels it on the wire.
                self.stream = nil
                try self.client.check()
                if Task.isCancelled { throw VecraftError(.cancelled, "the watch was cancelled") }
                try self.judge(error)
                self.client.count { $0.watchResumes += 1 }
                try? await Task.sleep(for: self.pause)
                self.pause = min(self.pause * 2, self.client.settings.maxPause)
            }
        }
    }

    private func step() async throws(VecraftError) -> [MetadataEvent]? {
        guard let stream = self.stream else {
            self.stream = try await self.open()
            return nil
        }
        var replies = stream.replies.makeAsyncIterator()
        guard let message = try await replies.next(isolation: self) else {
            throw VecraftError(.unavailable, "etcd ended the watch")
        }
        switch try self.assembly.received(try EtcdClient.decode(message), self.keys) {
        case .created:
            self.pause = Self.firstPause
            self.refusals = 0
            return nil
        case .wait: return nil
        case .deliver(let events): return events
        case .compacted(let oldest):
            throw VecraftError(
                .outOfRange,
                "changes after revision \(self.assembly.through) are no longer kept; the oldest is \(oldest)",
                field: "after", reason: "COMPACTED")
        case .cancelled(let reason):
            let denied = reason.contains("permission denied") || reason.contains("auth token")
            throw VecraftError(denied ? .permissionDenied : .unavailable, "etcd ended the watch: \(reason)")
        }
    }

    private func open() async throws(VecraftError) -> GRPCClientCall {
        // An etcd that lost changes would take the watch and say nothing until it has as many again.
        let (from, end) = self.keys.range(self.prefix)
        _ = try await self.client.call(
            EtcdV3.KV.range, EtcdV3.RangeRequest(key: from, rangeEnd: end, limit: 1, countOnly: true),
            as: EtcdV3.RangeResponse.self, .harmless)
        let (number, client) = self.client.member()
        self.member = number
        self.metadata = try await self.client.metadata(on: client, within: self.client.settings.callTimeout)
        let stream = try await client.bidirectional(EtcdV3.Watch.watch.path, metadata: self.metadata)
        self.assembly.reopen()
        let request = EtcdV3.WatchCreateRequest(
            key: from, rangeEnd: end, startRevision: self.assembly.startRevision, progressNotify: true, fragment: true)
        try await stream.send(EtcdV3.WatchRequest(requestUnion: .createRequest(request)).encode())
        return stream
    }

    private func judge(_ error: VecraftError) throws(VecraftError) {
        // A watch is told that it may not whether the token is of no use or does not reach so far: once more with a new one.
        if error.code == .permissionDenied, self.refusals == 0, self.client.settings.credentials != nil {
            self.refusals += 1
            return self.client.drop(self.metadata)
        }
        if error.reason == "COMPACTED" { throw error }
        switch EtcdVerdict(error) {
        case .final(let error): throw error
        case .authenticate:
            self.refusals += 1
            guard self.refusals <= 2 else {
                throw VecraftError(.unauthenticated, "etcd refuses the token it gave: \(error.message)")
            }
            self.client.drop(self.metadata)
        case .notApplied, .unknown: self.client.failed(self.member)
        }
    }
}
