import NIOSSL
import Primitives

extension GRPCTLS {
    /// - Throws: INVALID_ARGUMENT saying which part is missing or unreadable.
    func serverContext() throws(VecraftError) -> NIOSSLContext {
        guard let chain = self.certificateChain else { throw .invalid("tls.certificateChain", "a server needs one") }
        guard let key = self.privateKey else { throw .invalid("tls.privateKey", "a server needs one") }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: try GRPCTLS.certificates(chain, "tls.certificateChain").map { .certificate($0) },
            privateKey: .privateKey(try GRPCTLS.key(key)))
        if let roots = self.trustRoots {
            configuration.trustRoots = .certificates(try GRPCTLS.certificates(roots, "tls.trustRoots"))
            // The name in a client's certificate is its identity, not its host.
            configuration.certificateVerification = .noHostnameVerification
        }
        return try GRPCTLS.context(configuration)
    }

    func clientContext() throws(VecraftError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        if let roots = self.trustRoots {
            configuration.trustRoots = .certificates(try GRPCTLS.certificates(roots, "tls.trustRoots"))
        }
        if let chain = self.certificateChain {
            guard let key = self.privateKey else { throw .invalid("tls.privateKey", "a certificate needs its key") }
            configuration.certificateChain = try GRPCTLS.certificates(chain, "tls.certificateChain").map { .certificate($0) }
            configuration.privateKey = .privateKey(try GRPCTLS.key(key))
        }
        return try GRPCTLS.context(configuration)
    }

    private static func context(_ configuration: TLSConfiguration) throws(VecraftError) -> NIOSSLContext {
        var configuration = configuration
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["h2"]
        do { return try NIOSSLContext(configuration: configuration) } catch {
            throw .invalid("tls", "certificate and key do not make a TLS context: \(error)")
        }
    }

    private static func certificates(_ pem: PEM, _ field: String) throws(VecraftError) -> [NIOSSLCertificate] {
        do {
            let found =
                switch pem {
                case .file(let path): try NIOSSLCertificate.fromPEMFile(path)
                case .bytes(let bytes): try NIOSSLCertificate.fromPEMBytes(bytes)
                }
            if !found.isEmpty { return found }
        } catch {
            throw .invalid(field, "no certificate could be read: \(error)")
        }
        throw .invalid(field, "holds no certificate")
    }

    private static func key(_ pem: PEM) throws(VecraftError) -> NIOSSLPrivateKey {
        do {
            switch pem {
            case .file(let path): return try NIOSSLPrivateKey(file: path, format: .pem)
            case .bytes(let bytes): return try NIOSSLPrivateKey(bytes: bytes, format: .pem)
            }
        } catch {
            throw .invalid("tls.privateKey", "no private key could be read: \(error)")
        }
    }
}
