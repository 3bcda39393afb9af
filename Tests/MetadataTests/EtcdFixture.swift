import Etcd
import Foundation
import GRPC
import Metadata
import NIOCore
import NIOPosix
import Primitives
import TestSupport
import Wire

/// The event loops of all stores here.
let etcdLoops = MultiThreadedEventLoopGroup(numberOfThreads: 2)

extension EtcdProcess {
    /// More patient than a node is: a machine that stands still for some seconds is no fault of what is tested, and a write that got
    /// no answer in time is not made again.
    ///
    /// - Parameter members: Those that the store is told of; nil: all.
    func settings(cluster: String = "test", members: [Int]? = nil) -> EtcdSettings {
        var settings = EtcdSettings(
            endpoints: (members ?? Array(self.ports.indices)).map { .init(host: "127.0.0.1", port: self.ports[$0]) },
            cluster: cluster)
        settings.callTimeout = .seconds(120)
        settings.keepaliveTimeout = .seconds(120)
        return settings
    }

    func store(cluster: String = "test", members: [Int]? = nil) throws -> EtcdMetadataStore {
        try EtcdMetadataStore(self.settings(cluster: cluster, members: members), group: etcdLoops)
    }

    /// A call of etcd's own, for what a store never does.
    @discardableResult
    func ask(
        _ path: String, _ request: [UInt8], member: Int = 0, tls: GRPCTLS? = nil, token: String? = nil
    ) async throws -> [UInt8] {
        let client = try GRPCClient(host: "127.0.0.1", port: self.ports[member], tls: tls, group: etcdLoops)
        var metadata: GRPCMetadata = [:]
        if let token { metadata.add("token", token) }
        do {
            let reply = try await client.unary(
                path, ByteBuffer(bytes: request), metadata: metadata, timeout: .seconds(60))
            await client.close()
            return Array(reply.message.readableBytesView)
        } catch {
            await client.close()
            throw error
        }
    }

    func compact(_ revision: Revision) async throws {
        let request = EtcdV3.CompactionRequest(revision: Int64(revision), physical: true)
        try await self.ask(EtcdV3.KV.compact.path, request.encode())
    }

    /// Which member leads.
    func leader() async throws -> Int {
        try await eventually("etcd has a leader") {
            for member in self.ports.indices {
                let bytes = try await self.ask(
                    EtcdV3.Maintenance.status.path, EtcdV3.StatusRequest().encode(), member: member)
                let status = try EtcdV3.StatusResponse.decode(bytes)
                if status.leader != 0, status.leader == status.header?.memberID { return member }
            }
            return nil
        }
    }
}

/// Takes a watch's next changes.
func take(_ count: Int, _ events: inout MetadataWatch.Iterator) async throws -> [MetadataEvent] {
    var taken: [MetadataEvent] = []
    while taken.count < count, let event = try await events.next() { taken.append(event) }
    return taken
}
