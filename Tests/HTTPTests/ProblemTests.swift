import HTTP
import Primitives
import Testing

@Suite struct ProblemTests {
    @Test func everyCodeHasItsStatus() {
        let expected: [VecraftError.Code: Int] = [
            .cancelled: 499, .unknown: 500, .invalidArgument: 400, .deadlineExceeded: 504, .notFound: 404,
            .alreadyExists: 409,
            .permissionDenied: 403, .resourceExhausted: 429, .failedPrecondition: 400, .aborted: 412, .outOfRange: 400,
            .unimplemented: 501, .internalError: 500, .unavailable: 503, .dataLoss: 500, .unauthenticated: 401,
            .ok: 200,
        ]
        #expect(expected.count == VecraftError.Code.allCases.count)
        for (code, status) in expected { #expect(HTTPProblem.status(of: VecraftError(code, "x")) == status, "\(code)") }
        #expect(HTTPProblem.status(of: VecraftError(.resourceExhausted, "x", reason: "DISK_FULL")) == 507)
        #expect(HTTPProblem.status(of: VecraftError(.outOfRange, "x", reason: "PAGE_TOKEN_EXPIRED")) == 410)
    }

    @Test func anErrorThrownByAHandlerIsAProblemDocument() async throws {
        let routes = [
            HTTPRoute(.get, "/bad") { _ in throw VecraftError.invalid("points[3].vector", "has 2 dimensions, not 3") },
            HTTPRoute(.get, "/busy") { _ in
                throw VecraftError(
                    .resourceExhausted, "too \"fast\"", reason: "RATE_LIMITED", retryAfter: .milliseconds(1_200))
            },
            HTTPRoute(.get, "/soon") { _ in throw VecraftError(.unavailable, "x", retryAfter: .zero) },
            HTTPRoute(.get, "/who") { _ in throw VecraftError(.unauthenticated, "no credentials") },
        ]
        try await withServer(routes) { client, _ async throws in
            let bad = try await client.get("/bad?x=1", headers: [("x-request-id", "r-1")])
            #expect(bad.status == 400)
            #expect(bad.header("content-type") == "application/problem+json")
            #expect(
                try problem(bad) == [
                    "type": "urn:vecraft:error:INVALID_ARGUMENT", "title": "Bad Request", "status": "400",
                    "detail": "points[3].vector: has 2 dimensions, not 3", "instance": "/bad",
                    "code": "INVALID_ARGUMENT",
                    "request_id": "r-1", "field": "points[3].vector",
                ])
            let busy = try await client.get("/busy")
            #expect(busy.status == 429)
            #expect(busy.header("retry-after") == "2")
            let members = try problem(busy)
            #expect(members["retry_after_ms"] == "1200")
            #expect(members["reason"] == "RATE_LIMITED")
            #expect(members["detail"] == "too \"fast\"")
            #expect(members["type"] == "urn:vecraft:error:RATE_LIMITED")
            #expect(try await client.get("/soon").header("retry-after") == "1")
            #expect(try await client.get("/who").header("www-authenticate") == "Bearer")
        }
    }

    @Test func anUnexpectedErrorTellsTheClientNothing() async throws {
        struct Secretive: Error { let password = "hunter2" }
        try await withServer([HTTPRoute(.get, "/") { _ in throw Secretive() }]) { client, _ async throws in
            let reply = try await client.get("/")
            #expect(reply.status == 500)
            #expect(try problem(reply)["code"] == "INTERNAL")
            #expect(!reply.text.contains("hunter2"))
            #expect(!reply.text.contains("Secretive"))
        }
    }
}
