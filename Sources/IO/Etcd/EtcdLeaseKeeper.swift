import GRPC
import Metadata
import Primitives
import Synchronization
import Wire

/// Keeps one lease alive, a third of its time after the last sign of life, sooner when one failed.
///
/// A leader of etcd's that was deposed and does not know it yet renews leases by its own clock, while its successor counts from
/// its election. So a renewal counts only if, afterwards, the majority answered in the same term.
final class EtcdLeaseKeeper: Sendable {
    private enum Outcome {
        case renewed(until: ContinuousClock.Instant)
        case gone
        case failed
    }

    private let client: EtcdClient
    private let keys: EtcdKeys
    private let id: Int64
    private let ttl: Duration
    /// Its parent is the lease: cancelled when that is dropped, ends when it is over.
    private let task = Mutex<Task<Void, Never>?>(nil)

    private init(_ client: EtcdClient, _ keys: EtcdKeys, id: Int64, ttl: Duration) {
        self.client = client
        self.keys = keys
        self.id = id
        self.ttl = ttl
    }

    static func lease(
        _ granted: EtcdV3.LeaseGrantResponse, sentAt: ContinuousClock.Instant, _ client: EtcdClient, _ keys: EtcdKeys
    ) -> MetadataLease {
        let ttl = Duration.seconds(granted.ttl)
        let keeper = EtcdLeaseKeeper(client, keys, id: granted.id, ttl: ttl)
        let lease = MetadataLease(
            id: LeaseID(bitPattern: granted.id), ttl: ttl, until: LeaseTerm.until(sentAt: sentAt, ttl: ttl),
            withdraw: { () throws(VecraftError) in try await keeper.revoke() }, dropped: { keeper.stop() })
        keeper.keep(lease)
        return lease
    }

    private func keep(_ lease: MetadataLease) {
        // Weak: a lease that nobody holds runs out. On an event loop: the pool's threads may all be computing for longer than a lease.
        let task = Task(executorPreference: self.client.executor) { [weak lease] in
            var wait = self.ttl / 3
            while !Task.isCancelled {
                try? await Task.sleep(for: wait)
                guard lease?.isHeld == true else { return }
                switch await self.renew() {
                case .renewed(let until):
                    lease?.renew(until: until)
                    wait = self.ttl / 3
                case .gone: return lease?.end(.gone) ?? ()
                case .failed: wait = min(self.ttl / 10, .milliseconds(500))
                }
            }
        }
        self.task.withLock { $0 = task }
    }

    private func stop() { self.task.withLock { $0.take() }?.cancel() }

    private func revoke() async throws(VecraftError) {
        do throws(VecraftError) {
            _ = try await self.client.call(
                EtcdV3.Lease.leaseRevoke, EtcdV3.LeaseRevokeRequest(id: self.id), as: EtcdV3.LeaseRevokeResponse.self,
                .harmless)
        } catch {
            guard error.reason != MetadataLease.lost.reason else { return }
            throw error
        }
    }

    // MARK: Signs of life

    private func renew() async -> Outcome {
        let (number, member) = self.client.member()
        let sentAt = ContinuousClock.now
        do throws(VecraftError) {
            let metadata = try await self.client.metadata(on: member, within: self.patience)
            do throws(VecraftError) {
                var answer = try await self.ask(member, metadata)
                var term = try await self.term(member, metadata)
                if answer.ttl <= 0 {
                    // A member that has just started may not have heard of it; now it has applied all there is.
                    answer = try await self.ask(member, metadata)
                    term = try await self.term(member, metadata)
                }
                guard answer.header?.raftTerm == term else { return self.failed(nil) }
                guard answer.ttl > 0 else { return .gone }
                self.client.count { $0.leaseRenewals += 1 }
                return .renewed(until: LeaseTerm.until(sentAt: sentAt, ttl: .seconds(answer.ttl)))
            } catch {
                if case .authenticate = EtcdVerdict(error) { self.client.drop(metadata) }
                throw error
            }
        } catch {
            return self.failed(number)
        }
    }

    /// Time enough for another member.
    private var patience: Duration { min(self.ttl / 5, self.client.settings.attemptTimeout) }

    private func failed(_ member: Int?) -> Outcome {
        if let member { self.client.failed(member) }
        self.client.count { $0.leaseRenewalFailures += 1 }
        return .failed
    }

    /// One sign of life on a stream of its own: nothing to resume, and each has its own deadline.
    private func ask(
        _ member: GRPCClient, _ metadata: GRPCMetadata
    ) async throws(VecraftError) -> EtcdV3.LeaseKeepAliveResponse {
        let call = try await member.bidirectional(
            EtcdV3.Lease.leaseKeepAlive.path, metadata: metadata, timeout: self.patience)
        try await call.send(EtcdV3.LeaseKeepAliveRequest(id: self.id).encode())
        return try EtcdClient.decode(try await call.finish())
    }

    /// The term in which the majority answers now.
    private func term(_ member: GRPCClient, _ metadata: GRPCMetadata) async throws(VecraftError) -> UInt64? {
        let request = EtcdV3.RangeRequest(key: self.keys.encode("?"), countOnly: true)
        let bytes = try await member.unary(
            EtcdV3.KV.range.path, request.encode(), metadata: metadata, timeout: self.patience)
        let outcome = bytes.withUnsafeBytes { raw in
            Result { () throws(VecraftError) in try EtcdV3.RangeResponse.decode(raw) }
        }
        return try outcome.get().header?.raftTerm
    }
}
