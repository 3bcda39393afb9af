package import ArgumentParser
internal import Primitives
internal import Wire

package struct ImportCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Load points from a file into a collection.",
        discussion: """
            FILE is one of these, each also gzipped (.gz):
              .jsonl   a point a line: {"id": "a", "vector": [0.1, ...], "payload": {"lang": "en"}};
                       named vectors under "vectors": {"title": [...]}; "-" reads standard input
              .npy     a matrix of NumPy (float16, float32, float64), a vector a row
              .fvecs   vectors as in the TEXMEX data sets

            Examples:
              vecraft import notes notes.jsonl
              vecraft import packages points.jsonl --vectors vectors.f16.npy
              vecraft import sift base.fvecs --id-prefix s

            A lost connection is made again, and what was on its way is sent again; the node stores each request
            once. An import that fails says how to go on where it stopped.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The collection.")
    package var collection: String

    @Argument(help: "The file.")
    package var file: String

    @Option(
        help: ArgumentHelp(
            "Vectors for the points of a .jsonl file, in the same order (.npy, .fvecs).", valueName: "file"))
    package var vectors: String?

    @Option(help: ArgumentHelp("Ids for a file of vectors, one a line. (default: row numbers)", valueName: "file"))
    package var ids: String?

    @Option(help: ArgumentHelp("Put before row numbers to make ids.", valueName: "text"))
    package var idPrefix = ""

    @Option(
        help: ArgumentHelp(
            "Which vector of the collection a file of vectors holds. (default: the unnamed one)", valueName: "name"))
    package var using = ""

    @Option(help: ArgumentHelp("Points in one request, which is one journal entry.", valueName: "n"))
    package var batch = 500

    @Option(help: ArgumentHelp("Requests ahead of their answers.", valueName: "n"))
    package var inFlight = 8

    @Flag(help: "Count a point only when every reader sees it, not already when it is durable.")
    package var applied = false

    @Option(
        help: ArgumentHelp("Name of this import: under the same name, nothing is written twice.", valueName: "name"))
    package var runID: String?

    @Option(help: ArgumentHelp("Leave out so many points at the beginning.", valueName: "n"))
    package var skip = 0

    package init() {}

    package func validate() throws {
        guard (1...Limits.pointsPerRequest).contains(self.batch) else {
            throw ValidationError("--batch: 1 to \(Limits.pointsPerRequest)")
        }
        guard (1...256).contains(self.inFlight) else { throw ValidationError("--in-flight: 1 to 256") }
        guard self.skip >= 0 else { throw ValidationError("--skip: not below 0") }
        // It becomes part of an idempotency key, beside a position.
        guard self.runID.map({ (1...64).contains($0.utf8.count) }) ?? true else {
            throw ValidationError("--run-id: 1 to 64 bytes")
        }
    }

    private var plan: ImportPlan {
        var random = SystemRandomNumberGenerator()
        let name = self.runID ?? TraceContext.hex(random.next())
        var plan = ImportPlan(collection: self.collection, tenant: self.global.tenant, runID: name)
        plan.wait = self.applied ? .applied : .committed
        plan.pointsPerRequest = self.batch
        plan.limits.requests = self.inFlight
        plan.skip = self.skip
        return plan
    }

    package func run(on node: Node) async throws {
        let source = try PointSource(
            points: self.file, vectors: self.vectors, ids: self.ids, idPrefix: self.idPrefix, vectorName: self.using)
        let plan = self.plan
        let total = source.total.map { max(0, $0 - self.skip) }
        var importer = Importer(node: node, plan: plan, source: source)
        var bar = ProgressBar("Importing", noun: "point", total: total)
        do {
            let result = try await importer.run { bar.advance(to: $0) }
            let summary = bar.finish()
            try self.report(result, plan, summary)
        } catch let failure as ImportFailure {
            bar.clear()
            // Nothing came of it: there is nothing to go on from.
            guard failure.storedPrefix > self.skip || failure.result.points > 0 else { throw failure.cause }
            Console.error("The first \(Figures.count(failure.storedPrefix, "point")) of \(self.file) are stored.")
            if self.file != "-" {
                Console.error(
                    "To go on from there, repeat the command with --run-id \(plan.runID) --skip \(failure.storedPrefix)"
                )
            }
            throw failure.cause
        }
    }

    private func report(_ result: ImportResult, _ plan: ImportPlan, _ summary: String) throws {
        if result.withoutVector > 0 {
            Console.error(
                "Warning: \(Figures.count(result.withoutVector, "point")) of \(Figures.count(result.points)) came without a vector, and no search finds such points. --vectors FILE gives the points of a .jsonl file their vectors."
            )
        }
        let write = try result.last.map { last throws(VecraftError) in try last.tree() } ?? .null
        let json: JSONValue = [
            "collection": .string(self.collection), "points": .integer(Int64(result.points)),
            "requests": .integer(Int64(result.requests)), "replayed_requests": .integer(Int64(result.replayed)),
            "run_id": .string(plan.runID), "points_without_vector": .integer(Int64(result.withoutVector)), "last_write": write,
        ]
        self.global.format.write(json) { terminal in
            var text = "Imported into '\(self.collection)': \(summary)"
            if result.replayed > 0 {
                text += "; \(Figures.count(result.replayed, "request")) had been stored before"
            }
            return text + ".\n"
        }
    }
}
