import Etcd
import Foundation
import GRPC
import Metadata
import Primitives
import TestSupport
import Testing
import Wire

@Suite(.serialized, .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
struct EtcdSecurityTests {
    /// Certificates made for one test by the openssl command: nothing kept, so nothing expires.
    private struct Certificates {
        let folder: TemporaryDirectory

        init() async throws {
            self.folder = try TemporaryDirectory()
            for authority in ["ca", "other"] {
                try await self.openssl(
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=\(authority)", "-keyout", self.path("\(authority).key"), "-out",
                    self.path("\(authority).pem"))
            }
            for (name, authority) in [("server", "ca"), ("client", "ca"), ("stranger", "other")] {
                try await self.openssl(
                    "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
                    "/CN=\(name)", "-keyout", self.path("\(name).key"), "-out", self.path("\(name).csr"))
                try "subjectAltName=IP:127.0.0.1\n".write(
                    toFile: self.path("\(name).ext"), atomically: true, encoding: .utf8)
                try await self.openssl(
                    "x509", "-req", "-days", "2", "-in", self.path("\(name).csr"), "-CA", self.path("\(authority).pem"),
                    "-CAkey", self.path("\(authority).key"), "-CAcreateserial", "-extfile", self.path("\(name).ext"),
                    "-out", self.path("\(name).pem"))
            }
        }

        private func openssl(_ arguments: String...) async throws {
            let outcome = try await PythonEnvironment.run("/usr/bin/env", ["openssl"] + arguments, limit: .seconds(300))
            guard outcome.succeeded else { throw CommandFailure(description: "openssl: \(outcome)") }
        }

        func path(_ name: String) -> String { self.folder.file(name) }

        func identity(_ name: String?, trusting authority: String) -> GRPCTLS {
            GRPCTLS(
                certificateChain: name.map { .file(self.path("\($0).pem")) },
                privateKey: name.map { .file(self.path("\($0).key")) },
                trustRoots: .file(self.path("\(authority).pem")))
        }
    }

    @Test func bothEndsProveThemselves() async throws {
        let certificates = try await Certificates()
        let etcd = try await EtcdProcess.start(
            tls: (certificates.path("server.pem"), certificates.path("server.key"), certificates.path("ca.pem")))
        var settings = etcd.settings()
        settings.tls = certificates.identity("client", trusting: "ca")
        let store = try EtcdMetadataStore(settings, group: etcdLoops)
        let revision = try await store.put("k", [1])
        var events = store.watch(prefix: "", after: revision - 1).makeAsyncIterator()
        #expect(try await take(1, &events).map(\.revision) == [revision])
        let lease = try await store.grantLease(ttl: .seconds(300))
        #expect(lease.isHeld)
        await store.close()
        settings.callTimeout = .seconds(1)
        for tls in [
            nil, certificates.identity(nil, trusting: "ca"), certificates.identity("client", trusting: "other"),
            certificates.identity("stranger", trusting: "ca"),
        ] {
            settings.tls = tls
            let store = try EtcdMetadataStore(settings, group: etcdLoops)
            let error = await #expect(throws: VecraftError.self) { try await store.get("k") }
            #expect(error?.code == .unavailable)
            await store.close()
        }
    }

    @Test func aUserReachesWhatItMay() async throws {
        // Tokens are forgotten a second after their last use.
        let etcd = try await EtcdProcess.start(arguments: ["--auth-token-ttl", "1"])
        var settings = etcd.settings(cluster: "ours")
        settings.credentials = .init(user: "vecraft", password: "correct horse")
        // Before etcd asks for passwords, none is needed.
        let store = try EtcdMetadataStore(settings, group: etcdLoops)
        _ = try await store.put("k", [0])
        let own = Array("/vecraft/v1/ours/".utf8)
        let end = Array("/vecraft/v1/ours0".utf8)
        for (user, password) in [("root", "root"), ("vecraft", "correct horse")] {
            try await self.auth(etcd, "UserAdd", text(1, user) + text(2, password))
            try await self.auth(etcd, "RoleAdd", text(1, user))
            try await self.auth(etcd, "UserGrantRole", text(1, user) + text(2, user))
        }
        // Read and write of the cluster's prefix.
        try await self.auth(
            etcd, "RoleGrantPermission", text(1, "vecraft") + field(2, [0x08, 0x02] + field(2, own) + field(3, end)))
        try await self.auth(etcd, "AuthEnable", [])

        let revision = try await store.put("k", [1])
        #expect(store.statistics.authentications >= 2)
        var events = store.watch(prefix: "", after: revision).makeAsyncIterator()
        let lease = try await store.grantLease(ttl: .seconds(60))
        let leased = try await store.put("leased", [1], lease: lease)
        #expect(try await take(1, &events).map(\.revision) == [leased])
        // A watch that has to come back, with a token that is too old by then.
        etcd.kill()
        try etcd.restart()
        let after = try await eventually("etcd is back") { try await store.put("k", [2]) }
        while let event = try await events.next(), event.revision < after {}
        try await lease.revoke()
        let before = store.statistics.authentications
        try await eventually("a new token is needed") {
            try await Task.sleep(for: .seconds(2))
            _ = try await store.put("k", [3])
            return store.statistics.authentications > before
        }

        // Not another cluster's keys: each call says so, and a watch does not wait for ever.
        settings.cluster = "theirs"
        let stranger = try EtcdMetadataStore(settings, group: etcdLoops)
        let read = await #expect(throws: VecraftError.self) { try await stranger.get("k") }
        #expect(read?.code == .permissionDenied)
        let write = await #expect(throws: VecraftError.self) { try await stranger.put("k", [9]) }
        #expect(write?.code == .permissionDenied && write?.reason == nil)
        let watched = await #expect(throws: VecraftError.self) {
            var events = stranger.watch(prefix: "", after: 0).makeAsyncIterator()
            _ = try await events.next()
        }
        #expect(watched?.code == .permissionDenied)
        await stranger.close()

        settings.cluster = "ours"
        settings.credentials = .init(user: "vecraft", password: "wrong")
        let wrong = try EtcdMetadataStore(settings, group: etcdLoops)
        let refused = await #expect(throws: VecraftError.self) { try await wrong.get("k") }
        #expect(refused?.code == .unauthenticated)
        await wrong.close()
        settings.credentials = nil
        let nobody = try EtcdMetadataStore(settings, group: etcdLoops)
        let anonymous = await #expect(throws: VecraftError.self) { try await nobody.get("k") }
        #expect(anonymous?.code == .unauthenticated)
        await nobody.close()
        await store.close()
    }

    /// `etcdserverpb.Auth`'s other methods, whose requests are a few strings.
    private func auth(_ etcd: EtcdProcess, _ method: String, _ request: [UInt8]) async throws {
        try await etcd.ask("/etcdserverpb.Auth/\(method)", request)
    }

    private func text(_ number: UInt8, _ value: String) -> [UInt8] { field(number, Array(value.utf8)) }

    /// A field of at most 127 bytes.
    private func field(_ number: UInt8, _ value: [UInt8]) -> [UInt8] { [number << 3 | 2, UInt8(value.count)] + value }
}
