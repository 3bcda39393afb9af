import Foundation
import HTTP
import NIOCore
import NIOSSL
import Observability
import Primitives
import Testing

@Suite(.serialized) struct ServerTests {
    private let echo = HTTPRoute(.post, "/echo") { call in
        HTTPReply(contentType: call.header("Content-Type"), body: call.body)
    }

    @Test func aBodyGoesInAndOut() async throws {
        try await withServer([self.echo]) { client, _ async throws in
            #expect(try await client.post("/echo", json: "{\"a\":1}").text == "{\"a\":1}")
            #expect(try await client.post("/echo", json: "").body.isEmpty)
            // Many reads long, and not a multiple of anything.
            let body = (0..<3_000_001).map { UInt8(truncatingIfNeeded: $0 &* 31) }
            let reply = try await client.send("POST", "/echo", headers: [("content-type", "x/y")], body: body)
            #expect(reply.body == body)
            #expect(reply.header("content-type") == "x/y")
        }
    }

    @Test func theRequestIDIsEchoedWhenFitAndMadeOtherwise() async throws {
        let route = HTTPRoute(.get, "/") { .text($0.requestID) }
        try await withServer([route]) { client, _ async throws in
            let given = try await client.get("/", headers: [("X-Request-ID", "abc-123")])
            #expect(given.text == "abc-123")
            #expect(given.header("x-request-id") == "abc-123")
            let made = try await client.get("/")
            #expect(made.text.utf8.count == 32)
            #expect(made.header("x-request-id") == made.text)
            #expect(try await client.get("/").text != made.text)
            for unfit in ["has space", String(repeating: "x", count: 129)] {
                #expect(try await client.get("/", headers: [("x-request-id", unfit)]).text != unfit)
            }
            #expect(try await client.get("/nowhere", headers: [("x-request-id", "r")]).header("x-request-id") == "r")
        }
    }

    @Test func theCallersTraceIsPassedOn() async throws {
        let route = HTTPRoute(.get, "/") { call in
            .text("\(call.trace?.traceparent ?? "none") \(call.traceState ?? "none")")
        }
        try await withServer([route]) { client, _ async throws in
            let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            #expect(
                try await client.get("/", headers: [("traceparent", parent), ("tracestate", "a=b")]).text
                    == "\(parent) a=b")
            #expect(try await client.get("/").text == "none none")
            #expect(try await client.get("/", headers: [("traceparent", "00-zz")]).text == "none none")
        }
    }

    @Test func aBodyThatBreaksOffIsTheClientsMistake() async throws {
        try await withServer([self.echo]) { client, _ async throws in
            let raw = try RawConnection(port: client.port)
            raw.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nhalf")
            raw.endSending()
            let answer = await raw.receiveAll()
            #expect(answer.hasPrefix("HTTP/1.1 400 "), "\(answer)")
            #expect(answer.contains("\"reason\":\"BODY_INCOMPLETE\""))
        }
    }

    @Test func aBodyOverTheLimitIsRefusedAndTheConnectionLivesOn() async throws {
        try await withServer([self.echo], change: { $0.maximumBodyBytes = 1_000 }) { client, _ async throws in
            #expect(try await client.send("POST", "/echo", body: Array(repeating: 65, count: 1_000)).status == 200)
            let raw = try RawConnection(port: client.port)
            raw.send(
                "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n\r\n" + String(repeating: "a", count: 1_001))
            raw.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi")
            let answers = await raw.receiveAll()
            #expect(answers.contains("HTTP/1.1 413 "))
            #expect(answers.contains("\"reason\":\"BODY_TOO_LARGE\""))
            #expect(answers.contains("\"code\":\"RESOURCE_EXHAUSTED\""))
            #expect(answers.contains("HTTP/1.1 200 "))
            #expect(answers.hasSuffix("hi"))
        }
    }

    @Test func aSenderWithoutEndIsAnsweredAndCutOff() async throws {
        try await withServer([self.echo], change: { $0.maximumBodyBytes = 1_000 }) { client, _ async throws in
            // Declared: refused before any of it is read.
            let declared = try RawConnection(port: client.port)
            declared.send("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n")
            let first = await declared.receiveAll()
            #expect(first.contains("HTTP/1.1 413 "))
            #expect(first.lowercased().contains("connection: close"))
            // Chunked: read up to twice the limit, then cut.
            let chunked = try RawConnection(port: client.port)
            chunked.send("POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            for _ in 0..<30 { chunked.send("64\r\n" + String(repeating: "a", count: 100) + "\r\n") }
            #expect(await chunked.receiveAll().contains("HTTP/1.1 413 "))
        }
    }

    @Test func whoAsksBeforeSendingIsToldToGoOnOrNotTo() async throws {
        try await withServer([self.echo], change: { $0.maximumBodyBytes = 1_000 }) { client, _ async throws in
            let head = "POST /echo HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
            let raw = try RawConnection(port: client.port)
            for body in ["hello", "again"] {
                raw.send(head + "content-length: 5\r\n\r\n")
                let interim = await raw.receive { $0.hasSuffix("\r\n\r\n") }
                #expect(interim == "HTTP/1.1 100 Continue\r\n\r\n")
                raw.send(body)
                let answer = await raw.receive { $0.hasSuffix("hello") || $0.hasSuffix("again") }
                #expect(answer.hasPrefix("HTTP/1.1 200 "))
            }
            raw.send(head + "content-length: 5000\r\n\r\n")
            #expect(await raw.receiveAll().hasPrefix("HTTP/1.1 413 "))
        }
    }

    @Test func bodiesShareABudgetAndGiveItBack() async throws {
        let registry = MetricsRegistry()
        try await withServer([self.echo], registry: registry, change: { $0.maximumBufferedBytes = 5_000 }) {
            client, _ async throws in
            for _ in 0..<5 {
                #expect(try await client.send("POST", "/echo", body: Array(repeating: 65, count: 4_000)).status == 200)
            }
            let refused = try await client.send("POST", "/echo", body: Array(repeating: 65, count: 6_000))
            #expect(refused.status == 503)
            #expect(try problem(refused)["reason"] == "HTTP_BODIES_FULL")
            #expect(refused.header("retry-after") == "1")
            #expect(try await client.send("POST", "/echo", body: Array(repeating: 65, count: 4_000)).status == 200)
        }
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_http_buffered_bytes 0\n"))
        #expect(page.contains("vecraft_http_requests_in_flight 0\n"))
        #expect(page.contains("vecraft_http_requests_total{route=\"/echo\",method=\"POST\",code=\"200\"} 6\n"))
        #expect(page.contains("vecraft_http_requests_total{route=\"/echo\",method=\"POST\",code=\"503\"} 1\n"))
        #expect(page.contains("vecraft_http_request_duration_seconds_count{route=\"/echo\",method=\"POST\"} 7\n"))
    }

    @Test func unknownPathsAndMethodsShareOneSeries() async throws {
        let registry = MetricsRegistry()
        try await withServer([self.echo], registry: registry) { client, _ async throws in
            for i in 0..<20 { _ = try await client.get("/nowhere/\(i)") }
            for i in 0..<20 { _ = try await client.send("PROPFIND", "/nowhere/\(i)") }
        }
        let page = String(decoding: registry.page(), as: UTF8.self)
        #expect(page.contains("vecraft_http_requests_total{route=\"unmatched\",method=\"GET\",code=\"404\"} 20\n"))
        #expect(page.contains("vecraft_http_requests_total{route=\"unmatched\",method=\"other\",code=\"404\"} 20\n"))
    }

    @Test func headersOutOfBoundsAndNonsenseAreRefused() async throws {
        try await withServer([self.echo]) { client, _ async throws in
            for nonsense in [
                "GET / HTTP/1.1\r\nhost: x\r\nbig: " + String(repeating: "x", count: 20_000) + "\r\n\r\n",
                "NOT HTTP AT ALL\r\n\r\n",
                "GET / HTTP/1.1\r\nhost: x\r\n" + (0..<300).map { "h\($0): v\r\n" }.joined() + "\r\n",
            ] {
                let raw = try RawConnection(port: client.port)
                raw.send(nonsense)
                let answer = await raw.receiveAll()
                #expect(answer.isEmpty || answer.hasPrefix("HTTP/1.1 400"), "\(nonsense.prefix(40))")
            }
            #expect(try await client.post("/echo", json: "still here").text == "still here")
        }
    }

    @Test func manyClientsAtOnceEachGetTheirOwnAnswer() async throws {
        let route = HTTPRoute(.get, "/{n}") { call in .text(call.parameter("n")) }
        try await withServer([route]) { client, _ async throws in
            let wrong = try await withThrowingTaskGroup(of: Bool.self) { group in
                for i in 0..<200 { group.addTask { try await client.get("/n\(i)").text != "n\(i)" } }
                return try await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(wrong == 0)
        }
    }

    @Test func aPortInUseIsAnErrorThatNamesIt() async throws {
        try await withServer([self.echo]) { client, _ async throws in
            let error = await #expect(throws: VecraftError.self) {
                try await withServer([self.echo], change: { $0.port = client.port }) { _, _ in }
            }
            #expect(error?.code == .failedPrecondition)
            #expect(error?.message.contains(":\(client.port)") == true)
        }
    }

    @Test func metricsAreServedInTheFormatAskedFor() async throws {
        let registry = MetricsRegistry()
        try await withServer([.metrics(registry)], registry: registry) { client, _ async throws in
            let text = try await client.get("/metrics")
            #expect(text.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
            #expect(text.text.contains("# TYPE vecraft_http_requests_in_flight gauge\n"))
            let open = try await client.get(
                "/metrics", headers: [("accept", "application/openmetrics-text;version=1.0.0")])
            #expect(open.header("content-type") == "application/openmetrics-text; version=1.0.0; charset=utf-8")
            #expect(open.text.hasSuffix("# EOF\n"))
        }
    }
}
