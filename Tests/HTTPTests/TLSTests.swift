import Foundation
import HTTP
import NIOSSL
import Primitives
import TestSupport
import Testing

@Suite(.serialized) struct TLSTests {
    /// A certificate for 127.0.0.1, made by the openssl command; nil where there is none.
    private func certificate(in folder: URL) throws -> (certificate: String, key: String)? {
        guard FileManager.default.isExecutableFile(atPath: "/usr/bin/openssl") else {
            #expect(ProcessInfo.processInfo.environment["CI"] != "true", "openssl is missing")
            return nil
        }
        let certificate = folder.appendingPathComponent("cert.pem").path
        let key = folder.appendingPathComponent("key.pem").path
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
        process.arguments = [
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj",
            "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out",
            certificate,
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        let status = process.awaitEnd()
        #expect(status == 0)
        return (certificate, key)
    }

    @Test func httpsIsServedToWhoTrustsTheCertificate() async throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("vecraft-tls-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        guard let files = try self.certificate(in: folder) else { return }
        let tls = try HTTPServerSettings.tls(certificate: files.certificate, key: files.key)
        let route = HTTPRoute(.get, "/") { _ in .text("secret") }
        try await withServer([route], change: { $0.tls = tls }) { plain, _ async throws in
            var trusting = TLSConfiguration.makeClientConfiguration()
            trusting.trustRoots = .file(files.certificate)
            #expect(try await HTTPClient.patient(HTTPClient(port: plain.port, tls: trusting)).get("/").text == "secret")
            let distrusting = HTTPClient.patient(HTTPClient(port: plain.port, tls: .makeClientConfiguration()))
            let error = await #expect(throws: VecraftError.self) { try await distrusting.get("/") }
            #expect(error?.code == .unavailable)
            await #expect(throws: VecraftError.self) { try await plain.get("/") }
        }
    }

    @Test func aFileThatCannotBeUsedIsNamed() {
        let error = #expect(throws: VecraftError.self) {
            try HTTPServerSettings.tls(certificate: "/nowhere.pem", key: "/k")
        }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.message.contains("/nowhere.pem") == true)
    }
}
