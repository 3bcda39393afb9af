import Foundation
import MetricsExporter
import Observability
import Primitives
import TestSupport
import Testing

@Suite struct CertificateTests {
    private func certificate(_ file: String, days: Int) async throws -> String {
        let made = try await PythonEnvironment.run(
            "/usr/bin/env",
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days",
                "\(days)", "-subj", "/CN=node", "-keyout", file + ".key", "-out", file,
            ], limit: .seconds(60))
        try #require(made.succeeded, "\(made)")
        return try String(contentsOfFile: file, encoding: .utf8)
    }

    @Test func theFirstEndOfAChainCounts() async throws {
        let directory = try TemporaryDirectory()
        let long = try await self.certificate(directory.file("long.pem"), days: 30)
        let before = Int(Date().timeIntervalSince1970)
        let short = try await self.certificate(directory.file("short.pem"), days: 3)
        let after = Int(Date().timeIntervalSince1970)
        let chain = directory.file("chain.pem")
        try (long + short).write(toFile: chain, atomically: true, encoding: .utf8)
        let end = try CertificateMetrics.expiry(of: chain)
        #expect((before + 3 * 86_400 - 1...after + 3 * 86_400 + 1).contains(end))
        let metrics = CertificateMetrics(MetricsRegistry())
        try metrics.show("grpc", file: chain)
        #expect(metrics.expiry.with("grpc").value == Double(end))
    }

    @Test func aFileWithoutACertificateIsSaid() throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("no.pem")
        try "nothing".write(toFile: file, atomically: true, encoding: .utf8)
        #expect(throws: VecraftError.self) { _ = try CertificateMetrics.expiry(of: file) }
        #expect(throws: VecraftError.self) { _ = try CertificateMetrics.expiry(of: directory.file("absent")) }
    }
}
