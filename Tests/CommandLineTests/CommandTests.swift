import Primitives
import TestSupport
import Testing
import Wire
import vecraft

/// The program from outside: what it prints where, and how it ends.
@Suite struct CommandTests {
    private static let hits = VecraftV1.SearchResponse(
        hits: [
            VecraftV1.Hit(
                id: "mpv", distance: 0.25, score: 0.75, version: 7,
                payload: VecraftV1.Payload(json: Array(#"{"description":"a player","size":{"kib":12}}"#.utf8)))
        ],
        info: VecraftV1.ReadInfo(
            achieved: .strong, indexVersion: [VecraftV1.PartitionOffset(partition: "data-0", offset: 12)],
            serverTimeUs: 420),
        plan: VecraftV1.SearchPlan(strategy: "graph", visited: 312))

    @Test func aSearchIsATableOrJSON() async throws {
        let methods = [
            VecraftV1.Points.search: FakeNode.answer { (request: VecraftV1.SearchRequest) throws(VecraftError) in
                guard request.vector?.values == [1, 0.5], request.limit == 3, request.tenant == "default" else {
                    throw VecraftError(.invalidArgument, "not what was asked for")
                }
                return Self.hits
            }
        ]
        try await FakeNode.with(methods) { fake in
            let arguments = ["search", "c", "--vector", "1,0.5", "-n", "3"]
            let table = try await Program.run(arguments + ["--columns", "description,size.kib"], node: fake)
            #expect(table.status == 0)
            #expect(table.errors == "")
            #expect(
                table.output == """
                    distance  id   description  size.kib
                      0.2500  mpv  a player     12
                    1 hit in 0.42 ms, graph, 312 distances computed; strong, data-0 at 12

                    """)
            let json = try JSONValue(parsing: try await Program.run(arguments + ["-o", "json"], node: fake).output)
            #expect(json["hits"]?[0]?["id"] == "mpv")
            #expect(json["hits"]?[0]?["payload"]?["size"]?["kib"] == 12)
        }
    }

    /// It has no `Cluster` service to ask how far they are applied.
    @Test func aNodeThatIsOnlyTheJournalShowsItsPartitions() async throws {
        let methods = [
            VecraftInternalV1.Journal.partitions: FakeNode.answer {
                (_: VecraftInternalV1.PartitionsRequest) throws(VecraftError) in
                VecraftInternalV1.PartitionsResponse(partitions: [
                    .init(
                        partition: "data-0", term: 2, firstOffset: 1, committedOffset: 77, role: "leader",
                        lastOffset: 77)
                ])
            }
        ]
        try await FakeNode.with(methods) { fake in
            let table = try await Program.run(["journal", "partitions"], node: fake)
            #expect(table.status == 0, "\(table)")
            #expect(table.output.contains("data-0") && table.output.contains("this node, alone"), "\(table)")
            let json = try JSONValue(
                parsing: try await Program.run(["journal", "partitions", "-o", "json"], node: fake).output)
            #expect(json[0]?["partition"] == "data-0")
        }
    }

    @Test func aTrimSaysWhatItWasAskedFor() async throws {
        let methods = [
            VecraftInternalV1.Journal.trim: FakeNode.answer { (_: VecraftInternalV1.TrimRequest) throws(VecraftError) in
                VecraftInternalV1.TrimResponse(firstOffset: 1)
            }
        ]
        try await FakeNode.with(methods) { fake in
            let outcome = try await Program.run(["journal", "trim", "data-0", "--through", "500"], node: fake)
            #expect(outcome.output.contains("through 500, in the background; it begins at 1 now"), "\(outcome)")
        }
    }

    @Test func aSearchLikeAPointLeavesItOut() async throws {
        let methods = [
            VecraftV1.Points.get: FakeNode.answer { (request: VecraftV1.GetRequest) throws(VecraftError) in
                let point = VecraftV1.StoredPoint(id: request.ids[0], vector: VecraftV1.Vector(values: [3]))
                return request.ids == ["a"]
                    ? VecraftV1.GetResponse(points: [point]) : VecraftV1.GetResponse(missing: request.ids)
            },
            VecraftV1.Points.search: FakeNode.answer { (request: VecraftV1.SearchRequest) throws(VecraftError) in
                guard request.vector?.values == [3], request.filter?.mustNot.count == 1 else {
                    throw VecraftError(.invalidArgument, "not what was asked for")
                }
                return Self.hits
            },
        ]
        try await FakeNode.with(methods) { fake in
            #expect(try await Program.run(["search", "c", "--like", "a"], node: fake).status == 0)
            let absent = try await Program.run(["search", "c", "--like", "b"], node: fake)
            #expect(absent.status == 3)
            #expect(absent.errors.contains("no point 'b' in 'c'"))
        }
    }

    @Test func aTextFindsItsVectorInTheSample() async throws {
        let methods = [
            VecraftV1.Points.search: FakeNode.answer { (request: VecraftV1.SearchRequest) throws(VecraftError) in
                VecraftV1.SearchResponse(hits: [VecraftV1.Hit(id: "\(request.vector?.values.count ?? 0)")])
            }
        ]
        try await FakeNode.with(methods) { fake in
            let sample = ["VECRAFT_SAMPLE": projectRoot + "/data/debian-packages"]
            let found = try await Program.run(["search", "c", "--text", "sudoku"], node: fake, environment: sample)
            #expect(found.status == 0)
            #expect(found.output.hasPrefix("solve sudoku puzzles\n"))
            #expect(found.output.contains("384"))
            let unknown = try await Program.run(["search", "c", "--text", "weather"], node: fake, environment: sample)
            #expect(unknown.status == 2)
        }
    }

    @Test(arguments: [
        (VecraftError.Code.notFound, Int32(3)), (.unavailable, 4), (.resourceExhausted, 4), (.alreadyExists, 6),
        (.dataLoss, 7),
        (.invalidArgument, 2), (.internalError, 1), (.permissionDenied, 6),
    ])
    func theNodesRefusalDecidesTheStatus(code: VecraftError.Code, status: Int32) async throws {
        let methods = [
            VecraftV1.Points.count: FakeNode.answer {
                (_: VecraftV1.CountRequest) throws(VecraftError) -> VecraftV1.CountResponse in
                throw VecraftError(code, "as told")
            }
        ]
        try await FakeNode.with(methods) { fake in
            let text = try await Program.run(["count", "c"], node: fake)
            #expect(text.status == status)
            #expect(text.output == "")
            #expect(text.errors == "Error: as told [\(code.name)]\n")
            let json = try await Program.run(["count", "c", "--output", "json"], node: fake)
            #expect(try JSONValue(parsing: json.errors)["error"]?["code"] == .string(code.name))
        }
    }

    @Test func nobodyAtTheAddressIsUnavailable() async throws {
        let nobody = FreePorts.Silent()
        let address = NodeAddress(host: "127.0.0.1", port: nobody.port)
        let outcome = try await Program.run(["count", "c", "--address", address.description])
        #expect(outcome.status == 4)
        #expect(outcome.errors.contains("no node answers at \(address)"))
        #expect(try await Program.run(["health", "--address", address.description]).status == 1)
        withExtendedLifetime(nobody) {}
    }

    @Test func healthIsReadyOrNot() async throws {
        for (status, expected) in [
            (GRPCHealthV1.HealthCheckResponse.ServingStatus.serving, Int32(0)), (.notServing, 1),
        ] {
            let methods = [
                GRPCHealthV1.Health.check: FakeNode.answer {
                    (_: GRPCHealthV1.HealthCheckRequest) throws(VecraftError) in
                    GRPCHealthV1.HealthCheckResponse(status: status)
                },
                VecraftV1.Cluster.status: FakeNode.answer { (_: VecraftV1.StatusRequest) throws(VecraftError) in
                    VecraftV1.StatusResponse(
                        node: "n1", version: "1", state: "replaying", uptimeMs: 65_000,
                        checks: [VecraftV1.Check(name: "journal", ok: true, detail: "3 partitions")], replayProgress: 1)
                },
            ]
            try await FakeNode.with(methods) { fake in
                let outcome = try await Program.run(["health"], node: fake)
                #expect(outcome.status == expected)
                let verdict = expected == 0 ? "ready" : "not ready (replaying)"
                #expect(
                    outcome.output == "n1 is \(verdict), vecraft 1, up 1 min 5 s\n  ok      journal  3 partitions\n")
                let quiet = try await Program.run(["health", "--quiet"], node: fake)
                #expect(quiet.status == expected)
                #expect(quiet.output + quiet.errors == "")
            }
        }
    }

    @Test func lineageTellsAStory() async throws {
        let entry = VecraftV1.LineageEntry(
            partition: "data-0", offset: 12, term: 1,
            hlc: HLCTimestamp(milliseconds: 1_763_840_103_007, counter: 3).rawValue,
            operation: "upsert", requestID: "req-1", principal: "ann", tenant: "default", collection: "c",
            traceID: "4bf9", spanID: "00f0",
            spans: [
                VecraftV1.Span(name: "received", startHLC: 5 << 16, endHLC: 7 << 16),
                VecraftV1.Span(name: "appended", startHLC: 7 << 16, endHLC: 7 << 16 | 2),
            ],
            points: [
                VecraftV1.PointChange(
                    id: "a", operation: "upsert", payload: VecraftV1.Payload(json: Array("{}".utf8)), vectors: ["": 384]
                )
            ],
            pointCount: 250, bodyBytes: 2048,
            receipts: [
                VecraftV1.Receipt(
                    replica: "n1", firstOffset: 11, lastOffset: 12,
                    appliedHLC: HLCTimestamp(milliseconds: 1_763_840_103_011, counter: 0).rawValue)
            ], current: true)
        let methods = [
            VecraftV1.Lineage.record: FakeNode.answer {
                (request: VecraftV1.RecordLineageRequest) throws(VecraftError) in
                VecraftV1.LineageResponse(entries: request.id == "a" ? [entry] : [], scanned: 40)
            }
        ]
        try await FakeNode.with(methods) { fake in
            let known = try await Program.run(["lineage", "record", "c", "a"], node: fake)
            #expect(known.status == 0)
            #expect(
                known.output == """
                    The point 'a' of 'c': 1 entry

                    2025-11-22 19:35:03.007 UTC  upsert of 250 points in 'c'
                      state       this is what is stored now
                      who         ann, tenant default
                      request     req-1
                      trace       4bf9, span 00f0
                      journal     data-0 at 12, term 1, 2.0 KiB
                      clock       \(entry.hlc) (1763840103007.3)
                      path        received 2 ms, then appended <1 ms
                      searchable  on n1 after 4 ms, with offsets 11 to 12
                      upsert      a, vector of 384, {}
                                  and 249 other points

                    40 journal entries read

                    """)
            let unknown = try await Program.run(["lineage", "record", "c", "zzz"], node: fake)
            #expect(unknown.status == 3)
            #expect(unknown.output.hasPrefix("The point 'zzz' of 'c': no entry in the journal."))
        }
    }

    @Test func damageIsReportedAndDecidesTheStatus() async throws {
        let report = VecraftV1.PartitionReport(
            partition: "data-0", firstOffset: 1, lastOffset: 9, entries: 9, bytes: 4096, segments: 1,
            faults: ["00000001.log, byte 412: checksum"])
        let methods = [
            VecraftV1.Lineage.verify: FakeNode.answer { (_: VecraftV1.VerifyRequest) throws(VecraftError) in
                VecraftV1.VerifyResponse(ok: false, partitions: [report])
            }
        ]
        try await FakeNode.with(methods) { fake in
            for arguments in [["journal", "verify"], ["lineage", "verify"]] {
                let outcome = try await Program.run(arguments, node: fake)
                #expect(outcome.status == 7)
                #expect(outcome.output.contains("damaged data-0: 00000001.log, byte 412: checksum"))
            }
        }
    }

    @Test func whatCannotBeTakenBackIsNotDoneUnasked() async throws {
        try await FakeNode.with { fake in
            let drop = try await Program.run(["collection", "drop", "c"], node: fake)
            #expect(drop.status == 2)
            #expect(drop.errors.contains("--yes"))
        }
    }

    @Test func theCommandLineItself() async throws {
        let help = try await Program.run(["--help"])
        #expect(help.status == 0)
        #expect(help.errors == "")
        #expect(help.output.split(separator: "\n").allSatisfy { $0.count <= 80 })
        #expect(try await Program.run(["--version"]).output.hasPrefix("vecraft "))
        let wrong = try await Program.run(["serch"])
        #expect(wrong.status == 2)
        #expect(wrong.output == "")
        #expect(try await Program.run(["config", "check"]).status == 0)
        let setting = try await Program.run(["config", "check"], environment: ["VECRAFT_GRPC__PROT": "1"])
        #expect(setting.status == 2)
        #expect(setting.errors.contains("VECRAFT_GRPC__PROT"))
        #expect(try await Program.run(["config", "print"]).output.contains("data_directory: vecraft-data"))
        let address = try await Program.run(["count", "c"], environment: ["VECRAFT_ADDRESS": "::::"])
        #expect(address.status == 2)
    }
}
