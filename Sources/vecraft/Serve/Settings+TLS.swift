internal import GRPC
internal import ServiceHost

extension Settings.GRPC {
    /// For each listener and each link between nodes; nil without TLS.
    var tls: GRPCTLS? {
        guard !self.tlsCertificate.isEmpty else { return nil }
        return GRPCTLS(
            certificateChain: .file(self.tlsCertificate), privateKey: .file(self.tlsKey),
            trustRoots: self.tlsClientCA.isEmpty ? nil : .file(self.tlsClientCA))
    }
}
