internal import NIOSSL
package import Observability
package import Primitives

/// When the certificates of the listeners end.
package struct CertificateMetrics: Sendable {
    package let expiry: GaugeFamily

    package init(_ registry: MetricsRegistry) {
        self.expiry = registry.gauge(
            "vecraft_tls_certificate_expiry_timestamp_seconds",
            help: "When the first certificate of the listener's chain ends; read when the process began.",
            labels: ["listener"])
    }

    /// - Parameter file: PEM, as the listener was given it.
    /// - Throws: `FAILED_PRECONDITION` if there is no certificate in it.
    package func show(_ listener: String, file: String) throws(VecraftError) {
        self.expiry.with(listener).set(Double(try Self.expiry(of: file)))
    }

    /// Seconds since 1970 at which the first of the chain ends.
    package static func expiry(of file: String) throws(VecraftError) -> Int {
        let chain: [NIOSSLCertificate]
        do { chain = try NIOSSLCertificate.fromPEMFile(file) } catch {
            throw VecraftError(.failedPrecondition, "cannot read the certificates of \(file): \(error)")
        }
        guard let end = chain.map({ Int($0.notValidAfter) }).min() else {
            throw VecraftError(.failedPrecondition, "there is no certificate in \(file)")
        }
        return end
    }
}
