import GRPC
import NIOPosix
import Primitives
import Raft
import TestSupport
import Testing

@testable import PeerTransport

@Suite struct MutualTLSTests {
    /// Certificates made for one test by the openssl command: nothing kept, so nothing expires.
    private struct Certificates {
        let folder: TemporaryDirectory

        init() async throws {
            self.folder = try TemporaryDirectory()
            for name in ["node", "stranger"] {
                let outcome = try await PythonEnvironment.run(
                    "/usr/bin/env",
                    [
                        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                        "-nodes",
                        "-days", "2", "-subj", "/CN=\(name)", "-addext", "subjectAltName=DNS:peer.test", "-keyout",
                        self.folder.file("\(name).key"), "-out", self.folder.file("\(name).pem"),
                    ], limit: .seconds(300))
                #expect(outcome.succeeded, "openssl: \(outcome)")
            }
        }

        /// Signed by itself, and believed by whoever trusts `trusting`.
        func identity(_ name: String, trusting: String) -> GRPCTLS {
            GRPCTLS(
                certificateChain: .file(self.folder.file("\(name).pem")),
                privateKey: .file(self.folder.file("\(name).key")),
                trustRoots: .file(self.folder.file("\(trusting).pem")),
                serverName: "peer.test")
        }
    }

    @Test func nodesProveThemselves() async throws {
        let certificates = try await Certificates()
        let tls = certificates.identity("node", trusting: "node")
        let a = Node(1, tls: tls)
        let b = Node(2)
        try await b.listen(tls: tls)
        b.links.setPeers([ReplicaID(1): PeerAddress(host: "127.0.0.1", port: 1)])
        a.links.setPeers([ReplicaID(2): b.address])
        try await until { a.links.isLinked(to: ReplicaID(2)) }
        a.links.send([commit(1)])
        try await until { b.recorder.count == 1 }
        await a.stop()
        // Who has no certificate that is trusted here gets no link.
        let stranger = Node(1, tls: certificates.identity("stranger", trusting: "node"))
        let resets = b.recorder.resets
        stranger.links.setPeers([ReplicaID(2): b.address])
        let plain = Node(1)
        plain.links.setPeers([ReplicaID(2): b.address])
        for node in [stranger, plain] {
            let client = try #require(node.links.context).client(b.address, on: testLoops.next())
            await #expect(throws: VecraftError.self) {
                let call = try await client.clientStreaming("/vecraft.internal.v1.Raft/InstallLog")
                _ = try await call.finish()
            }
            await client.close()
            #expect(!node.links.isLinked(to: ReplicaID(2)))
            await node.stop()
        }
        #expect(b.recorder.resets <= resets + 1)
        await b.stop()
    }
}
