internal import Primitives
internal import Wire

/// Search hits as a table.
struct HitView {
    /// Payload fields with a column of their own; empty: one column with the whole payload.
    var columns: [String]

    static func columns(_ list: String?) -> [String] {
        (list ?? "").split(separator: ",").map { String($0).trimmed }.filter { !$0.isEmpty }
    }

    func text(_ response: VecraftV1.SearchResponse, title: String, _ terminal: Terminal) -> String {
        let style = terminal.style
        var text = title.isEmpty ? "" : style.bold(TextWidth.printable(title)) + "\n"
        if response.hits.isEmpty {
            text += "Nothing matches.\n"
        } else {
            text += self.table(response.hits).render(terminal)
        }
        return text + style.dim(Self.footing(response)) + "\n"
    }

    func table(_ hits: [VecraftV1.Hit]) -> Table {
        let fields = self.columns.isEmpty ? ["payload"] : self.columns
        var table = Table(
            [Table.Column("distance", right: true), Table.Column("id", flexible: true)]
                + fields.map { Table.Column($0, flexible: true) })
        for hit in hits {
            let payload = hit.payload?.json ?? []
            let cells =
                self.columns.isEmpty
                ? [String(decoding: payload, as: UTF8.self)] : PayloadView.cells(payload, self.columns)
            table.add([Figures.decimal(Double(hit.distance), 4), hit.id] + cells)
        }
        return table
    }

    /// "10 hits in 0.42 ms, graph, 312 distances; read_your_writes, data-0 at 12"
    static func footing(_ response: VecraftV1.SearchResponse) -> String {
        var text = Figures.count(response.hits.count, "hit")
        if let info = response.info { text += " in \(Figures.milliseconds(Double(info.serverTimeUs) / 1000))" }
        if let plan = response.plan, !plan.strategy.isEmpty {
            text += ", \(plan.strategy), \(Figures.count(plan.visited, "distance")) computed"
            if !plan.unindexed.isEmpty { text += ", no index on \(plan.unindexed.joined(separator: ", "))" }
        }
        return response.info.map { "\(text); \(ReadView.text($0))" } ?? text
    }
}

/// What a read was answered from, in a few words.
enum ReadView {
    static func text(_ info: VecraftV1.ReadInfo) -> String {
        let versions = info.indexVersion.map { "\($0.partition) at \($0.offset)" }
        let absent = info.missingShards.isEmpty
            ? [] : ["WITHOUT shards \(info.missingShards.map(\.description).joined(separator: " "))"]
        let age = info.stalenessMs > 0 ? ["at most \(info.stalenessMs) ms old"] : []
        return (absent + ["\(info.achieved)"] + age + versions).joined(separator: ", ")
    }
}

/// Payloads in pieces.
enum PayloadView {
    /// The fields at these paths, as text; empty where there is none.
    static func cells(_ payload: [UInt8], _ paths: [String]) -> [String] {
        let document = try? JSONValue(parsing: payload)
        return paths.map { path in
            guard let document else { return "" }
            // A key that has dots itself is met whole before the path is taken apart.
            let value = document[path] ?? path.split(separator: ".").reduce(Optional(document)) { $0?[String($1)] }
            return value.map(Self.text) ?? ""
        }
    }

    static func text(_ value: JSONValue) -> String {
        switch value {
        case .null: "null"
        case .string(let text): text
        default: String(decoding: value.encoded(), as: UTF8.self)
        }
    }
}
