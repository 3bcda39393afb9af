package import ArgumentParser
internal import Primitives
internal import Wire

package struct AuditCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Who did what, answered from the journal: one line an entry.",
        discussion: """
            For example who deleted a point:    vecraft audit --collection packages --point bash --operation deletes
            what a client did in an hour:       vecraft audit --principal anonymous --since 1h
            who dropped a collection:           vecraft audit --operation ddl
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "Which entries") package var entries: EntryOptions
    @Option(help: ArgumentHelp("Only what touched this point; needs --collection.", valueName: "id"))
    package var point: String?
    @Option(help: ArgumentHelp("Only what this principal did.", valueName: "name"))
    package var principal: String?
    @Option(
        help: ArgumentHelp(
            "From this moment on: 2h (ago), a time, a clock's value. (default: the beginning)", valueName: "moment"))
    package var since: Moment?
    @Option(help: ArgumentHelp("Up to this moment. (default: now)", valueName: "moment"))
    package var until: Moment?
    @Option(help: ArgumentHelp("At most so many, the oldest first; 0: all.", valueName: "n"))
    package var limit = 1_000

    package init() {}

    package func validate() throws {
        guard self.point == nil || self.entries.collection != nil else {
            throw ValidationError("--point needs --collection")
        }
        guard self.limit >= 0 else { throw ValidationError("--limit is not below 0") }
    }

    package func run(on node: Node) async throws {
        let found = if let point = self.point { try await self.history(point, node) } else { try await self.scan(node) }
        let answer = VecraftV1.LineageResponse(entries: found.entries, truncated: found.truncated)
        try self.global.format.write(try answer.tree()) { Self.text(answer, $0) }
        if answer.entries.isEmpty { throw QuietExit(.notFound) }
    }

    private func history(
        _ id: String, _ node: Node
    ) async throws -> (entries: [VecraftV1.LineageEntry], truncated: Bool) {
        let request = VecraftV1.RecordLineageRequest(
            collection: self.entries.collection ?? "", id: id, tenant: self.global.tenant, limit: 1_000)
        let response: VecraftV1.LineageResponse = try await node.call(VecraftV1.Lineage.record, request)
        let kinds = Set(self.entries.operations)
        let entries = response.entries.filter { entry in
            (kinds.isEmpty || kinds.contains(entry.operation))
                && (self.principal == nil || self.principal == entry.principal)
                && entry.hlc >= self.since?.hlc ?? 0 && entry.hlc < self.until?.hlc ?? .max
        }
        let shown = self.limit == 0 ? entries : Array(entries.prefix(self.limit))
        return (shown, response.truncated || shown.count < entries.count)
    }

    private func scan(_ node: Node) async throws -> (entries: [VecraftV1.LineageEntry], truncated: Bool) {
        var request = VecraftV1.BetweenRequest(
            fromHLC: self.since?.hlc ?? 0, toHLC: self.until?.hlc ?? 0,
            tenant: self.entries.allTenants ? "" : self.global.tenant, collection: self.entries.collection ?? "",
            collectionID: self.entries.collectionID ?? 0, operations: self.entries.operations,
            principal: self.principal ?? "")
        var entries: [VecraftV1.LineageEntry] = []
        repeat {
            request.limit = UInt32(self.limit == 0 ? 1_000 : min(1_000, self.limit - entries.count))
            let page: VecraftV1.LineageResponse = try await node.call(VecraftV1.Lineage.between, request)
            entries += page.entries
            request.pageToken = page.nextPageToken
            if page.entries.isEmpty, page.scanned == 0 { break }
        } while !request.pageToken.isEmpty && (self.limit == 0 || entries.count < self.limit)
        return (entries, !request.pageToken.isEmpty)
    }

    private static func text(_ response: VecraftV1.LineageResponse, _ terminal: Terminal) -> String {
        guard !response.entries.isEmpty else { return "Nothing of that kind is in the journal.\n" }
        var table = Table([
            Table.Column("when"), Table.Column("who"), Table.Column("did"), Table.Column("to"), Table.Column("request"),
            Table.Column("entry"),
        ])
        for entry in response.entries {
            table.add([
                Figures.time(HLCTimestamp(rawValue: entry.hlc)),
                entry.principal.isEmpty ? "the cluster" : entry.principal,
                entry.operation.replacing("_", with: " "),
                Self.subject(entry), entry.requestID, "\(entry.partition) at \(entry.offset)",
            ])
        }
        return table.render(terminal) + (response.truncated ? "There are more: --limit, --since\n" : "")
    }

    private static func subject(_ entry: VecraftV1.LineageEntry) -> String {
        if !entry.ddlJSON.isEmpty { return entry.ddlJSON }
        if !entry.decisionJSON.isEmpty { return entry.decisionJSON }
        let place = entry.collection.isEmpty ? "" : "\(entry.collection): "
        if !entry.filterJSON.isEmpty { return place + "points that match \(entry.filterJSON)" }
        let ids = entry.points.prefix(3).map(\.id).joined(separator: ", ")
        let others = max(Int(entry.pointCount), entry.points.count) - min(entry.points.count, 3)
        return place + ids + (others > 0 ? " and \(others) more" : "")
    }
}
