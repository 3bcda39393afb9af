internal import GRPC
package import Observability
package import Primitives

/// Where spans go, as OpenTelemetry's environment variables say (specification: "OTLP Exporter Configuration", "SDK Environment
/// Variables").
///
/// Spans are exported where an endpoint is given, or `OTEL_TRACES_EXPORTER=otlp`; a collector that nobody runs is not asked for. As the
/// specification has it, a value that is none of those known is warned of and counts as not set; an endpoint or header that cannot
/// be used is an error, for nothing would ever arrive. No value is repeated in either: there may be a secret in it.
package struct TraceExportSettings: Sendable, Equatable {
    package enum Transport: Sendable, Equatable {
        case grpc
        /// POST of protobuf.
        case http
    }

    package struct Header: Sendable, Equatable {
        package var name: String
        package var value: String
        package init(name: String, value: String) {
            self.name = name
            self.value = value
        }
    }

    package var transport = Transport.http
    package var host = "localhost"
    package var port = 4318
    /// Of HTTP, with its query.
    package var path = "/v1/traces"
    package var isSecure = false
    /// PEM files; empty: the system's authorities, no certificate of one's own.
    package var certificate = ""
    package var clientCertificate = ""
    package var clientKey = ""
    package var headers: [Header] = []
    package var compresses = false
    /// Of one request.
    package var timeout = Duration.seconds(10)
    package var sampler = TraceSampler.parentBased(root: .always)
    /// `service.name` first; no name twice.
    package var resource: [Header] = []
    /// Spans held for the exporter.
    package var queue = 2_048
    /// Most spans of one request.
    package var batch = 512
    /// Longest wait for a batch to fill.
    package var delay = Duration.seconds(5)
    /// Of a batch with its repeats; then it is lost, and counted.
    package var patience = Duration.seconds(30)
    /// Variables that were not understood, and what is done instead.
    package private(set) var warnings: [String] = []

    /// Nil: nothing is exported.
    /// - Throws: INVALID_ARGUMENT with the variable as field.
    package init?(environment: [String: String]) throws(VecraftError) {
        var variables = Variables(environment)
        if variables.flag("OTEL_SDK_DISABLED") { return nil }
        let endpoint = variables.ofTraces("ENDPOINT")
        let exporters = variables["OTEL_TRACES_EXPORTER"]?.lowercased().split(separator: ",").map { $0.trimmedBlanks }
        for other in exporters ?? [] where other != "otlp" && other != "none" {
            variables.warn("OTEL_TRACES_EXPORTER", "knows otlp and none; another is passed over")
        }
        if let exporters, exporters.contains(where: { $0 == "otlp" || $0 == "none" }) {
            guard exporters.contains("otlp") else { return nil }
        } else if endpoint == nil {
            return nil
        }
        self.readProtocol(&variables)
        try self.readEndpoint(endpoint, &variables)
        self.certificate = variables.ofTraces("CERTIFICATE")?.value ?? ""
        self.clientCertificate = variables.ofTraces("CLIENT_CERTIFICATE")?.value ?? ""
        self.clientKey = variables.ofTraces("CLIENT_KEY")?.value ?? ""
        if let headers = variables.ofTraces("HEADERS") { self.headers = try Self.headers(headers) }
        if let compression = variables.ofTraces("COMPRESSION") {
            switch compression.value.lowercased() {
            case "gzip": self.compresses = true
            case "none": break
            default: variables.warn(compression.name, "is neither gzip nor none; nothing is compressed")
            }
        }
        if let timeout = variables.milliseconds(variables.ofTraces("TIMEOUT"), 0...600_000) {
            // 0 is no limit; the patience with a batch is one all the same.
            self.timeout = timeout == .zero ? .seconds(600) : timeout
        }
        self.readSampler(&variables)
        self.readResource(&variables)
        self.readBatches(&variables)
        self.warnings = variables.warnings
    }

    private mutating func readProtocol(_ variables: inout Variables) {
        guard let named = variables.ofTraces("PROTOCOL") else { return }
        switch named.value.lowercased() {
        case "grpc": self.transport = .grpc
        case "http/protobuf": self.transport = .http
        default: variables.warn(named.name, "is neither grpc nor http/protobuf; http/protobuf is spoken")
        }
    }

    private mutating func readEndpoint(
        _ endpoint: Variables.Named?, _ variables: inout Variables
    ) throws(VecraftError) {
        self.port = self.transport == .grpc ? 4317 : 4318
        guard let endpoint else { return }
        var rest = Substring(endpoint.value)
        if let scheme = rest.firstRange(of: "://") {
            switch rest[..<scheme.lowerBound].lowercased() {
            case "http": (self.isSecure, self.port) = (false, 80)
            case "https": (self.isSecure, self.port) = (true, 443)
            default: throw .invalid(endpoint.name, "begins with neither http:// nor https://")
            }
            rest = rest[scheme.upperBound...]
        } else if self.transport == .grpc {
            self.isSecure = !variables.flag(variables.ofTraces("INSECURE"))
        } else {
            throw .invalid(endpoint.name, "is no URL, such as http://collector:4318")
        }
        rest = rest.prefix { $0 != "#" }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let path = rest[authority.endIndex...].prefix { $0 != "?" }
        let query = rest[path.endIndex...]
        if self.transport == .http {
            // The one for all signals is a base; that for traces is taken as it is.
            let isOfTraces = endpoint.name.contains("_TRACES_")
            let whole = isOfTraces ? (path.isEmpty ? "/" : String(path)) : path.trimmingSlashes + "/v1/traces"
            self.path = whole + query
        }
        guard let (host, port) = Self.split(authority, otherwise: self.port) else {
            throw .invalid(
                endpoint.name,
                "does not name a host, and at most a port from 1 to 65535; users and passwords go into headers")
        }
        (self.host, self.port) = (host, port)
    }

    private static func split(_ authority: Substring, otherwise port: Int) -> (String, Int)? {
        guard !authority.contains("@") else { return nil }
        if authority.first == "[" {
            guard let end = authority.firstIndex(of: "]") else { return nil }
            let host = authority[authority.index(after: authority.startIndex)..<end]
            let rest = authority[authority.index(after: end)...]
            if rest.isEmpty { return (String(host), port) }
            guard rest.first == ":", let given = Int(rest.dropFirst()), (1...65_535).contains(given) else { return nil }
            return (String(host), given)
        }
        let parts = authority.split(separator: ":", omittingEmptySubsequences: false)
        guard let host = parts.first, !host.isEmpty, parts.count <= 2 else { return nil }
        guard parts.count == 2 else { return (String(host), port) }
        guard let given = Int(parts[1]), (1...65_535).contains(given) else { return nil }
        return (String(host), given)
    }

    private mutating func readSampler(_ variables: inout Variables) {
        guard let named = variables["OTEL_TRACES_SAMPLER"]?.lowercased() else { return }
        let isFollowing = named.hasPrefix("parentbased_")
        var sampler: TraceSampler
        switch isFollowing ? named.dropFirst("parentbased_".count) : named[...] {
        case "always_on": sampler = .always
        case "always_off": sampler = .never
        case "traceidratio": sampler = .ratio(variables.ratio("OTEL_TRACES_SAMPLER_ARG") ?? 1)
        default:
            return variables.warn(
                "OTEL_TRACES_SAMPLER",
                "is none of always_on, always_off and traceidratio, nor one of these behind parentbased_; parentbased_always_on is taken"
            )
        }
        if isFollowing { sampler = .parentBased(root: sampler) }
        self.sampler = sampler
    }

    private mutating func readResource(_ variables: inout Variables) {
        if let text = variables["OTEL_RESOURCE_ATTRIBUTES"] {
            do throws(VecraftError) {
                for pair in try Self.pairs(.init(name: "OTEL_RESOURCE_ATTRIBUTES", value: text)) {
                    self.setResource(pair.name, pair.value)
                }
            } catch {
                self.resource = []
                variables.warn(
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "is not name=value,name=value, percent-encoded; all of it is passed over")
            }
        }
        if let name = variables["OTEL_SERVICE_NAME"] { self.setResource("service.name", name) }
    }

    /// Of the same name the last counts.
    private mutating func setResource(_ name: String, _ value: String) {
        self.resource.removeAll { $0.name == name }
        self.resource.append(Header(name: name, value: value))
    }

    /// What this process knows of itself; what the operator said goes before it.
    package mutating func complete(_ known: [(name: String, value: String)]) {
        for (name, value) in known where !value.isEmpty && !self.resource.contains(where: { $0.name == name }) {
            self.resource.append(Header(name: name, value: value))
        }
        self.resource.sort {
            ($0.name == "service.name" ? 0 : 1, $0.name) < ($1.name == "service.name" ? 0 : 1, $1.name)
        }
    }

    private mutating func readBatches(_ variables: inout Variables) {
        self.delay = variables.milliseconds(variables.named("OTEL_BSP_SCHEDULE_DELAY"), 10...600_000) ?? self.delay
        self.patience = variables.milliseconds(variables.named("OTEL_BSP_EXPORT_TIMEOUT"), 1...600_000) ?? self.patience
        self.queue = variables.number(variables.named("OTEL_BSP_MAX_QUEUE_SIZE"), 1...1_000_000) ?? self.queue
        self.batch = variables.number(variables.named("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), 1...65_536) ?? self.batch
        self.batch = min(self.batch, self.queue)
    }

    /// Header fields, with names in lower case.
    private static func headers(_ named: Variables.Named) throws(VecraftError) -> [Header] {
        var headers: [Header] = []
        for (i, pair) in try Self.pairs(named).enumerated() {
            let name = pair.name.lowercased()
            guard GRPCMetadata.isName(name), !GRPCMetadata.isReserved(name), !name.hasSuffix("-bin"),
                !Self.ours.contains(name)
            else {
                throw .invalid(
                    named.name, "pair \(i + 1) names a header that cannot be sent, or is not for the operator to set")
            }
            guard pair.value.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) else {
                throw .invalid(named.name, "the value of \(name) is more than printable ASCII")
            }
            headers.append(Header(name: name, value: pair.value))
        }
        return headers
    }

    /// Headers that belong to the exchange itself.
    private static let ours: Set = [
        "host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding", "te",
        "user-agent",
    ]

    /// "a=b,c=d", each percent-encoded (W3C Baggage, section 3.2).
    private static func pairs(_ named: Variables.Named) throws(VecraftError) -> [Header] {
        var pairs: [Header] = []
        for (i, part) in named.value.split(separator: ",").enumerated() {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, let name = PercentText.decode(pair[0].trimmedBlanks), !name.isEmpty,
                let value = PercentText.decode(pair[1].trimmedBlanks)
            else { throw .invalid(named.name, "pair \(i + 1) is not name=value, percent-encoded") }
            pairs.append(Header(name: name, value: value))
        }
        return pairs
    }
}

/// An environment, asked for variables; an empty one counts as not set.
private struct Variables {
    struct Named {
        var name: String
        var value: String
    }
    private let environment: [String: String]
    private(set) var warnings: [String] = []

    init(_ environment: [String: String]) { self.environment = environment }

    subscript(_ name: String) -> String? {
        self.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    func named(_ name: String) -> Named? { self[name].map { Named(name: name, value: $0) } }

    /// The one for traces, else that for all signals.
    func ofTraces(_ what: String) -> Named? {
        self.named("OTEL_EXPORTER_OTLP_TRACES_" + what) ?? self.named("OTEL_EXPORTER_OTLP_" + what)
    }

    mutating func warn(_ name: String, _ what: String) { self.warnings.append("\(name) \(what)") }

    mutating func flag(_ name: String) -> Bool { self.flag(self.named(name)) }
    /// Whatever is not true is false.
    mutating func flag(_ named: Named?) -> Bool {
        guard let named else { return false }
        switch named.value.lowercased() {
        case "true": return true
        case "false": return false
        default:
            self.warn(named.name, "is neither true nor false; false is taken")
            return false
        }
    }

    mutating func number(_ named: Named?, _ range: ClosedRange<Int>) -> Int? {
        guard let named else { return nil }
        guard let value = Int(named.value), range.contains(value) else {
            self.warn(named.name, "is no number from \(range.lowerBound) to \(range.upperBound); the default is taken")
            return nil
        }
        return value
    }
    mutating func milliseconds(_ named: Named?, _ range: ClosedRange<Int>) -> Duration? {
        self.number(named, range).map { .milliseconds($0) }
    }
    mutating func ratio(_ name: String) -> Double? {
        guard let text = self[name] else { return nil }
        guard let value = Double(text), (0...1).contains(value) else {
            self.warn(name, "is no number from 0 to 1; 1 is taken")
            return nil
        }
        return value
    }
}

private enum PercentText {
    /// Nil for what is no text, or no encoding of one.
    static func decode(_ text: Substring) -> String? {
        var bytes: [UInt8] = []
        var rest = text.utf8[...]
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "%") else {
                bytes.append(byte)
                continue
            }
            // Two digits and no sign, which Swift would take.
            let digits = rest.prefix(2)
            guard digits.count == 2, digits.allSatisfy({ Character(UnicodeScalar($0)).isHexDigit }),
                let code = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
            else { return nil }
            bytes.append(code)
            rest = rest.dropFirst(2)
        }
        return String(validating: bytes, as: UTF8.self)
    }
}

extension Substring {
    fileprivate var trimmedBlanks: Substring {
        var text = self.drop { $0 == " " || $0 == "\t" }
        while let last = text.last, last == " " || last == "\t" { text.removeLast() }
        return text
    }

    fileprivate var trimmingSlashes: String {
        var text = self
        while text.hasSuffix("/") { text.removeLast() }
        return String(text)
    }
}
