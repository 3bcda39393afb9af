import Primitives
import Testing
import Wire
import vecraft

/// Imports over a real stream whose other end breaks it at will.
@Suite struct ImportTests {
    private let folder: TestFolder
    init() throws { self.folder = try TestFolder() }

    private func lines(_ count: Int) throws -> String {
        let lines = (0..<count).map { "{\"id\": \"p\($0)\", \"vector\": [\($0), 0.5], \"payload\": {\"n\": \($0)}}\n" }
        return try self.folder.write("points.jsonl", lines.joined())
    }

    private func run(_ stream: UpsertStream, points: Int, skip: Int = 0) async throws -> ImportResult {
        let file = try self.lines(points)
        return try await FakeNode.with(upsertStream: stream) { fake in
            try await Node.with(address: fake.address) { node in
                var plan = ImportPlan(collection: "c", tenant: "default", runID: "run")
                plan.pointsPerRequest = 10
                plan.skip = skip
                plan.limits.requests = 4
                var importer = Importer(
                    node: node, plan: plan, source: try PointSource(points: file, vectors: nil, ids: nil))
                return try await importer.run { _ in }
            }
        }
    }

    @Test func everyPointIsStoredOnceAndInOrder() async throws {
        let stream = UpsertStream()
        let result = try await self.run(stream, points: 95)
        #expect((result.points, result.requests, result.replayed) == (95, 10, 0))
        #expect(result.last?.partition == "data-0")
        #expect(stream.result.ids == (0..<95).map { "p\($0)" })
        #expect(stream.result.vectors["p94"] == [94, 0.5])
    }

    @Test func aBrokenStreamIsMadeAgainAndNothingIsWrittenTwice() async throws {
        let stream = UpsertStream(faults: [2: .breakAfterStoring, 7: .breakAfterStoring])
        let result = try await self.run(stream, points: 95)
        #expect(result.points == 95)
        #expect(result.replayed >= 2)
        #expect(stream.result.ids == (0..<95).map { "p\($0)" })
        #expect(stream.result.reusedKeys == 0)
    }

    @Test func aRefusalForNowIsTriedAgain() async throws {
        let stream = UpsertStream(faults: [0: .refuse(.resourceExhausted), 3: .refuse(.unavailable)])
        let result = try await self.run(stream, points: 50)
        #expect(result.points == 50)
        #expect(Set(stream.result.ids).count == 50)
        #expect(stream.result.ids.count == 50)
    }

    @Test func aRefusalForGoodSaysHowFarItCame() async throws {
        let stream = UpsertStream(faults: [3: .refuse(.invalidArgument)])
        await #expect {
            _ = try await self.run(stream, points: 95)
        } throws: { error in
            guard let failure = error as? ImportFailure else { return false }
            return failure.cause == VecraftError(.invalidArgument, "as told") && failure.storedPrefix == 30
        }
        // Going on from there stores the rest.
        let rest = UpsertStream()
        #expect(try await self.run(rest, points: 95, skip: 30).points == 65)
        #expect(rest.result.ids.first == "p30")
    }

    @Test func theCommandTellsHowToGoOn() async throws {
        let file = try self.lines(30)
        let stream = UpsertStream(faults: [1: .refuse(.alreadyExists)])
        try await FakeNode.with(upsertStream: stream) { fake in
            let arguments = ["import", "c", file, "--batch", "10", "--in-flight", "1"]
            let failed = try await Program.run(arguments + ["--run-id", "x"], node: fake)
            #expect(failed.status == 6)
            #expect(failed.output == "")
            #expect(failed.errors.contains("The first 10 points of \(file) are stored."))
            #expect(failed.errors.contains("repeat the command with --run-id x --skip 10"))

            let done = try await Program.run(arguments + ["--run-id", "x", "--output", "json"], node: fake)
            #expect(done.status == 0)
            let json = try JSONValue(parsing: done.output)
            #expect(json["points"] == 30)
            #expect(json["replayed_requests"] == 1)
        }
        #expect(stream.result.ids.count == 30)
    }

    @Test func aRefusedPointIsNamedByItsLine() async throws {
        let text = (0..<30).map { "{\"id\": \"p\($0)\", \"vector\": [\($0), 0.5]}\n" + ($0 % 7 == 0 ? "\n" : "") }
        let file = try self.folder.write("gaps.jsonl", text.joined())
        // Point 13 of the file; empty lines follow points 0 and 7.
        let stream = UpsertStream(faults: [1: .refusePoint(3)])
        try await FakeNode.with(upsertStream: stream) { fake in
            let failed = try await Program.run(["import", "c", file, "--batch", "10", "--in-flight", "1"], node: fake)
            #expect(failed.status == 2)
            #expect(failed.errors.contains("\(file), line 16: vector: has 2 components, not 3"), "\(failed.errors)")
            #expect(failed.errors.contains("The first 10 points"))
        }
        let first = UpsertStream(faults: [0: .refuse(.notFound)])
        try await FakeNode.with(upsertStream: first) { fake in
            let failed = try await Program.run(["import", "c", file], node: fake)
            #expect(failed.status == 3 && !failed.errors.contains("The first 0"), "\(failed.errors)")
        }
    }

    @Test func pointsWithoutVectorsAreWarnedOf() async throws {
        let file = try self.folder.write("bare.jsonl", "{\"id\": \"a\"}\n{\"id\": \"b\", \"vector\": [1]}\n")
        try await FakeNode.with(upsertStream: UpsertStream()) { fake in
            let done = try await Program.run(["import", "c", file], node: fake)
            #expect(done.status == 0)
            #expect(done.errors.contains("Warning: 1 point of 2 came without a vector"), "\(done.errors)")
        }
        try await FakeNode.with(upsertStream: UpsertStream()) { fake in
            let done = try await Program.run(["import", "c", try self.lines(3)], node: fake)
            #expect(!done.errors.contains("Warning"))
        }
    }

    @Test func standardInputIsAFileToo() async throws {
        let stream = UpsertStream()
        try await FakeNode.with(upsertStream: stream) { fake in
            let done = try await Program.run(
                ["import", "c", "-"], node: fake, input: "{\"id\": \"a\", \"vector\": [1]}\n")
            #expect(done.status == 0)
            #expect(done.output.hasPrefix("Imported into 'c': 1 point in "))
            let wrong = try await Program.run(["import", "c", "-"], node: fake, input: "{\"vector\": [1]}\n")
            #expect(wrong.status == 2)
            #expect(wrong.errors.contains("-, line 1: the point has no \"id\""))
        }
        #expect(stream.result.ids == ["a"])
    }
}
