package import ArgumentParser
internal import GRPC
package import JournalFormat
internal import NIOCore
package import Primitives
internal import Wire

package struct JournalTailCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "tail", abstract: "Show a partition's newest entries, and with --follow each new one.",
        discussion: "With --output json, one object a line.")

    @OptionGroup(title: "The node") package var global: GlobalOptions

    @Argument(help: "The partition: data-0, txn-0, sys-0, ... (default: all, in the order of their clocks)")
    package var partition: String?

    @Option(name: [.customShort("n"), .long], help: ArgumentHelp("So many of the newest entries.", valueName: "n"))
    package var lines: UInt64 = 10

    @Option(help: ArgumentHelp("Begin at this offset instead.", valueName: "offset"))
    package var from: UInt64?

    @Flag(name: [.short, .long], help: "Go on with each new entry, until interrupted.")
    package var follow = false

    package init() {}

    package func validate() throws {
        guard self.partition != nil || (!self.follow && self.from == nil) else {
            throw ValidationError("--follow and --from need a partition")
        }
    }

    package func run(on node: Node) async throws {
        let response: VecraftInternalV1.PartitionsResponse = try await node.call(
            VecraftInternalV1.Journal.partitions, VecraftInternalV1.PartitionsRequest())
        let chosen = response.partitions.filter { self.partition == nil || self.partition == $0.partition }
        if let partition = self.partition, chosen.isEmpty {
            let known = response.partitions.map(\.partition).joined(separator: ", ")
            throw VecraftError(.notFound, "there is no journal partition '\(partition)'; there are \(known)")
        }
        if let partition = self.partition, let info = chosen.first {
            let next = try await self.read(info, on: node) { line in self.show(line) }
            if self.follow { try await self.follow(partition, from: next, on: node) }
            return
        }
        var newest: [EntryLine] = []
        for info in chosen { _ = try await self.read(info, on: node) { newest.append($0) } }
        newest.sort { ($0.header.hlc, $0.header.partition) < ($1.header.hlc, $1.header.partition) }
        for line in newest.suffix(Int(clamping: self.lines)) { self.show(line) }
    }

    /// Reads a partition's newest entries, as many as were asked for.
    /// - Returns: The offset after the last.
    private func read(
        _ info: VecraftInternalV1.PartitionInfo, on node: Node, _ body: (EntryLine) -> Void
    ) async throws(VecraftError) -> UInt64 {
        let next = info.committedOffset + 1
        var offset = max(self.from ?? (next > self.lines ? next - self.lines : 1), info.firstOffset, 1)
        while offset < next {
            let request = VecraftInternalV1.ReadRequest(partition: info.partition, from: offset)
            let batch: VecraftInternalV1.EntryBatch = try await node.call(VecraftInternalV1.Journal.read, request)
            guard !batch.entries.isEmpty else { break }
            for entry in batch.entries {
                let line = try Self.line(entry)
                body(line)
                offset = line.header.offset + 1
            }
        }
        return offset
    }

    private func follow(_ partition: String, from offset: UInt64, on node: Node) async throws(VecraftError) {
        let request = VecraftInternalV1.ReadRequest(partition: partition, from: offset)
        // No deadline: it lasts until the person leaves.
        let call = try await node.client.serverStreaming(
            VecraftInternalV1.Journal.subscribe.path, ByteBuffer(bytes: request.encode()), metadata: node.metadata)
        var replies = call.replies.makeAsyncIterator()
        while let reply = try await replies.next() {
            let batch = try VecraftInternalV1.EntryBatch.decode(Array(reply.readableBytesView))
            for entry in batch.entries { self.show(try Self.line(entry)) }
        }
    }

    private static func line(_ bytes: [UInt8]) throws(VecraftError) -> EntryLine {
        try bytes.withBytes { raw throws(VecraftError) in
            do throws(DecodingFault) {
                return try EntryLine(try EntryView(raw))
            } catch {
                throw VecraftError(.dataLoss, "a journal entry cannot be read: \(error)")
            }
        }
    }

    private func show(_ line: EntryLine) {
        switch self.global.format.output {
        case .json: Console.print(String(decoding: line.json.encoded(), as: UTF8.self))
        case .text: Console.print(line.text(.output))
        }
    }
}

/// One journal entry on one line.
package struct EntryLine {
    let header: EntryHeader
    let bytes: Int
    /// Nil where the operation does not say.
    let points: Int?

    package init(_ entry: EntryView) throws(DecodingFault) {
        self.header = try entry.header()
        self.bytes = entry.body.count
        switch entry.operation {
        case .upsert: self.points = try UpsertBody(entry.body).count
        case .delete: self.points = try DeleteBody(entry.body).count
        default: self.points = nil
        }
    }

    package func text(_ terminal: Terminal) -> String {
        let style = terminal.style
        let what = self.header.operation.name.replacing("_", with: " ")
        let points = self.points.map { " of \(Figures.count($0, "point"))" } ?? ""
        let request = "request \(TextWidth.printable(self.header.requestID))"
        let place = TextWidth.pad("\(self.header.partition) at \(self.header.offset)", 14)
        let bytes = TextWidth.pad(Figures.bytes(UInt64(self.bytes)), 10, right: true)
        let time = Figures.time(self.header.hlc)
        let whole = [place, time, TextWidth.pad(what + points, 24), bytes].joined(separator: "  ")
        let columns = terminal.width ?? Int.max
        if TextWidth.of(whole) + 2 + TextWidth.of(request) <= columns { return whole + "  " + style.dim(request) }
        // On a narrow terminal: no zone (it is always UTC), and the request only with --output json.
        return TextWidth.fit([place, String(time.dropLast(4)), TextWidth.pad(what + points, 24), bytes].joined(separator: "  "), columns)
    }

    var json: JSONValue {
        [
            "partition": .string(self.header.partition.description), "offset": .string("\(self.header.offset)"),
            "term": .string("\(self.header.term)"), "hlc": .string("\(self.header.hlc.rawValue)"),
            "operation": .string(self.header.operation.name),
            "points": self.points.map { .integer(Int64($0)) } ?? .null,
            "body_bytes": .integer(Int64(self.bytes)), "tenant": .string(self.header.tenant),
            "collection_id": .string("\(self.header.collection)"), "request_id": .string(self.header.requestID),
            "idempotency_key": .string(self.header.idempotencyKey), "principal": .string(self.header.principal),
            "trace_id": .string(self.header.trace.traceIDHex), "span_id": .string(self.header.trace.spanIDHex),
        ]
    }
}
