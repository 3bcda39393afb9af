package import ArgumentParser
internal import FileStore
internal import Foundation
internal import GRPC
internal import NIOCore
internal import Primitives
internal import Wire

package struct LineageSearchCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "search", abstract: "Which index version of each shard answered the reads of a request.",
        discussion: "For reads that came with a request id (x-request-id); of those that failed, why.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The request id that the reads carried.")
    package var requestID: String

    package init() {}

    package func run(on node: Node) async throws {
        let response: VecraftV1.SearchLineageResponse = try await node.call(
            VecraftV1.Lineage.search, VecraftV1.SearchLineageRequest(requestID: self.requestID))
        try self.global.format.write(try response.tree()) { Self.text(response, self.requestID, $0) }
        if response.reads.isEmpty { throw QuietExit(.notFound) }
    }

    private static func name(_ level: VecraftV1.ConsistencyLevel) -> String {
        (try? ConsistencyLevel(wire: level))?.name.replacing("_", with: " ") ?? "unknown"
    }

    private static func text(_ response: VecraftV1.SearchLineageResponse, _ id: String, _ terminal: Terminal) -> String
    {
        var text = ""
        for read in response.reads {
            var fields = FieldList(terminal)
            fields.title(
                Figures.time(HLCTimestamp(rawValue: read.hlc)), note: "\(read.operation) in '\(read.collection)'")
            fields.add("who", read.tenant.isEmpty ? read.principal : "\(read.principal), tenant \(read.tenant)")
            fields.add("gateway", read.node)
            fields.add("trace", read.traceID)
            if read.status == VecraftError.Code.ok.name {
                fields.add(
                    "level",
                    "\(Self.name(read.achieved)), asked for \(Self.name(read.requested)), at most \(read.stalenessMs) ms old"
                )
            } else {
                fields.add("asked for", read.requested == .unspecified ? "" : Self.name(read.requested))
            }
            fields.add("status", read.reason.isEmpty ? read.status : "\(read.status) (\(read.reason))")
            fields.add("time", "\(Figures.count(read.durationUs)) us")
            for shard in read.shards {
                fields.add(
                    "shard \(shard.shard)", "\(shard.partition) through \(shard.indexVersion), on \(shard.replica)")
            }
            text += fields.text + "\n"
        }
        if response.reads.isEmpty { text = "The request \(TextWidth.printable(id)): no read is noted.\n" }
        for node in response.unansweredNodes {
            text += terminal.style.red("\(TextWidth.printable(node)) did not answer: its reads are missing") + "\n"
        }
        return text
    }
}

/// Which entries, as options say it.
package struct EntryOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Only this collection.", valueName: "name"))
    package var collection: String?
    @Option(help: ArgumentHelp("Only the collection with this id, which may have been dropped.", valueName: "id"))
    package var collectionID: UInt64?
    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp(
            "Only these operations: upsert, delete, delete_by_filter, ddl, decision, ...", valueName: "operation"))
    package var operation: [String] = []
    @Flag(help: "Of every tenant, not of the one named by --tenant alone.")
    package var allTenants = false

    package init() {}

    package var operations: [String] {
        // "deletes" stands for both ways of deleting.
        let words = self.operation.joined(separator: ",").split(separator: ",").map(String.init)
        return words.flatMap { $0 == "deletes" ? ["delete", "delete_by_filter"] : [$0] }
    }
}

/// A moment as a person gives it: a hybrid clock's value, a time of day, or how long ago.
package struct Moment: ExpressibleByArgument, Sendable {
    package let hlc: UInt64
    private static let seconds: [Character: UInt64] = ["s": 1, "m": 60, "h": 3_600, "d": 86_400]

    /// "now", "90s", "15m", "2h", "7d" (ago), "2026-01-31T12:00:00Z", or an HLC.
    package init?(argument: String) {
        let now = UInt64(Date().timeIntervalSince1970 * 1000)
        if argument == "now" {
            self.hlc = now << 16
        } else if let number = UInt64(argument) {
            self.hlc = number
        } else if let unit = argument.last, let count = UInt64(argument.dropLast()),
            let seconds = Self.seconds[unit],
            case let (ago, overflow) = count.multipliedReportingOverflow(by: seconds * 1000), !overflow, ago <= now
        {
            self.hlc = (now - ago) << 16
        } else if let date = try? Date(argument, strategy: .iso8601), date.timeIntervalSince1970 >= 0 {
            self.hlc = UInt64(date.timeIntervalSince1970 * 1000) << 16
        } else {
            return nil
        }
    }
}

package struct LineageBetweenCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "between",
        abstract: "Entries between two moments, of all partitions, in the order of their clocks.",
        discussion: """
            A moment is how long ago (90s, 15m, 2h, 7d), a time (2026-01-31T12:00:00Z), "now", or a clock's value as entries state it.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The first moment.")
    package var from: Moment
    @Argument(help: "The last moment, not included. (default: now)")
    package var to: Moment?
    @OptionGroup(title: "Which entries") package var entries: EntryOptions
    @Option(help: ArgumentHelp("Only what this principal wrote.", valueName: "name"))
    package var principal: String?
    @Option(help: ArgumentHelp("At most so many entries; 0: all.", valueName: "n"))
    package var limit = 100

    package init() {}

    package func validate() throws {
        guard self.limit >= 0 else { throw ValidationError("--limit is not below 0") }
    }

    package func run(on node: Node) async throws {
        var request = VecraftV1.BetweenRequest(
            fromHLC: self.from.hlc, toHLC: self.to?.hlc ?? 0,
            tenant: self.entries.allTenants ? "" : self.global.tenant, collection: self.entries.collection ?? "",
            collectionID: self.entries.collectionID ?? 0, operations: self.entries.operations,
            principal: self.principal ?? "")
        var whole = VecraftV1.LineageResponse()
        repeat {
            let left = self.limit == 0 ? 1_000 : self.limit - whole.entries.count
            request.limit = UInt32(min(1_000, left))
            let page: VecraftV1.LineageResponse = try await node.call(VecraftV1.Lineage.between, request)
            whole.entries += page.entries
            whole.scanned += page.scanned
            whole.truncated = page.truncated
            for node in page.unansweredNodes where !whole.unansweredNodes.contains(node) {
                whole.unansweredNodes.append(node)
            }
            request.pageToken = page.nextPageToken
            // Nothing more is in order yet: some partition has no leader.
            if page.entries.isEmpty, page.scanned == 0 { break }
        } while !request.pageToken.isEmpty && (self.limit == 0 || whole.entries.count < self.limit)
        whole.nextPageToken = request.pageToken
        let answer = whole
        try self.global.format.write(try answer.tree()) { terminal in
            var text = ""
            for entry in answer.entries { text += LineageView.text(entry, terminal) + "\n" }
            if answer.entries.isEmpty { text = "No entry of that kind in that time.\n" }
            if answer.truncated { text += "There are more, or may come: --limit\n" }
            for node in answer.unansweredNodes {
                text +=
                    terminal.style.red("\(TextWidth.printable(node)) did not answer: its receipts are missing") + "\n"
            }
            return text
                + terminal.style.dim("\(Figures.count(answer.scanned, "journal entry", "journal entries")) read") + "\n"
        }
    }
}

package struct LineageWatchCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "watch",
        abstract: "Follow entries live, each once, in the order of their clocks (change data capture).",
        discussion: """
            With --output json one object a line, with the token to resume behind it. Ends when interrupted. The tenant of --tenant alone, \
            unless --all-tenants.
            """)

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @OptionGroup(title: "Which entries") package var entries: EntryOptions
    @Option(help: ArgumentHelp("Go on behind the entry that this token came with.", valueName: "token"))
    package var resume: String?
    @Option(
        help: ArgumentHelp(
            "Begin at a moment: 2h (ago), a time, or a clock's value. (default: now)", valueName: "moment"))
    package var since: Moment?
    @Flag(help: "With all points of an entry and their vectors.")
    package var whole = false
    @Option(help: ArgumentHelp("End after so many entries.", valueName: "n"))
    package var count: Int?

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.WatchRequest(
            tenant: self.entries.allTenants ? "" : self.global.tenant, collection: self.entries.collection ?? "",
            collectionID: self.entries.collectionID ?? 0, operations: self.entries.operations,
            resumeToken: self.resume ?? "",
            fromHLC: self.since?.hlc ?? 0, whole: self.whole)
        // No deadline: it lasts until the person leaves.
        let call = try await node.client.serverStreaming(
            VecraftV1.Lineage.watch.path, ByteBuffer(bytes: request.encode()), metadata: node.metadata)
        var replies = call.replies.makeAsyncIterator()
        var left = self.count ?? .max
        while left > 0, let reply = try await replies.next() {
            let change = try VecraftV1.WatchResponse.decode(Array(reply.readableBytesView))
            guard let entry = change.entry else { continue }
            left -= 1
            switch self.global.format.output {
            case .json: Console.print(String(decoding: change.json(), as: UTF8.self))
            case .text: Console.print(LineageView.text(entry, .output))
            }
        }
    }
}

package struct LineageReplayCommand: NodeCommand {
    package static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "A collection's points as they stood at a moment, made from the journal.",
        discussion: "One JSON object a line: id, version, payload, and with --vectors its vectors.")

    @OptionGroup(title: "The node") package var global: GlobalOptions
    @Argument(help: "The collection.")
    package var collection: String
    @Option(help: ArgumentHelp("The moment: 2h (ago), a time, or a clock's value. (default: now)", valueName: "moment"))
    package var to: Moment?
    @Flag(help: "With vectors.")
    package var vectors = false
    @Flag(help: "Only how many there were, and up to which entry.")
    package var count = false

    package init() {}

    package func run(on node: Node) async throws {
        let request = VecraftV1.ReplayRequest(
            collection: self.collection, tenant: self.global.tenant, toHLC: self.to?.hlc ?? 0,
            withVectors: self.vectors && !self.count)
        let call = try await node.client.serverStreaming(
            VecraftV1.Lineage.replay.path, ByteBuffer(bytes: request.encode()), metadata: node.metadata,
            timeout: node.timeout)
        var replies = call.replies.makeAsyncIterator()
        var end: VecraftV1.ReplayResponse?
        while let reply = try await replies.next() {
            let page = try VecraftV1.ReplayResponse.decode(Array(reply.readableBytesView))
            if !self.count { for point in page.points { Console.print(String(decoding: point.json(), as: UTF8.self)) } }
            if page.done { end = page }
        }
        guard let end else { throw VecraftError(.dataLoss, "the replay ended before its end") }
        let when =
            end.hlc == 0
            ? "no entry counted" : "up to offset \(end.offset), \(Figures.time(HLCTimestamp(rawValue: end.hlc)))"
        let sums =
            "\(Figures.count(end.count, "point")), \(when); \(Figures.count(end.scanned, "journal entry", "journal entries")) read"
        if self.count, self.global.format.output == .json {
            var bare = end
            bare.points = []
            Console.print(String(decoding: bare.json(includingDefaults: true), as: UTF8.self))
        } else if self.count {
            Console.print(sums)
        } else {
            Console.error(sums)
        }
    }
}

/// Acknowledged writes, looked up.
enum Coverage {
    private static let batch = 10_000

    static func check(_ path: String, on node: Node, _ options: GlobalOptions) async throws {
        let bytes: [UInt8]
        if path == "-" {
            bytes = [UInt8](FileHandle.standardInput.readDataToEndOfFile())
        } else {
            let files = PosixFileStore()
            do throws(FileFault) { bytes = try files.readWhole(path, limit: 4 << 30) } catch {
                throw error.vecraftError
            }
        }
        var writes: [VecraftV1.Acknowledged] = []
        var found: UInt64 = 0
        var missing: [VecraftV1.Acknowledged] = []
        func ask() async throws {
            let response: VecraftV1.CoverResponse = try await node.call(
                VecraftV1.Lineage.cover, VecraftV1.CoverRequest(writes: writes))
            found += response.found
            missing += response.missing
            writes = []
        }
        for (number, line) in bytes.split(separator: UInt8(ascii: "\n")).enumerated() {
            do throws(VecraftError) {
                writes.append(try VecraftV1.Acknowledged(json: String(decoding: line, as: UTF8.self)))
            } catch {
                throw VecraftError(.invalidArgument, "\(path), line \(number + 1): \(error.message)")
            }
            if writes.count == Self.batch { try await ask() }
        }
        if !writes.isEmpty { try await ask() }
        let all = found + UInt64(missing.count)
        Console.error("\(Figures.count(found)) of \(Figures.count(all, "acknowledged write")) found")
        for write in missing.prefix(20) {
            Console.error(
                "missing: \(write.partition) at \(write.offset), clock \(write.hlc), request \(TextWidth.printable(write.requestID))"
            )
        }
        if !missing.isEmpty { throw QuietExit(.damaged) }
    }
}
