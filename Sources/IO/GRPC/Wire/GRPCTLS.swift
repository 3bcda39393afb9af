/// Certificates of one end of a connection, as PEM.
///
/// `trustRoots` decides whose certificates are believed: on a server, setting it demands a client certificate (mutual TLS);
/// on a client, nil means the system's roots.
package struct GRPCTLS: Sendable {
    package enum PEM: Sendable {
        case file(String)
        case bytes([UInt8])
    }

    /// Leaf first, then its issuers. A server must have one; a client only for mutual TLS.
    package var certificateChain: PEM?
    package var privateKey: PEM?
    package var trustRoots: PEM?
    /// Client only: the name the server's certificate must carry, when it is not the host connected to.
    package var serverName: String?

    package init(
        certificateChain: PEM? = nil, privateKey: PEM? = nil, trustRoots: PEM? = nil, serverName: String? = nil
    ) {
        self.certificateChain = certificateChain
        self.privateKey = privateKey
        self.trustRoots = trustRoots
        self.serverName = serverName
    }
}
