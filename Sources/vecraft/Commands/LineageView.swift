internal import Primitives
internal import Wire

/// Lineage as a story that a person can follow: when, what, who, on which way, to where.
enum LineageView {
    static func text(_ response: VecraftV1.LineageResponse, subject: String, _ terminal: Terminal) -> String {
        let style = terminal.style
        var looked = style.dim("\(Figures.count(response.scanned, "journal entry", "journal entries")) read") + "\n"
        for node in response.unansweredNodes {
            looked += style.red("\(TextWidth.printable(node)) did not answer: its receipts are missing") + "\n"
        }
        guard !response.entries.isEmpty else { return "\(subject): no entry in the journal.\n\(looked)" }
        let count = Figures.count(response.entries.count, "entry", "entries")
        var text =
            style.bold(TextWidth.printable("\(subject): \(count)")) + (response.truncated ? ", the newest" : "")
            + "\n\n"
        for entry in response.entries { text += Self.text(entry, terminal) + "\n" }
        return text + looked
    }

    static func text(_ entry: VecraftV1.LineageEntry, _ terminal: Terminal) -> String {
        let hlc = HLCTimestamp(rawValue: entry.hlc)
        var fields = FieldList(terminal)
        fields.title(Figures.time(hlc), note: Self.headline(entry))
        if entry.current { fields.add("state", "this is what is stored now") }
        fields.add("who", Self.who(entry))
        fields.add("request", entry.requestID)
        fields.add("key", entry.idempotencyKey)
        fields.add("trace", entry.traceID.isEmpty ? "" : "\(entry.traceID), span \(entry.spanID)")
        fields.add(
            "journal",
            "\(entry.partition) at \(Figures.count(entry.offset)), term \(entry.term), \(Figures.bytes(entry.bodyBytes))"
        )
        fields.add("clock", "\(entry.hlc) (\(hlc))")
        fields.add("path", Self.path(entry))
        for receipt in entry.receipts { fields.add("searchable", Self.receipt(receipt, since: hlc)) }
        fields.add("filter", entry.filterJSON)
        fields.add("decision", entry.decisionJSON)
        fields.add("schema", entry.ddlJSON)
        fields.add("refused", entry.refused)
        for point in entry.points.prefix(Self.pointsShown) {
            fields.add(point.operation, Self.point(point))
            for change in point.payloadChanges { fields.add("changed", Self.change(change)) }
            for change in point.vectorChanges { fields.add("changed", Self.change(change)) }
        }
        let others = Int(entry.pointCount) - min(entry.points.count, Self.pointsShown)
        if !entry.points.isEmpty, others > 0 { fields.add("", "and \(Figures.count(others, "other point"))") }
        return fields.text
    }

    private static let pointsShown = 5

    private static func headline(_ entry: VecraftV1.LineageEntry) -> String {
        let points = entry.pointCount > 0 ? " of \(Figures.count(entry.pointCount, "point"))" : ""
        let collection = entry.collection.isEmpty ? "" : " in '\(entry.collection)'"
        return entry.operation.replacing("_", with: " ") + points + collection
    }

    private static func who(_ entry: VecraftV1.LineageEntry) -> String {
        let principal = entry.principal.isEmpty ? "anonymous" : entry.principal
        return entry.tenant.isEmpty ? principal : "\(principal), tenant \(entry.tenant)"
    }

    /// "received 2 ms, routed <1 ms, appended 3 ms"
    private static func path(_ entry: VecraftV1.LineageEntry) -> String {
        entry.spans.map { span in
            // Hybrid clocks count milliseconds; what is shorter differs in the counter alone.
            let length =
                HLCTimestamp(rawValue: span.endHLC).milliseconds &- HLCTimestamp(rawValue: span.startHLC).milliseconds
            return "\(span.name) \(length == 0 ? "<1" : "\(length)") ms"
        }.joined(separator: ", then ")
    }

    private static func receipt(_ receipt: VecraftV1.Receipt, since written: HLCTimestamp) -> String {
        let applied = HLCTimestamp(rawValue: receipt.appliedHLC)
        let delay = applied > written ? applied.milliseconds - written.milliseconds : 0
        let range =
            receipt.firstOffset == receipt.lastOffset
            ? "offset \(receipt.firstOffset)" : "offsets \(receipt.firstOffset) to \(receipt.lastOffset)"
        return "on \(receipt.replica) \(delay == 0 ? "within 1" : "after \(Figures.count(delay))") ms, with \(range)"
    }

    private static func change(_ change: VecraftV1.PayloadChange) -> String {
        let before = change.beforeJSON.isEmpty ? "nothing" : change.beforeJSON
        let after = change.afterJSON.isEmpty ? "nothing" : change.afterJSON
        return "\(change.path.isEmpty ? "payload" : change.path) from \(before) to \(after)"
    }

    private static func change(_ change: VecraftV1.VectorChange) -> String {
        let name = change.name.isEmpty ? "vector" : "vector \(change.name)"
        guard change.dimension == change.dimensionBefore else {
            return change.dimension == 0
                ? "\(name) is gone"
                : change.dimensionBefore == 0
                    ? "\(name) is new" : "\(name) of \(change.dimensionBefore) became one of \(change.dimension)"
        }
        func rounded(_ value: Double) -> String { String(Double(Int64((value * 1e6).rounded())) / 1e6) }
        return
            "\(name): \(Figures.count(UInt64(change.changedComponents))) of \(change.dimension) components, distance "
            + "\(rounded(change.distance)), cosine \(rounded(change.cosineSimilarity))"
    }

    private static func point(_ point: VecraftV1.PointChange) -> String {
        let vectors = point.vectors.sorted { $0.key < $1.key }
            .map { ($0.key.isEmpty ? "vector" : "vector \($0.key)") + " of \($0.value)" }
        let payload = point.payload.map { [String(decoding: $0.json, as: UTF8.self)] } ?? []
        return ([point.id] + vectors + payload).joined(separator: ", ")
    }
}
