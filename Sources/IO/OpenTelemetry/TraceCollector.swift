internal import GRPC
internal import Glibc
internal import HTTP
internal import NIOCore
internal import NIOPosix
internal import NIOSSL
internal import Primitives
internal import Wire

/// What came of a batch that was sent.
enum ExportOutcome: Sendable {
    case taken(rejected: UInt64, message: String)
    /// The collector cannot now; the same again later, not before a time if it names one.
    case again(VecraftError)
    /// The same again would be refused again.
    case refused(VecraftError)
}

/// Sends batches to a collector.
protocol TraceCollector: Sendable {
    /// Takes no longer than `timeout`.
    func send(_ request: [UInt8], timeout: Duration) async -> ExportOutcome
    func close() async
}

/// OTLP over gRPC. What may be sent again is the specification's list ("OTLP/gRPC Response").
struct GRPCTraceCollector: TraceCollector {
    private static let method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    private let client: GRPCClient
    private let metadata: GRPCMetadata

    init(_ settings: TraceExportSettings, group: MultiThreadedEventLoopGroup) throws(VecraftError) {
        var wire = GRPCClientSettings()
        wire.maxBackoff = .seconds(5)
        // One batch at a time, and one that follows it.
        wire.maxCalls = 4
        if settings.compresses { wire.compressRequestsFrom = 1_024 }
        // `RetryInfo`: whether and when to come again.
        wire.statusDetails = { StatusDetails.decode($0, into: &$1) }
        func pem(_ path: String) -> GRPCTLS.PEM? { path.isEmpty ? nil : .file(path) }
        let tls =
            settings.isSecure
            ? GRPCTLS(
                certificateChain: pem(settings.clientCertificate), privateKey: pem(settings.clientKey),
                trustRoots: pem(settings.certificate)) : nil
        self.client = try GRPCClient(
            host: settings.host, port: settings.port, tls: tls, settings: wire, group: group)
        var metadata = GRPCMetadata()
        for header in settings.headers { metadata.add(header.name, header.value) }
        self.metadata = metadata
    }

    func send(_ request: [UInt8], timeout: Duration) async -> ExportOutcome {
        do throws(VecraftError) {
            let reply = try await self.client.unary(
                Self.method, ByteBuffer(bytes: request), metadata: self.metadata, timeout: timeout)
            return ExportReply.outcome(Array(reply.message.readableBytesView))
        } catch {
            switch error.code {
            case .cancelled, .deadlineExceeded, .aborted, .outOfRange, .unavailable, .dataLoss: return .again(error)
            case .resourceExhausted: return error.retryAfter == nil ? .refused(error) : .again(error)
            default: return .refused(error)
            }
        }
    }

    func close() async { await self.client.close() }
}

/// OTLP over HTTP with protobuf, a connection a batch.
struct HTTPTraceCollector: TraceCollector {
    private let client: HTTPClient
    private let path: String
    private let headers: [(String, String)]
    private let compresses: Bool

    init(_ settings: TraceExportSettings, group: MultiThreadedEventLoopGroup) throws(VecraftError) {
        var context: NIOSSLContext?
        if settings.isSecure {
            var made = TLSConfiguration.makeClientConfiguration()
            let variable = "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY"
            do {
                if !settings.certificate.isEmpty {
                    made.trustRoots = .certificates(try NIOSSLCertificate.fromPEMFile(settings.certificate))
                }
                if !settings.clientCertificate.isEmpty {
                    made.certificateChain = try NIOSSLCertificate.fromPEMFile(settings.clientCertificate)
                        .map { .certificate($0) }
                }
                if !settings.clientKey.isEmpty {
                    made.privateKey = .privateKey(try NIOSSLPrivateKey(file: settings.clientKey, format: .pem))
                }
                // Once: it reads all authorities of the system.
                context = try NIOSSLContext(configuration: made)
            } catch { throw .invalid(variable, "cannot be used: \(error)") }
        }
        var client = HTTPClient(host: settings.host, port: settings.port, eventLoops: group)
        client.context = context
        client.maximumBytes = 1 << 20
        self.client = client
        self.path = settings.path
        self.compresses = settings.compresses
        self.headers =
            [("content-type", "application/x-protobuf"), ("user-agent", "vecraft")]
            + (settings.compresses ? [("content-encoding", "gzip")] : [])
            + settings.headers.map { ($0.name, $0.value) }
    }

    func send(_ request: [UInt8], timeout: Duration) async -> ExportOutcome {
        do throws(VecraftError) {
            var body = request
            if self.compresses {
                var packed = ByteBuffer()
                try Gzip.deflate(ByteBuffer(bytes: request), into: &packed)
                body = Array(packed.readableBytesView)
            }
            var client = self.client
            client.timeout = timeout
            let reply = try await client.send("POST", self.path, headers: self.headers, body: body)
            switch reply.status {
            case 200..<300: return ExportReply.outcome(reply.body)
            case 429, 502, 503, 504:
                let seconds = reply.header("retry-after").flatMap { Int($0) ?? HTTPDate.seconds($0, after: time(nil)) }
                return .again(
                    VecraftError(
                        .unavailable, "the collector answered \(reply.status)",
                        retryAfter: seconds.map { .seconds(max(0, $0)) }))
            default: return .refused(VecraftError(.failedPrecondition, "the collector answered \(reply.status)"))
            }
        } catch {
            // An answer that is too long: it may have been taken, and would come twice.
            return error.code == .resourceExhausted ? .refused(error) : .again(error)
        }
    }

    func close() async {}
}

private enum ExportReply {
    /// What cannot be read counts as taken: the status said so.
    static func outcome(_ bytes: [UInt8]) -> ExportOutcome {
        let partial = (try? OTLPCollectorTraceV1.ExportTraceServiceResponse.decode(bytes))?.partialSuccess
        return .taken(
            rejected: UInt64(max(0, partial?.rejectedSpans ?? 0)), message: partial?.errorMessage ?? "")
    }
}
