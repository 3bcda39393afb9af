import Foundation
import NIOCore
import Primitives
import TestSupport
import Testing

@testable import GRPC

@Suite(.ownThreads) struct TLSTests {
    /// Certificates made for one test by the openssl command: nothing kept, so nothing expires.
    struct Certificates {
        let folder: URL

        init() async throws {
            self.folder = FileManager.default.temporaryDirectory.appendingPathComponent(
                "vecraft-tls-\(UUID().uuidString)")
            try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
            for authority in ["ca", "other"] {
                try await self.openssl(
                    "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=\(authority)", "-keyout", self.path("\(authority).key"), "-out",
                    self.path("\(authority).pem"))
            }
            try await self.issue("server", by: "ca")
            try await self.issue("client", by: "ca")
            try await self.issue("stranger", by: "other")
        }

        private func issue(_ name: String, by authority: String) async throws {
            try await self.openssl(
                "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=\(name)",
                "-keyout", self.path("\(name).key"), "-out", self.path("\(name).csr"))
            let extensions = self.path("\(name).ext")
            try "subjectAltName=DNS:localhost,DNS:vecraft.test,IP:127.0.0.1\n".write(
                toFile: extensions, atomically: true, encoding: .utf8)
            try await self.openssl(
                "x509", "-req", "-days", "2", "-in", self.path("\(name).csr"), "-CA", self.path("\(authority).pem"),
                "-CAkey",
                self.path("\(authority).key"), "-CAcreateserial", "-extfile", extensions, "-out",
                self.path("\(name).pem"))
        }

        private func openssl(_ arguments: String...) async throws {
            let outcome = try await PythonEnvironment.run("/usr/bin/env", ["openssl"] + arguments, limit: .seconds(300))
            guard outcome.succeeded else { throw PythonEnvironment.Failure(description: "openssl: \(outcome)") }
        }

        func path(_ name: String) -> String { self.folder.appendingPathComponent(name).path }
        func remove() { try? FileManager.default.removeItem(at: self.folder) }

        func identity(_ name: String, trusting authority: String? = nil) -> GRPCTLS {
            GRPCTLS(
                certificateChain: .file(self.path("\(name).pem")), privateKey: .file(self.path("\(name).key")),
                trustRoots: authority.map { .file(self.path("\($0).pem")) })
        }

        func trust(_ authority: String) -> GRPCTLS { GRPCTLS(trustRoots: .file(self.path("\(authority).pem"))) }
    }

    private func withCertificates(_ body: (Certificates) async throws -> Void) async throws {
        let certificates = try await Certificates()
        defer { certificates.remove() }
        try await body(certificates)
    }

    static let whoAreYou = GRPCMethod.unary { (call, _, reply) throws(VecraftError) in
        reply.writeString("\(call.peer.isTLS) \(call.peer.certificate.map { $0.count > 100 } ?? false)")
        return .reply
    }

    private func ask(_ port: Int, _ tls: GRPCTLS?, host: String = "127.0.0.1") async throws -> String {
        let client = try await connect(host: host, port: port, tls: tls)
        do {
            let reply = try await client.unary("/t/Who", bytes(""))
            await client.close()
            return text(reply.message)
        } catch {
            await client.close()
            throw error
        }
    }

    @Test func aServerProvesItsName() async throws {
        try await self.withCertificates { certificates in
            try await withServer(["/t/Who": Self.whoAreYou], tls: certificates.identity("server")) { _, port in
                let byAddress = try await self.ask(port, certificates.trust("ca"))
                #expect(byAddress == "true false")
                let byName = try await self.ask(port, certificates.trust("ca"), host: "localhost")
                #expect(byName == "true false")
                var renamed = certificates.trust("ca")
                renamed.serverName = "vecraft.test"
                let byOtherName = try await self.ask(port, renamed)
                #expect(byOtherName == "true false")
                renamed.serverName = "elsewhere.test"
                await expectFailure(.unavailable) { try await self.ask(port, renamed) }
                await expectFailure(.unavailable) { try await self.ask(port, certificates.trust("other")) }
                await expectFailure(.unavailable) { try await self.ask(port, nil) }
            }
        }
    }

    @Test(arguments: [
        ("a.example.com", "a.example.com", true), ("A.example.COM.", "a.Example.com", true),
        ("a.example.com", "*.example.com", true),
        ("a.b.example.com", "*.example.com", false), ("example.com", "*.example.com", false), ("a.com", "*.com", false),
        ("a.example.com", "a*.example.com", false), ("a.example.com", "a.*.com", false), ("a", "*", false),
        ("", "", false),
        ("b.example.com", "a.example.com", false), ("localhost", "localhost", true),
        (".example.com", "*.example.com", false),
    ])
    func aNameStandsForOneHost(name: String, pattern: String, matches: Bool) {
        #expect(ServerName.matches(name, pattern) == matches)
    }

    @Test func mutualTLSWantsAKnownClient() async throws {
        try await self.withCertificates { certificates in
            let server = certificates.identity("server", trusting: "ca")
            try await withServer(["/t/Who": Self.whoAreYou], tls: server) { _, port in
                let known = try await self.ask(port, certificates.identity("client", trusting: "ca"))
                #expect(known == "true true")
                await expectFailure(.unavailable) { try await self.ask(port, certificates.trust("ca")) }
                await expectFailure(.unavailable) {
                    try await self.ask(port, certificates.identity("stranger", trusting: "ca"))
                }
            }
        }
    }

    @Test func largeMessagesGoThroughTLS() async throws {
        try await self.withCertificates { certificates in
            try await withServer(Methods.all, tls: certificates.identity("server")) { _, port in
                let client = try await connect(port: port, tls: certificates.trust("ca"))
                let reply = try await client.unary("/test.Test/Echo", zeros(5_000_000))
                #expect(reply.message.readableBytes == 5_000_000)
                let call = try await client.bidirectional("/test.Test/Echoes")
                var replies = call.replies.makeAsyncIterator()
                for size in [0, 1, 1_000_000] {
                    try await call.send(zeros(size))
                    let echo = try await replies.next()
                    #expect(echo?.readableBytes == size)
                }
                await client.close()
            }
        }
    }

    @Test func certificatesMayBeBytes() async throws {
        try await self.withCertificates { certificates in
            func pem(_ name: String) throws -> GRPCTLS.PEM {
                .bytes(Array(try Data(contentsOf: URL(fileURLWithPath: certificates.path(name)))))
            }
            let server = GRPCTLS(certificateChain: try pem("server.pem"), privateKey: try pem("server.key"))
            try await withServer(["/t/Who": Self.whoAreYou], tls: server) { _, port in
                let reply = try await self.ask(port, GRPCTLS(trustRoots: try pem("ca.pem")))
                #expect(reply == "true false")
            }
        }
    }

    @Test func badCertificatesAreTheCallersMistake() async throws {
        let server = try GRPCServer(methods: [:], group: testLoops)
        for tls in [
            GRPCTLS(), GRPCTLS(certificateChain: .file("/nonexistent.pem"), privateKey: .file("/nonexistent.key")),
            GRPCTLS(certificateChain: .bytes([1, 2, 3]), privateKey: .bytes([1, 2, 3])),
        ] {
            await expectFailure(.invalidArgument) { try await server.start(host: "127.0.0.1", port: 0, tls: tls) }
        }
        await server.drain(grace: .zero)
    }
}
