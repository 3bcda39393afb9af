import NIOSSL

/// Whether a certificate is for a host name. Source: RFC 9525, 6: names in `subjectAltName` count, the common name does not.
enum ServerName {
    static func stands(_ name: String, in certificate: NIOSSLCertificate) -> Bool {
        certificate._subjectAlternativeNames().contains { entry in
            entry.nameType == .dnsName && self.matches(name, String(decoding: entry.contents, as: UTF8.self))
        }
    }

    /// - Parameter pattern: A name whose first label may be `*`, which stands for one label.
    static func matches(_ name: String, _ pattern: String) -> Bool {
        let name = self.labels(name)
        let pattern = self.labels(pattern)
        guard name.count == pattern.count, name.count > 0, !name.contains("") else { return false }
        // "*" alone, or for all of a top-level domain, is nobody's certificate.
        if pattern[0] == "*" { return name.count > 2 && name.dropFirst() == pattern.dropFirst() }
        return name == pattern
    }

    private static func labels(_ name: String) -> [Substring] {
        let name = name.lowercased()
        // A root's dot at the end changes nothing.
        return (name.hasSuffix(".") ? name.dropLast() : name[...]).split(
            separator: ".", omittingEmptySubsequences: false)
    }
}
