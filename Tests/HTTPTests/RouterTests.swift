import HTTP
import Primitives
import Testing

@Suite struct RouterTests {
    /// Each route answers with its own pattern and parameters.
    private func echo(_ verb: HTTPVerb, _ pattern: String, _ names: String...) -> HTTPRoute {
        HTTPRoute(verb, pattern) { call in
            .text(([pattern] + names.map { "\($0)=\(call.parameter($0))" }).joined(separator: " "))
        }
    }

    private var routes: [HTTPRoute] {
        [
            self.echo(.get, "/"),
            self.echo(.get, "/v1/collections"),
            self.echo(.get, "/v1/collections/{collection}", "collection"),
            self.echo(.put, "/v1/collections/{collection}", "collection"),
            self.echo(.post, "/v1/collections/{collection}:restore", "collection"),
            self.echo(.post, "/v1/collections/{c}/points:search", "c"),
            self.echo(.post, "/v1/tenants/{tenant}/collections/{c}/points:search", "tenant", "c"),
            self.echo(.put, "/v1/collections/{c}/points", "c"),
            self.echo(.get, "/v1/collections/{c}/points/{id}", "c", "id"),
            self.echo(.delete, "/v1/collections/{c}/points/payload", "c"),
        ]
    }

    @Test func eachPathFindsItsRoute() async throws {
        try await withServer(self.routes) { client, _ async throws in
            let expected: [(String, String, String)] = [
                ("GET", "/", "/"),
                ("GET", "/v1/collections", "/v1/collections"),
                ("GET", "/v1/collections/docs", "/v1/collections/{collection} collection=docs"),
                ("PUT", "/v1/collections/docs", "/v1/collections/{collection} collection=docs"),
                ("POST", "/v1/collections/docs:restore", "/v1/collections/{collection}:restore collection=docs"),
                ("POST", "/v1/collections/docs/points:search", "/v1/collections/{c}/points:search c=docs"),
                (
                    "POST", "/v1/tenants/acme/collections/docs/points:search?timeout=1",
                    "/v1/tenants/{tenant}/collections/{c}/points:search tenant=acme c=docs"
                ),
                ("PUT", "/v1/collections/docs/points", "/v1/collections/{c}/points c=docs"),
                // A colon that is no verb belongs to the value, as does anything encoded.
                ("GET", "/v1/collections/docs/points/a:b", "/v1/collections/{c}/points/{id} c=docs id=a:b"),
                (
                    "GET", "/v1/collections/docs/points/a%2Fb%20%C3%BC+",
                    "/v1/collections/{c}/points/{id} c=docs id=a/b ü+"
                ),
                ("GET", "/v1/collections/docs%3Arestore", "/v1/collections/{collection} collection=docs:restore"),
                // A literal that lacks the method gives way to a parameter that has it.
                ("GET", "/v1/collections/docs/points/payload", "/v1/collections/{c}/points/{id} c=docs id=payload"),
            ]
            for (method, path, answer) in expected {
                let reply = try await client.send(method, path)
                #expect(reply.status == 200, "\(method) \(path)")
                #expect(reply.text == answer, "\(method) \(path)")
            }
        }
    }

    @Test func anUnknownPathIsAProblem() async throws {
        try await withServer(self.routes) { client, _ async throws in
            for path in [
                "/v2", "/v1/collections/", "/v1//collections", "/v1/collections/docs/points/", "/v1/collections/%zz",
                "/v1/collections/%ff",
            ] {
                let reply = try await client.get(path)
                #expect(reply.status == 404, "\(path)")
                let members = try problem(reply)
                #expect(members["code"] == "NOT_FOUND")
                #expect(members["instance"] == path)
                #expect(reply.header("content-type") == "application/problem+json")
            }
        }
    }

    @Test func aKnownPathWithAnotherMethodSaysWhichItHas() async throws {
        try await withServer(self.routes) { client, _ async throws in
            let reply = try await client.send("DELETE", "/v1/collections/docs")
            #expect(reply.status == 405)
            #expect(reply.header("allow") == "GET, HEAD, OPTIONS, PUT")
            #expect(try problem(reply)["code"] == "UNIMPLEMENTED")
            #expect(try await client.send("PROPFIND", "/v1/collections/docs").status == 405)
            #expect(try await client.get("/v1/collections/docs/points:search").header("allow") == "OPTIONS, POST")

            let options = try await client.send("OPTIONS", "/v1/collections/docs")
            #expect(options.status == 204)
            #expect(options.header("allow") == "GET, HEAD, OPTIONS, PUT")
            #expect(try await client.send("OPTIONS", "/nowhere").status == 404)
        }
    }

    @Test func headIsGetWithoutItsBody() async throws {
        try await withServer(self.routes) { client, _ async throws in
            let get = try await client.get("/v1/collections")
            let head = try await client.send("HEAD", "/v1/collections")
            #expect(head.status == 200)
            #expect(head.body.isEmpty)
            #expect(head.header("content-length") == get.header("content-length"))
            #expect(head.header("content-type") == get.header("content-type"))
            #expect(try await client.send("HEAD", "/nowhere").status == 404)
        }
    }

    @Test func theQueryIsDecoded() async throws {
        let route = HTTPRoute(.get, "/q") { call in
            .text(
                try call.query().map { "\($0.name)=\($0.value)" }.joined(separator: ";") + "|"
                    + (try call.query("a") ?? "-"))
        }
        try await withServer([route]) { client, _ async throws in
            #expect(try await client.get("/q?a=1&b=x+y%26&c&a=2").text == "a=1;b=x y&;c=;a=2|1")
            #expect(try await client.get("/q").text == "|-")
            let broken = try await client.get("/q?a=%4")
            #expect(broken.status == 400)
            #expect(try problem(broken)["field"] == "query")
        }
    }

    @Test func percentCodingIsItsOwnInverse() {
        for text in ["", "plain", "a/b:c?d=e&f+g h%", "ключ ü", "\u{0}\n"] {
            #expect(PercentCoding.decode(PercentCoding.encode(text), plusIsSpace: false) == text)
            #expect(PercentCoding.decode(PercentCoding.encode(text), plusIsSpace: true) == text)
        }
    }
}
