import ArgumentParser
import Primitives
import Testing
import Wire
import vecraft

@Suite struct NodeAddressTests {
    @Test(arguments: [
        ("localhost", "localhost", 7400), ("10.0.0.1:80", "10.0.0.1", 80), ("[::1]:7500", "::1", 7500),
        ("[fe80::2]", "fe80::2", 7400),
    ])
    func addressesAreUnderstood(text: String, host: String, port: Int) {
        #expect(NodeAddress(argument: text) == NodeAddress(host: host, port: port))
    }

    @Test(arguments: ["", ":80", "host:", "host:0", "host:65536", "host:x", "[::1", "[::1]x", "[]:1"])
    func othersAreRefused(text: String) { #expect(NodeAddress(argument: text) == nil) }

    @Test func theirTextReadsBack() {
        for address in [NodeAddress(host: "a", port: 1), NodeAddress(host: "::1", port: 2)] {
            #expect(NodeAddress(argument: address.description) == address)
        }
    }
}

@Suite struct FilterExpressionTests {
    @Test(arguments: [
        (["section=sound"], #"{"must":[{"key":"section","match":{"value":"sound"}}]}"#),
        (["a.b = 5"], #"{"must":[{"key":"a.b","match":{"value":5}}]}"#),
        (["a=\"5\""], #"{"must":[{"key":"a","match":{"value":"5"}}]}"#),
        (["a=true"], #"{"must":[{"key":"a","match":{"value":true}}]}"#),
        (["a=007"], #"{"must":[{"key":"a","match":{"value":"007"}}]}"#),
        (["a=x|y|3"], #"{"must":[{"key":"a","match":{"any":["x","y",3]}}]}"#),
        (["a=\"x|y\""], #"{"must":[{"key":"a","match":{"value":"x|y"}}]}"#),
        (["a!=x"], #"{"must_not":[{"key":"a","match":{"value":"x"}}]}"#),
        (["a=null"], #"{"must":[{"is_null":{"key":"a"}}]}"#),
        (["n<10"], #"{"must":[{"key":"n","range":{"lt":10}}]}"#),
        (["n>=-1.5", "n<=3"], #"{"must":[{"key":"n","range":{"gte":-1.5}},{"key":"n","range":{"lte":3}}]}"#),
        (["a=x=y"], #"{"must":[{"key":"a","match":{"value":"x=y"}}]}"#),
    ])
    func termsBecomeTheFilterOfTheAPI(terms: [String], json: String) throws {
        let filter = try FilterExpression.parse(terms)
        #expect(String(decoding: filter.encoded(), as: UTF8.self) == json)
        // And it is what the wire takes.
        _ = try VecraftV1.Filter(json: filter.encoded())
    }

    @Test(arguments: ["", "section", "=x", "a=", "n<ten", "n>"])
    func othersAreRefusedByName(term: String) {
        #expect(message { _ = try FilterExpression.parse([term]) }.hasPrefix("--where '\(term)': "))
    }
}

@Suite struct ExitStatusTests {
    @Test func everyCodeHasItsStatus() {
        let expected: [VecraftError.Code: Int32] = [
            .ok: 0, .cancelled: 1, .unknown: 1, .invalidArgument: 2, .deadlineExceeded: 5, .notFound: 3,
            .alreadyExists: 6,
            .permissionDenied: 6, .resourceExhausted: 4, .failedPrecondition: 6, .aborted: 6, .outOfRange: 2,
            .unimplemented: 1, .internalError: 1, .unavailable: 4, .dataLoss: 7, .unauthenticated: 6,
        ]
        for code in VecraftError.Code.allCases { #expect(ExitStatus(code).rawValue == expected[code]) }
        for status in ExitStatus.allCases { #expect(ExitStatus.help.contains("\n  \(status.rawValue)  ")) }
    }

    @Test func errorsAreForPeopleOrPrograms() {
        let error = VecraftError(
            .resourceExhausted, "the disk is full", field: "x", reason: "DISK_FULL", retryAfter: .seconds(2))
        #expect(
            Failure.text(error, Style(enabled: false))
                == "Error: the disk is full Try again in 2.0 s. [RESOURCE_EXHAUSTED, DISK_FULL]")
        #expect(
            String(decoding: Failure.json(error).encoded(), as: UTF8.self)
                == #"{"error":{"code":"RESOURCE_EXHAUSTED","message":"the disk is full","field":"x","reason":"DISK_FULL","retry_after_ms":2000}}"#
        )
        #expect(Failure.wantsJSON(["vecraft", "count", "x", "--output", "json"]))
        #expect(Failure.wantsJSON(["vecraft", "count", "-o", "json"]))
        #expect(!Failure.wantsJSON(["vecraft", "count", "json", "--output", "text"]))
    }
}

@Suite struct ArgumentTests {
    @Test func aCollectionIsDescribedOnOneLine() throws {
        let command = try CollectionCreateCommand.parse([
            "shop", "--dimension", "4", "--distance", "dot", "--vector", "image:512:l2", "--vector", "title:8",
            "--index", "brand:keyword", "--index", "a:b:integer", "--m", "8", "--tenant", "t",
            "--quantisation", "int4",
        ])
        let request = command.request
        #expect((request.name, request.tenant) == ("shop", "t"))
        #expect(
            request.config?.vector
                == VecraftV1.VectorConfig(dimension: 4, distance: .dot, hnsw: VecraftV1.HnswConfig(m: 8), quantisation: .int4))
        #expect(request.config?.vectors["image"]?.quantisation == .int4)
        #expect(request.config?.vectors["image"]?.distance == .l2)
        #expect(request.config?.vectors["title"]?.distance == .cosine)
        #expect(request.config?.payloadIndexes.map(\.field) == ["brand", "a:b"])
    }

    @Test func codesAreChangedOfAllVectorsOrOfSome() throws {
        let all = try CollectionUpdateCommand.parse(["shop", "--quantisation", "int8", "--tenant", "t"]).request
        #expect(all == VecraftV1.UpdateCollectionRequest(name: "shop", tenant: "t", quantisation: .int8))
        let some = try CollectionUpdateCommand.parse([
            "shop", "--quantisation", "none", "--vector", "image", "--vector", "title",
        ]).request
        #expect(some.vectors == ["image", "title"] && some.quantisation == .none)
        for mistake in [["shop"], ["shop", "--quantisation", "int2"], ["--quantisation", "int8"]] {
            #expect(throws: (any Error).self) { try CollectionUpdateCommand.parse(mistake) }
        }
    }

    @Test(arguments: [
        ["x"], ["x", "--vector", "a"], ["x", "--vector", ":3"], ["x", "--vector", "a:b"],
        ["x", "--vector", "a:3:manhattan"],
        ["x", "--dimension", "3", "--index", "f"], ["x", "--dimension", "3", "--index", "f:text"],
        ["x", "--dimension", "3", "--timeout", "0"], ["x", "--dimension", "3", "--tls-key", "k"],
        ["x", "--dimension", "3", "--address", "host:0"],
    ])
    func mistakesAreRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try CollectionCreateCommand.parse(arguments) }
    }

    @Test func aTimeoutThatIsGivenHolds() throws {
        let arguments = ["4", "--at", "127.0.0.1:7504"]
        #expect(try JournalAddReplicaCommand.parse(arguments).patience == .seconds(600))
        #expect(try JournalAddReplicaCommand.parse(arguments + ["--timeout", "3"]).patience == .seconds(3))
    }

    @Test func aSearchLooksForOneThing() throws {
        #expect(throws: (any Error).self) { try SearchCommand.parse(["c"]) }
        #expect(throws: (any Error).self) { try SearchCommand.parse(["c", "--vector", "1", "--like", "a"]) }
        #expect(throws: (any Error).self) { try SearchCommand.parse(["c", "--vector", "1", "--limit", "0"]) }
        let command = try SearchCommand.parse([
            "c", "--vector", "1", "--consistency", "bounded", "--max-staleness", "50",
        ])
        #expect(command.read.wire == VecraftV1.ReadOptions(consistency: .bounded, maxStalenessMs: 50))
    }

    @Test func filtersOfBothFormsMustBothHold() throws {
        let options = try FilterOptionGroup.parse([
            "--where", "a=1", "--filter", #"{"should":[{"key":"b","match":{"value":2}}]}"#,
        ])
        let filter = try options.wire()
        #expect(filter?.must.count == 2)
        #expect(try FilterOptionGroup.parse([]).wire() == nil)
        #expect(
            message { _ = try FilterOptionGroup.parse(["--filter", #"{"shoud":[]}"#]).wire() }.hasPrefix("--filter: "))
    }

    @Test func aDeleteTakesIdsOrAFilter() {
        #expect(throws: (any Error).self) { try DeleteCommand.parse(["c"]) }
        #expect(throws: (any Error).self) { try DeleteCommand.parse(["c", "a", "--where", "x=1"]) }
        #expect(throws: Never.self) { try DeleteCommand.parse(["c", "a", "b"]) }
        #expect(throws: Never.self) { try DeleteCommand.parse(["c", "--where", "x=1"]) }
    }

    @Test func shorthandsBecomeSettings() throws {
        let options = try SettingsOptions.parse([
            "--data-directory", "/d", "--host", "::", "--grpc-port", "0", "--set", "grpc.port=5", "--log-level",
            "debug",
        ])
        #expect(
            options.flags == [
                "node.data_directory=/d", "grpc.host=::", "http.host=::", "grpc.port=0", "log.level=debug",
                "grpc.port=5",
            ])
        #expect(
            message { _ = try SettingsOptions.parse(["--set", "grpc.prot=1"]).load() }.contains(
                "did you mean grpc.port?"))
    }
}
