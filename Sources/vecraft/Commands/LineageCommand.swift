package import ArgumentParser
internal import Primitives
internal import Wire

package struct LineageCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "lineage", abstract: "Trace what is stored back to the journal entries that made it.",
        subcommands: [
            LineageRecordCommand.self, LineageRequestCommand.self, LineageTraceCommand.self, LineageEntryCommand.self,
            LineageSearchCommand.self, LineageBetweenCommand.self, LineageWatchCommand.self, LineageReplayCommand.self,
            LineageVerifyCommand.self,
        ])

    package init() {}
}

package struct LineageRecordCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "record", abstract: "The history of one point: every entry that touched it, oldest first.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The collection.")
    package var collection: String
    @Argument(help: "The point's id.")
    package var id: String
    @Option(help: ArgumentHelp("At most so many entries, the newest.", valueName: "n"))
    package var limit: UInt32 = 100
    @Flag(help: "With the vectors of each version.")
    package var vectors = false

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.RecordLineageRequest(
            collection: self.collection, id: self.id, tenant: self.global.tenant, withVectors: self.vectors,
            limit: self.limit)
        try await LineageAnswer.show(
            VecraftV1.Lineage.record, request, on: node, self.global,
            subject: "The point '\(self.id)' of '\(self.collection)'")
    }
}

package struct LineageRequestCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "request", abstract: "Every entry that one request wrote.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The request id, as an answer or an entry states it.")
    package var requestID: String
    @Option(help: ArgumentHelp("At most so many entries.", valueName: "n"))
    package var limit: UInt32 = 100

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.RequestLineageRequest(requestID: self.requestID, limit: self.limit)
        try await LineageAnswer.show(
            VecraftV1.Lineage.request, request, on: node, self.global, subject: "The request \(self.requestID)")
    }
}

package struct LineageTraceCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Every entry that one trace wrote.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The trace id, 32 hex digits.")
    package var traceID: String
    @Option(help: ArgumentHelp("At most so many entries.", valueName: "n"))
    package var limit: UInt32 = 100

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.TraceLineageRequest(traceID: self.traceID.lowercased(), limit: self.limit)
        try await LineageAnswer.show(
            VecraftV1.Lineage.trace, request, on: node, self.global, subject: "The trace \(self.traceID)")
    }
}

package struct LineageEntryCommand: NodeCommand {
    package static let configuration = CommandConfiguration(commandName: "entry", abstract: "One journal entry, whole.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The journal partition: data-0, sys-0, ...")
    package var partition: String
    @Argument(help: "The entry's offset, from 1.")
    package var offset: UInt64

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.EntryLineageRequest(partition: self.partition, offset: self.offset)
        try await LineageAnswer.show(
            VecraftV1.Lineage.entry, request, on: node, self.global,
            subject: "The entry \(self.offset) of \(self.partition)")
    }
}

package struct LineageVerifyCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Read the journal from end to end, on every node: checksums, gaps, order.",
        discussion: """
            With --acknowledged also looks up writes that were acknowledged: a file of JSON lines, each with "partition", "offset", "hlc" \
            and perhaps "request_id", as answers to writes state them. Ends with status 7 if anything is wrong or missing.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "Only this partition. (default: all)")
    package var partition: String?
    @Option(
        help: ArgumentHelp("Writes that must be there, one JSON object a line; - is standard input.", valueName: "file")
    )
    package var acknowledged: String?

    package init() {}

    package func run(on node: Node) async throws {
        if let path = self.acknowledged { try await Coverage.check(path, on: node, self.global) }
        try await Verification.online(self.partition ?? "", on: node, self.global)
    }
}

enum LineageAnswer {
    static func show<Request: WireMessage>(
        _ method: MethodDescriptor, _ request: Request, on node: Node, _ options: GlobalOptions, subject: String
    ) async throws {
        let response: VecraftV1.LineageResponse = try await node.call(method, request)
        try options.format.write(try response.tree()) { LineageView.text(response, subject: subject, $0) }
        // A question about something that was never written is answered, but not found.
        if response.entries.isEmpty { throw QuietExit(.notFound) }
    }
}
