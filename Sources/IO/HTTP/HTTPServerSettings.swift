package import NIOCore
package import NIOSSL
package import Primitives

/// Where and how the server listens.
package struct HTTPServerSettings: Sendable {
    package var host: String
    /// 0 lets the system choose; the one chosen is reported when bound.
    package var port: Int
    /// Nil serves plain HTTP.
    package var tls: TLSConfiguration?
    /// Longest request body. Bytes.
    package var maximumBodyBytes = Limits.messageBytes
    /// All bodies held at once. 512 MiB: eight of the longest; beyond it requests are refused with 503, before their
    /// body is read.
    package var maximumBufferedBytes = 512 << 20
    /// Connections beyond this wait in the system's backlog.
    package var maximumConnections = 4_096
    /// A connection on which nothing arrives for this long, and on which no answer is awaited, is closed.
    package var idleTimeout = TimeAmount.seconds(75)
    /// How long requests under way may take to finish once shutdown begins; then their tasks are cancelled.
    package var drainTimeout = Duration.seconds(10)

    package init(host: String = "127.0.0.1", port: Int = 7401, tls: TLSConfiguration? = nil) {
        self.host = host
        self.port = port
        self.tls = tls
    }

    /// TLS from PEM files, 1.2 or newer.
    /// - Throws: `.failedPrecondition` naming the file that cannot be used.
    package static func tls(certificate: String, key: String) throws(VecraftError) -> TLSConfiguration {
        let chain: [NIOSSLCertificateSource]
        do {
            chain = try NIOSSLCertificate.fromPEMFile(certificate).map { .certificate($0) }
        } catch {
            throw VecraftError(.failedPrecondition, "cannot read the TLS certificate \(certificate): \(error)")
        }
        let privateKey: NIOSSLPrivateKey
        do {
            privateKey = try NIOSSLPrivateKey(file: key, format: .pem)
        } catch {
            throw VecraftError(.failedPrecondition, "cannot read the TLS key \(key): \(error)")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain, privateKey: .privateKey(privateKey))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        return configuration
    }
}
