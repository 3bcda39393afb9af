import Observability
import OpenTelemetry
import Primitives
import Testing

@Suite struct TraceExportSettingsTests {
    private func read(_ environment: [String: String]) throws -> TraceExportSettings? {
        try TraceExportSettings(environment: environment)
    }

    @Test func withoutAnEndpointNothingIsExported() throws {
        #expect(try self.read([:]) == nil)
        #expect(try self.read(["OTEL_SERVICE_NAME": "a", "OTEL_EXPORTER_OTLP_ENDPOINT": ""]) == nil)
        #expect(try self.read(["OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1", "OTEL_SDK_DISABLED": "true"]) == nil)
        #expect(try self.read(["OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:1", "OTEL_TRACES_EXPORTER": "none"]) == nil)
        #expect(try self.read(["OTEL_TRACES_EXPORTER": "otlp"])?.host == "localhost")
    }

    @Test(arguments: [
        // Endpoint for all signals: a base. That for traces: taken as it is.
        (["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"], "http c 4318 /v1/traces false"),
        // A URL without a port has its scheme's.
        (["OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/"], "http c 443 /otlp/v1/traces true"),
        (["OTEL_EXPORTER_OTLP_ENDPOINT": "HTTP://c?key=1#x"], "http c 80 /v1/traces?key=1 false"),
        (
            ["OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "GRPC"],
            "grpc c 443 /v1/traces true"
        ),
        (["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:9/x"], "http c 9 /x false"),
        (["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:9"], "http c 9 / false"),
        (
            ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1/a", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:2"],
            "http t 1 /a false"
        ),
        (
            ["OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"],
            "grpc localhost 4317 /v1/traces false"
        ),
        (
            ["OTEL_EXPORTER_OTLP_ENDPOINT": "https://[::1]:99", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"],
            "grpc ::1 99 /v1/traces true"
        ),
        // Without a scheme, gRPC's way: secure unless said otherwise.
        (
            ["OTEL_EXPORTER_OTLP_ENDPOINT": "c:5", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"],
            "grpc c 5 /v1/traces true"
        ),
        (
            [
                "OTEL_EXPORTER_OTLP_ENDPOINT": "c:5", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_INSECURE": "true",
            ], "grpc c 5 /v1/traces false"
        ),
    ])
    func endpointsAreReadAsTheSpecificationSays(environment: [String: String], expected: String) throws {
        let settings = try #require(try self.read(environment))
        #expect(
            "\(settings.transport) \(settings.host) \(settings.port) \(settings.path) \(settings.isSecure)" == expected)
    }

    @Test func theRestIsReadToo() throws {
        let settings = try #require(
            try self.read([
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_EXPORTER_OTLP_HEADERS": "Api-Key=a%20b, x=1=2",
                "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_TIMEOUT": "250",
                "OTEL_RESOURCE_ATTRIBUTES": "service.name=old,deployment.environment=pr%C3%BCf",
                "OTEL_SERVICE_NAME": "new",
                "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25",
                "OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_EXPORT_TIMEOUT": "1000",
            ]))
        #expect(settings.headers == [.init(name: "api-key", value: "a b"), .init(name: "x", value: "1=2")])
        #expect(settings.compresses && settings.timeout == .milliseconds(250) && settings.delay == .milliseconds(100))
        #expect(settings.queue == 100 && settings.batch == 100 && settings.patience == .seconds(1))
        #expect(settings.sampler == .parentBased(root: .ratio(0.25)))
        var complete = settings
        complete.complete([("service.name", "vecraft"), ("host.name", "h"), ("empty", "")])
        #expect(
            complete.resource.map { "\($0.name)=\($0.value)" } == [
                "service.name=new", "deployment.environment=prüf", "host.name=h",
            ])
    }

    @Test(arguments: [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://c"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:0"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:x"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:b:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://me:s3cret@c:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization: s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%zz"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0A"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%+f"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%-0"), ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%4"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-auth-bin=s3cret"), ("OTEL_EXPORTER_OTLP_HEADERS", "api:key=s3cret"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x(a)=s3cret"), ("OTEL_EXPORTER_OTLP_HEADERS", "Host=s3cret"),
    ])
    func whatCannotWorkIsNamedByItsVariableAndNotRepeated(variable: String, value: String) {
        var environment = ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"]
        environment[variable] = value
        let error = #expect(throws: VecraftError.self) { try self.read(environment) }
        #expect(error?.code == .invalidArgument && error?.field == variable)
        #expect(error?.message.contains("s3cret") == false)
    }

    /// As the specification has it: warned of, and as if it were not set.
    @Test(arguments: [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"), ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_TRACES_EXPORTER", "otlp,console"),
        ("OTEL_TRACES_SAMPLER", "sometimes"), ("OTEL_SDK_DISABLED", "yes"), ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "many"), ("OTEL_RESOURCE_ATTRIBUTES", "a=1,=x"),
    ])
    func whatIsNotUnderstoodIsWarnedOf(variable: String, value: String) throws {
        var environment = ["OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"]
        let plain = try #require(try self.read(environment))
        environment[variable] = value
        let settings = try #require(try self.read(environment))
        #expect(settings.warnings.count == 1 && settings.warnings[0].hasPrefix(variable + " "), "\(settings.warnings)")
        #expect(
            settings.resource == plain.resource && settings.sampler == plain.sampler && settings.queue == plain.queue)
        #expect(
            settings.batch == plain.batch && settings.timeout == plain.timeout && settings.transport == plain.transport)
    }

    @Test func aRatioOutOfRangeIsWarnedOfToo() throws {
        let settings = try #require(
            try self.read([
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_SAMPLER": "TraceIDRatio",
                "OTEL_TRACES_SAMPLER_ARG": "1.5", "OTEL_EXPORTER_OTLP_TIMEOUT": "0", "OTEL_BSP_MAX_QUEUE_SIZE": "100",
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096",
            ]))
        #expect(settings.sampler == .ratio(1) && settings.warnings.count == 1 && settings.batch == 100)
        #expect(settings.timeout > .seconds(60), "0 is no limit")
    }
}
