internal import HTTP
internal import Primitives
internal import Wire

/// The words and steps of the tour. Everything it shows is asked from the node over the network, as any client would.
struct DemoTour: Sendable {
    private let terminal: Terminal
    /// Folder of the sample.
    private let data: String

    init(terminal: Terminal, data: String) {
        // Where there is no terminal to ask, a width that every reader can show.
        self.width = terminal.width ?? 80
        self.terminal = Terminal(width: self.width, colour: terminal.colour, unicode: terminal.unicode)
        self.data = data
    }

    private let width: Int

    private static let collection = "packages"
    private static let shown: UInt32 = 3

    private struct Question {
        var text: String
        /// As `--where` takes it, and in words.
        var terms: [String] = []
        var condition = ""
    }
    private static let questions = [
        Question(text: "play music from the terminal"),
        Question(text: "find duplicate files on disk"),
        Question(text: "chess program that plays against me"),
        Question(
            text: "simulate electronic circuits", terms: ["section=electronics"],
            condition: "only in the section \"electronics\""),
        Question(
            text: "a fast text editor for programmers", terms: ["installed_kib<1000"],
            condition: "only below 1,000 KiB"),
    ]

    private var style: Style { self.terminal.style }
    private func say(_ text: String = "") { Console.print(text) }
    private func step(_ title: String) { self.say("\n" + self.style.bold(title)) }

    func welcome() {
        self.say(self.style.bold("Vecraft DB, a short tour"))
        self.say("Starting a node ...")
    }

    func run(_ child: ChildNode.Addresses, folder: String) async throws {
        self.say("It answers at \(child.grpc) (gRPC) and \(child.http) (HTTP).")
        self.say("Its files are in \(folder)")
        let queries = try TextQueries(path: self.data + "/text-queries.json")
        try await Node.with(address: child.grpc) { node in
            try await self.makeCollection(node, dimension: queries.queries.first?.vector.count ?? 0)
            try await self.load(node)
            let found = try await self.search(node, queries)
            if let found { try await self.explain(node, found) }
            try await self.health(node, child)
        }
    }

    private func makeCollection(_ node: Node, dimension: Int) async throws {
        self.step("A collection")
        var config = VecraftV1.CollectionConfig()
        config.vector = VecraftV1.VectorConfig(dimension: UInt32(dimension), distance: .cosine)
        config.payloadIndexes = [
            VecraftV1.PayloadIndexConfig(field: "section", type: .keyword),
            VecraftV1.PayloadIndexConfig(field: "architecture", type: .keyword),
            VecraftV1.PayloadIndexConfig(field: "installed_kib", type: .integer),
            VecraftV1.PayloadIndexConfig(field: "priority", type: .keyword),
        ]
        let request = VecraftV1.CreateCollectionRequest(name: Self.collection, config: config, tenant: node.tenant)
        let _: VecraftV1.CreateCollectionResponse = try await node.call(VecraftV1.Collections.createCollection, request)
        self.say("'\(Self.collection)' holds points: a name, \(dimension) numbers that stand for a meaning,")
        self.say("and facts as JSON, some of them indexed:")
        self.say("  " + config.payloadIndexes.map(\.field).joined(separator: ", "))
    }

    private func load(_ node: Node) async throws {
        self.step("Real data")
        let source = try PointSource(
            points: self.data + "/points.jsonl", vectors: self.data + "/vectors.f16.npy", ids: nil)
        self.say("\(Figures.count(source.total ?? 0)) Debian packages, each described by one sentence.")
        var plan = ImportPlan(collection: Self.collection, tenant: node.tenant, runID: "demo")
        plan.pointsPerRequest = 250
        var bar = ProgressBar("Loading", noun: "package", total: source.total)
        var importer = Importer(node: node, plan: plan, source: source)
        do {
            _ = try await importer.run { bar.advance(to: $0) }
        } catch let failure as ImportFailure {
            bar.clear()
            throw failure.cause
        }
        self.say("Loaded \(bar.finish()).")
        self.say("All of them are safe on disk and can be found.")
    }

    /// Returns the id that the first question found first.
    private func search(_ node: Node, _ queries: TextQueries) async throws -> String? {
        self.step("Searching by meaning, not by words")
        self.say("Smaller distances are nearer. The time is the node's own.")
        var first: String?
        for question in Self.questions {
            let query = try queries.find(question.text)
            let filter =
                question.terms.isEmpty
                ? nil : try VecraftV1.Filter(json: FilterExpression.parse(question.terms).encoded())
            let request = VecraftV1.SearchRequest(
                collection: Self.collection, vector: VecraftV1.Vector(values: query.vector), limit: Self.shown,
                filter: filter, tenant: node.tenant)
            let response: VecraftV1.SearchResponse = try await node.call(VecraftV1.Points.search, request)
            guard !response.hits.isEmpty else {
                throw VecraftError(.internalError, "the search \"\(question.text)\" found nothing")
            }
            self.say()
            self.show(question, response)
            first = first ?? response.hits.first?.id
        }
        return first
    }

    private func show(_ question: Question, _ response: VecraftV1.SearchResponse) {
        let time = Figures.milliseconds(Double(response.info?.serverTimeUs ?? 0) / 1000)
        let condition = question.condition.isEmpty ? "" : ", \(question.condition)"
        self.say("\(self.style.cyan("\"\(question.text)\""))\(condition)  \(self.style.dim(time))")
        for hit in response.hits {
            let facts = PayloadView.cells(hit.payload?.json ?? [], ["description", "installed_kib"])
            let size = facts[1].isEmpty ? "" : " (\(facts[1]) KiB)"
            let line = "  \(Figures.decimal(Double(hit.distance), 3))  \(TextWidth.pad(hit.id, 18)) \(facts[0])\(size)"
            self.say(TextWidth.fit(TextWidth.printable(line), self.width))
        }
    }

    private func explain(_ node: Node, _ id: String) async throws {
        self.step("Where a hit comes from")
        self.say("Every write is an entry in a journal, so '\(id)' can say how it came here:")
        let request = VecraftV1.RecordLineageRequest(collection: Self.collection, id: id, tenant: node.tenant)
        let response: VecraftV1.LineageResponse = try await node.call(VecraftV1.Lineage.record, request)
        guard let entry = response.entries.last else {
            throw VecraftError(.internalError, "the journal does not know '\(id)'")
        }
        self.say()
        Console.print(LineageView.text(entry, self.terminal), terminator: "")
    }

    private func health(_ node: Node, _ child: ChildNode.Addresses) async throws {
        self.step("How the node is")
        let health: GRPCHealthV1.HealthCheckResponse = try await node.call(
            GRPCHealthV1.Health.check, GRPCHealthV1.HealthCheckRequest())
        let status: VecraftV1.StatusResponse = try await node.call(VecraftV1.Cluster.status, VecraftV1.StatusRequest())
        Console.print(StatusView.summary(status, ready: health.status == .serving, self.terminal), terminator: "")
        self.say("\nA few of its figures, from http://\(child.http)/metrics:")
        let metrics = try await HTTPClient(host: child.http.host, port: child.http.port).get("/metrics")
        for line in DemoMetrics.choose(metrics.text) { self.say(TextWidth.fit("  " + line, self.width)) }
    }

    func farewell(_ child: ChildNode.Addresses, process: Int32, folder: String, kept: Bool) {
        self.step("Going on")
        if kept {
            self.say("The node stays up, as process \(process): stop it with  kill \(process)")
            self.say("Look at it in a browser: http://\(child.http)/console/")
            self.say("Its folder is yours to remove afterwards: \(folder)")
        } else {
            self.say("The node of this tour stops now, and its folder is removed.")
            self.say("  make serve               a node of your own")
            self.say("  make demo KEEP=1         this tour again, and the node stays up")
        }
        let address = kept ? "\(child.grpc)" : "127.0.0.1:\(NodeAddress.defaultPort)"
        if kept {
            self.say("  VECRAFT_ADDRESS=\(address) \(Self.program) search packages --text \"manage passwords\"")
        } else {
            self.say("  \(Self.program) --help")
        }
        self.say(
            """

            In Python (in a virtual environment: pip install ./clients/python):
              from vecraft import Client
              db = Client("\(address)")
              db.create("notes", dimension=3)
              db.upsert("notes", [("a", [1, 0, 0], {"lang": "en"})])
              print(db.search("notes", [1, 0, 0], limit=3))
            """)
    }

    /// As it was called.
    private static var program: String { CommandLine.arguments.first ?? "vecraft" }
}
