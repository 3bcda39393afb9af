package import ArgumentParser
package import GRPC
package import Primitives

/// How an answer is written.
package enum OutputFormat: String, ExpressibleByArgument, CaseIterable, Sendable {
    /// Tables and sentences, for people.
    case text
    /// One JSON document, for programs.
    case json
}

/// A length of time on the command line, above zero and up to a day.
package struct Seconds: ExpressibleByArgument, Equatable, Sendable {
    package var duration: Duration
    private let text: String

    package init(_ seconds: Int) {
        self.duration = .seconds(seconds)
        self.text = "\(seconds)"
    }

    package init?(argument: String) {
        guard let value = Double(argument), value > 0, value <= 86_400 else { return nil }
        self.duration = .seconds(value)
        self.text = argument
    }

    package var defaultValueDescription: String { self.text }
}

/// `--output`, which every command has.
package struct OutputOptions: ParsableArguments {
    @Option(name: [.short, .long], help: "How to write the answer: text for people, json for programs.")
    package var output = OutputFormat.text

    package init() {}

    /// Writes the answer in the form asked for.
    package func write(_ json: @autoclosure () throws -> JSONValue, text: (Terminal) -> String) rethrows {
        switch self.output {
        case .json: Console.print(PrettyJSON.text(try json()))
        case .text: Console.print(text(.output), terminator: "")
        }
    }
}

/// Which node a command speaks to, and how: the same options everywhere.
package struct GlobalOptions: ParsableArguments {
    @OptionGroup package var format: OutputOptions

    @Option(
        help: ArgumentHelp(
            "The node's gRPC address. (default: $\(NodeAddress.environmentName), or 127.0.0.1:\(NodeAddress.defaultPort))",
            valueName: "host:port"))
    package var address: NodeAddress?

    @Flag(help: "Use TLS, and believe the certificate authorities of this machine.")
    package var tls = false

    @Option(help: ArgumentHelp("Use TLS, and believe this certificate authority (PEM).", valueName: "file"))
    package var tlsCA: String?

    @Option(help: ArgumentHelp("This client's own certificate, for mutual TLS (PEM).", valueName: "file"))
    package var tlsCertificate: String?

    @Option(help: ArgumentHelp("The key of --tls-certificate (PEM).", valueName: "file"))
    package var tlsKey: String?

    @Option(help: ArgumentHelp("Give up on an answer after so long. (default: 30)", valueName: "seconds"))
    package var timeout: Seconds?

    @Option(help: ArgumentHelp("The tenant whose collections are meant.", valueName: "name"))
    package var tenant = "default"

    package init() {}

    package mutating func validate() throws {
        guard (self.tlsCertificate == nil) == (self.tlsKey == nil) else {
            throw ValidationError("--tls-certificate and --tls-key belong together")
        }
    }

    /// The address to use: the option, the environment, the default.
    package func resolvedAddress() throws(VecraftError) -> NodeAddress {
        if let address = self.address { return address }
        guard let text = Environment[NodeAddress.environmentName], !text.isEmpty else {
            return NodeAddress(host: "127.0.0.1", port: NodeAddress.defaultPort)
        }
        guard let address = NodeAddress(argument: text) else {
            throw VecraftError(.invalidArgument, "$\(NodeAddress.environmentName) is '\(text)'; wanted is host:port")
        }
        return address
    }

    package var transportSecurity: GRPCTLS? {
        guard self.tls || self.tlsCA != nil || self.tlsCertificate != nil else { return nil }
        return GRPCTLS(
            certificateChain: self.tlsCertificate.map { .file($0) }, privateKey: self.tlsKey.map { .file($0) },
            trustRoots: self.tlsCA.map { .file($0) })
    }
}
