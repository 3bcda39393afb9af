package import Observability
package import Primitives

/// Where spans go, as OpenTelemetry's environment variables say (specification: "OTLP Exporter Configuration", "SDK Environment
/// Variables").
///
/// Spans are exported where an endpoint is given, or `OTEL_TRACES_EXPORTER=otlp`; a collector that nobody runs is not asked for.
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
    /// Of HTTP.
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

    /// Nil: nothing is exported.
    /// - Throws: INVALID_ARGUMENT with the variable as field.
    package init?(environment: [String: String]) throws(VecraftError) {
        var variables = Variables(environment)
        if try variables.flag("OTEL_SDK_DISABLED") { return nil }
        let exporter = variables["OTEL_TRACES_EXPORTER"]
        let endpoint = variables.ofTraces("ENDPOINT")
        switch exporter {
        case "none": return nil
        case "otlp": break
        case nil: if endpoint == nil { return nil }
        case .some(let other): throw .invalid("OTEL_TRACES_EXPORTER", "\"\(other)\"; otlp or none")
        }
        try self.readProtocol(&variables)
        try self.readEndpoint(endpoint, &variables)
        self.certificate = variables.ofTraces("CERTIFICATE")?.value ?? ""
        self.clientCertificate = variables.ofTraces("CLIENT_CERTIFICATE")?.value ?? ""
        self.clientKey = variables.ofTraces("CLIENT_KEY")?.value ?? ""
        if let headers = variables.ofTraces("HEADERS") { self.headers = try Self.pairs(headers, lowercased: true) }
        if let compression = variables.ofTraces("COMPRESSION") {
            switch compression.value {
            case "gzip": self.compresses = true
            case "none": break
            default: throw .invalid(compression.name, "\"\(compression.value)\"; gzip or none")
            }
        }
        self.timeout = try variables.milliseconds(variables.ofTraces("TIMEOUT"), 1...600_000) ?? self.timeout
        try self.readSampler(&variables)
        try self.readResource(&variables)
        try self.readBatches(&variables)
    }

    private mutating func readProtocol(_ variables: inout Variables) throws(VecraftError) {
        guard let named = variables.ofTraces("PROTOCOL") else { return }
        switch named.value {
        case "grpc": self.transport = .grpc
        case "http/protobuf": self.transport = .http
        default: throw .invalid(named.name, "\"\(named.value)\"; grpc or http/protobuf")
        }
    }

    private mutating func readEndpoint(
        _ endpoint: Variables.Named?, _ variables: inout Variables
    ) throws(VecraftError) {
        self.port = self.transport == .grpc ? 4317 : 4318
        guard let endpoint else { return }
        var rest = Substring(endpoint.value)
        if let scheme = rest.firstRange(of: "://") {
            switch rest[..<scheme.lowerBound] {
            case "http": self.isSecure = false
            case "https": self.isSecure = true
            default: throw .invalid(endpoint.name, "\"\(endpoint.value)\" begins with neither http:// nor https://")
            }
            rest = rest[scheme.upperBound...]
        } else if self.transport == .grpc {
            self.isSecure = try !variables.flag(variables.ofTraces("INSECURE"))
        } else {
            throw .invalid(endpoint.name, "\"\(endpoint.value)\" is no URL, such as http://collector:4318")
        }
        let authority = rest.prefix { $0 != "/" && $0 != "?" }
        let path = String(rest[authority.endIndex...])
        let isOfTraces = endpoint.name.contains("_TRACES_")
        if self.transport == .http {
            // The one for all signals is a base; that for traces is taken as it is.
            self.path = isOfTraces ? (path.isEmpty ? "/" : path) : path.trimmingSlashes + "/v1/traces"
        }
        guard let (host, port) = Self.split(authority, otherwise: self.port) else {
            throw .invalid(endpoint.name, "\"\(endpoint.value)\" does not name a host and a port from 1 to 65535")
        }
        (self.host, self.port) = (host, port)
    }

    private static func split(_ authority: Substring, otherwise port: Int) -> (String, Int)? {
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

    private mutating func readSampler(_ variables: inout Variables) throws(VecraftError) {
        let argument = "OTEL_TRACES_SAMPLER_ARG"
        func ratio() throws(VecraftError) -> TraceSampler {
            guard let text = variables[argument] else { return .ratio(1) }
            guard let value = Double(text), (0...1).contains(value) else {
                throw .invalid(argument, "\"\(text)\"; 0 to 1")
            }
            return .ratio(value)
        }
        switch variables["OTEL_TRACES_SAMPLER"] {
        case nil, "parentbased_always_on": self.sampler = .parentBased(root: .always)
        case "parentbased_always_off": self.sampler = .parentBased(root: .never)
        case "parentbased_traceidratio": self.sampler = .parentBased(root: try ratio())
        case "always_on": self.sampler = .always
        case "always_off": self.sampler = .never
        case "traceidratio": self.sampler = try ratio()
        case .some(let other):
            throw .invalid(
                "OTEL_TRACES_SAMPLER",
                "\"\(other)\"; always_on, always_off, traceidratio, or one of these behind parentbased_")
        }
    }

    private mutating func readResource(_ variables: inout Variables) throws(VecraftError) {
        var attributes: [Header] = []
        if let text = variables["OTEL_RESOURCE_ATTRIBUTES"] {
            attributes = try Self.pairs(.init(name: "OTEL_RESOURCE_ATTRIBUTES", value: text), lowercased: false)
        }
        if let name = variables["OTEL_SERVICE_NAME"] { attributes.append(Header(name: "service.name", value: name)) }
        for attribute in attributes { self.setResource(attribute.name, attribute.value) }
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
        self.resource.sort { ($0.name == "service.name" ? 0 : 1, $0.name) < ($1.name == "service.name" ? 0 : 1, $1.name) }
    }

    private mutating func readBatches(_ variables: inout Variables) throws(VecraftError) {
        self.delay = try variables.milliseconds("OTEL_BSP_SCHEDULE_DELAY", 10...600_000) ?? self.delay
        self.patience = try variables.milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 1...600_000) ?? self.patience
        self.queue = try variables.number("OTEL_BSP_MAX_QUEUE_SIZE", 1...1_000_000) ?? self.queue
        self.batch = try variables.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1...65_536) ?? min(self.batch, self.queue)
        guard self.batch <= self.queue else {
            throw .invalid(
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "\(self.batch); at most OTEL_BSP_MAX_QUEUE_SIZE (\(self.queue))")
        }
    }

    /// "a=b,c=d", each percent-encoded (W3C Baggage, section 3.2).
    private static func pairs(_ named: Variables.Named, lowercased: Bool) throws(VecraftError) -> [Header] {
        var pairs: [Header] = []
        for part in named.value.split(separator: ",") {
            let pair = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            guard pair.count == 2, let name = PercentText.decode(pair[0].trimmedBlanks), !name.isEmpty,
                let value = PercentText.decode(pair[1].trimmedBlanks)
            else { throw .invalid(named.name, "\"\(part)\" is not name=value") }
            if lowercased, !name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) || !value.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7f }) {
                throw .invalid(named.name, "\"\(part)\" is more than printable ASCII")
            }
            pairs.append(Header(name: lowercased ? name.lowercased() : name, value: value))
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

    init(_ environment: [String: String]) { self.environment = environment }

    subscript(_ name: String) -> String? {
        self.environment[name].flatMap { $0.isEmpty ? nil : $0 }
    }

    private func named(_ name: String) -> Named? { self[name].map { Named(name: name, value: $0) } }

    /// The one for traces, else that for all signals.
    func ofTraces(_ what: String) -> Named? {
        self.named("OTEL_EXPORTER_OTLP_TRACES_" + what) ?? self.named("OTEL_EXPORTER_OTLP_" + what)
    }

    func flag(_ name: String) throws(VecraftError) -> Bool { try self.flag(self.named(name)) }
    func flag(_ named: Named?) throws(VecraftError) -> Bool {
        guard let named else { return false }
        switch named.value.lowercased() {
        case "true": return true
        case "false": return false
        default: throw .invalid(named.name, "\"\(named.value)\"; true or false")
        }
    }

    func number(_ named: Named?, _ range: ClosedRange<Int>) throws(VecraftError) -> Int? {
        guard let named else { return nil }
        guard let value = Int(named.value), range.contains(value) else {
            throw .invalid(named.name, "\"\(named.value)\"; \(range.lowerBound) to \(range.upperBound)")
        }
        return value
    }
    func number(_ name: String, _ range: ClosedRange<Int>) throws(VecraftError) -> Int? {
        try self.number(self.named(name), range)
    }
    func milliseconds(_ named: Named?, _ range: ClosedRange<Int>) throws(VecraftError) -> Duration? {
        try self.number(named, range).map { .milliseconds($0) }
    }
    func milliseconds(_ name: String, _ range: ClosedRange<Int>) throws(VecraftError) -> Duration? {
        try self.milliseconds(self.named(name), range)
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
            guard let code = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16), rest.count >= 2 else {
                return nil
            }
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
}

extension String {
    fileprivate var trimmingSlashes: String {
        var text = self
        while text.hasSuffix("/") { text.removeLast() }
        return text
    }
}
