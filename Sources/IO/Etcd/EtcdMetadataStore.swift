package import Metadata
package import NIOCore
package import Primitives
import Wire

/// The metadata store of a cluster: etcd v3, 3.4 or later, over gRPC.
///
/// No connection is made before the first call. A call ends within ``EtcdSettings/callTimeout``: `.unavailable` when etcd could
/// not be asked, with reason `OUTCOME_UNKNOWN` when a change was sent and no answer came. Such a change is not sent again, unless
/// it is a ``compareAndSwap(_:expected:value:lease:)`` of a revision: revisions are never used twice, so at most one of several
/// sent can take effect.
///
/// An etcd whose revision went back, or that is another than before, has lost what others rely on: from then on every call is
/// `.dataLoss` reason `METADATA_WENT_BACK`, until the process is told anew what to trust.
///
/// Limits: values of 1 MiB (etcd's own limit of a request is 1.5 MiB); listings in pages of at most ``pageKeys``; a watch
/// has one stream, which holds at most 1 MiB that nobody took, or one message of etcd's if that is larger.
package final class EtcdMetadataStore: MetadataStore {
    let client: EtcdClient
    let keys: EtcdKeys
    /// Keys in one answer of a listing; fewer when values are large, to stay near ``pageBytes``.
    static let pageKeys = 1_024
    static let pageBytes = 4 << 20
    /// Pages this small always fit a message, since values are at most 1 MiB.
    static let smallPageKeys = 32

    /// - Throws: `.invalidArgument` for settings that cannot be.
    package init(_ settings: EtcdSettings, group: any EventLoopGroup) throws(VecraftError) {
        self.client = try EtcdClient(settings, group: group)
        self.keys = EtcdKeys(cluster: settings.cluster)
    }

    /// Ends calls and watches. Leases are not kept alive any more.
    package func close() async { await self.client.close() }

    package var statistics: EtcdStatistics { self.client.statistics }

    /// Returns if etcd's majority answers.
    package func check() async throws(VecraftError) {
        _ = try await self.client.call(
            EtcdV3.KV.range, EtcdV3.RangeRequest(key: self.keys.encode("?"), countOnly: true),
            as: EtcdV3.RangeResponse.self, .harmless)
    }

    // MARK: MetadataStore

    package func get(_ key: String) async throws(VecraftError) -> MetadataEntry? {
        try MetadataLimits.check(key: key)
        let answer = try await self.client.call(
            EtcdV3.KV.range, EtcdV3.RangeRequest(key: self.keys.encode(key)), as: EtcdV3.RangeResponse.self, .harmless)
        guard let pair = answer.response.kvs.first else { return nil }
        return try self.keys.entry(pair)
    }

    package func put(
        _ key: String, _ value: [UInt8], lease: MetadataLease?
    ) async throws(VecraftError) -> Revision {
        try MetadataLimits.check(key: key)
        try MetadataLimits.check(value: value)
        let request = EtcdV3.PutRequest(key: self.keys.encode(key), value: value, lease: try Self.number(lease))
        return try await self.telling(lease) { () throws(VecraftError) in
            Self.revision(
                try await self.client.call(EtcdV3.KV.put, request, as: EtcdV3.PutResponse.self, .forbidden).response)
        }
    }

    package func delete(_ key: String) async throws(VecraftError) -> Revision? {
        try MetadataLimits.check(key: key)
        let response = try await self.client.call(
            EtcdV3.KV.deleteRange, EtcdV3.DeleteRangeRequest(key: self.keys.encode(key)),
            as: EtcdV3.DeleteRangeResponse.self, .forbidden
        ).response
        return response.deleted > 0 ? Self.revision(response) : nil
    }

    package func compareAndSwap(
        _ key: String, expected: Revision?, value: [UInt8]?, lease: MetadataLease?
    ) async throws(VecraftError) -> MetadataSwap {
        try MetadataLimits.check(key: key)
        try MetadataLimits.check(value: value)
        let name = self.keys.encode(key)
        var request = Self.transaction(on: name, expected: expected)
        if let value {
            request.success = [
                .init(request: .requestPut(.init(key: name, value: value, lease: try Self.number(lease))))
            ]
        } else if expected != nil {
            request.success = [.init(request: .requestDeleteRange(.init(key: name)))]
        }
        let transaction = request
        return try await self.telling(lease) { () throws(VecraftError) in
            try await self.carryOut(transaction, isGuarded: expected != nil)
        }
    }

    package func transact(
        _ key: String, expected: Revision?, changes: [MetadataChange]
    ) async throws(VecraftError) -> MetadataSwap {
        try MetadataLimits.check(changes, of: key)
        var request = Self.transaction(on: self.keys.encode(key), expected: expected)
        request.success = changes.map { change in
            let name = self.keys.encode(change.key)
            guard let value = change.value else { return .init(request: .requestDeleteRange(.init(key: name))) }
            return .init(request: .requestPut(.init(key: name, value: value)))
        }
        return try await self.carryOut(request, isGuarded: expected != nil)
    }

    /// One that finds the key as expected, or reads it.
    private static func transaction(on name: [UInt8], expected: Revision?) -> EtcdV3.TxnRequest {
        EtcdV3.TxnRequest(
            compare: [
                .init(
                    result: .equal, target: .mod, key: name, targetUnion: .modRevision(Int64(clamping: expected ?? 0)))
            ], failure: [.init(request: .requestRange(.init(key: name)))])
    }

    /// - Parameter isGuarded: Sent twice, at most one takes effect.
    private func carryOut(
        _ transaction: EtcdV3.TxnRequest, isGuarded: Bool
    ) async throws(VecraftError) -> MetadataSwap {
        let answer = try await self.client.call(
            EtcdV3.KV.txn, transaction, as: EtcdV3.TxnResponse.self, isGuarded ? .guarded : .forbidden)
        if answer.response.succeeded { return .swapped(Self.revision(answer.response)) }
        guard !answer.followsUnknown else {
            throw VecraftError(
                .unavailable, "the change may have been made, by an attempt that was not answered",
                reason: "OUTCOME_UNKNOWN")
        }
        guard case .responseRange(let range) = answer.response.responses.first?.response else {
            throw VecraftError(.internalError, "etcd does not say what is there instead")
        }
        return .conflict(try range.kvs.first.map { (pair) throws(VecraftError) in try self.keys.entry(pair) })
    }

    package func watch(prefix: String, after: Revision) -> MetadataWatch {
        MetadataWatch(after: after) {
            let session = EtcdWatchSession(self.client, self.keys, prefix: prefix, after: after)
            return { _ throws(VecraftError) in try await session.pull() }
        }
    }

    package func grantLease(ttl: Duration) async throws(VecraftError) -> MetadataLease {
        try MetadataLimits.check(ttl: ttl)
        let seconds = ttl.components.seconds + (ttl.components.attoseconds > 0 ? 1 : 0)
        // A grant whose answer is lost leaves a lease without keys, which runs out.
        let answer = try await self.client.call(
            EtcdV3.Lease.leaseGrant, EtcdV3.LeaseGrantRequest(ttl: seconds), as: EtcdV3.LeaseGrantResponse.self,
            .harmless)
        return EtcdLeaseKeeper.lease(answer.response, sentAt: answer.sentAt, self.client, self.keys)
    }

    // MARK: Small things

    private static func revision(_ response: some EtcdResponse) -> Revision {
        Revision(clamping: response.header?.revision ?? 0)
    }

    private static func number(_ lease: MetadataLease?) throws(VecraftError) -> Int64 {
        try MetadataLimits.check(lease: lease)
        return lease.map { Int64(bitPattern: $0.id) } ?? 0
    }

    /// A lease that etcd does not know any more is over for its holder too.
    private func telling<T>(
        _ lease: MetadataLease?, _ body: () async throws(VecraftError) -> T
    ) async throws(VecraftError) -> T {
        do throws(VecraftError) {
            return try await body()
        } catch {
            if error.reason == MetadataLease.lost.reason { lease?.end(.gone) }
            throw error
        }
    }
}
