import Foundation
import Primitives
import TestSupport
import Testing
import Wire

/// How a node begins and ends when not all is well.
@Suite("A node's beginning and end")
struct LifeTests {
    private func serve(_ data: String, _ arguments: [String]) async throws -> PythonEnvironment.Outcome {
        try await PythonEnvironment.run(
            ServerProcess.binary, ["serve", "--data-directory", data] + arguments, limit: .seconds(120))
    }

    @Test func aTakenPortIsAnErrorAtOnce() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/first")
        let (grpc, http) = ("\(node.server.grpcPort)", "\(node.server.httpPort)")
        for (arguments, taken) in [
            (["--grpc-port", grpc, "--http-port", "0"], grpc), (["--grpc-port", "0", "--http-port", http], http),
        ] {
            let outcome = try await self.serve(directory.path + "/second", arguments)
            #expect(!outcome.timedOut && outcome.status > 0, "\(outcome)")
            #expect(outcome.errors.contains("Error: cannot listen") && outcome.errors.contains(taken), "\(outcome)")
            #expect(!outcome.output.contains("ready"))
        }
        let unknown = try await self.serve(
            directory.path + "/second", ["--host", "no-such-host.invalid", "--grpc-port", "0", "--http-port", "0"])
        #expect(
            !unknown.timedOut && unknown.status > 0 && unknown.errors.contains("no-such-host.invalid"), "\(unknown)")
        #expect(await node.stop() == 0)
    }

    @Test func aDataDirectoryThatIsAFileIsRefused() async throws {
        let directory = try TemporaryDirectory()
        let file = directory.path + "/file"
        try Data("x".utf8).write(to: URL(fileURLWithPath: file))
        for path in [file, file + "/below"] {
            let outcome = try await self.serve(path, ["--grpc-port", "0", "--http-port", "0"])
            #expect(outcome.status == 2 && outcome.errors.contains("node.data_directory"), "\(outcome)")
        }
    }

    @Test func aSignalDuringTheStartIsAnOrderlyEnd() async throws {
        let directory = try TemporaryDirectory()
        for round in 0..<5 {
            let status = try await offThePool { () throws -> Int32 in
                let process = Process()
                process.executableURL = URL(fileURLWithPath: ServerProcess.binary)
                process.arguments = [
                    "serve", "--data-directory", directory.path + "/data\(round)", "--grpc-port", "0", "--http-port",
                    "0",
                ]
                let log = URL(fileURLWithPath: directory.path + "/log\(round)")
                _ = FileManager.default.createFile(atPath: log.path, contents: nil)
                process.standardError = try FileHandle(forWritingTo: log)
                process.standardOutput = FileHandle.nullDevice
                try process.run()
                // The line before the node listens.
                while process.endStatus == nil, try Data(contentsOf: log).range(of: Data("catalog loaded".utf8)) == nil
                {
                    usleep(500)
                }
                kill(process.processIdentifier, SIGTERM)
                return process.awaitEnd()
            }
            #expect(status == 0, "round \(round)")
        }
    }

    @Test func aFullDiskIsSaidUntilItIsOver() async throws {
        let directory = try TemporaryDirectory()
        // More is to be kept free than any disk here has.
        let node = try await TestNode(directory.path + "/data", settings: ["journal.reserve_bytes=1024GiB"])
        #expect(try await http("GET", node.server.httpPort, "/readyz").status == 200)
        try await node.create("c", dimension: 4)
        for _ in 0..<3 {
            await #expect(throws: VecraftError.self) { try await node.upsert("c", [point("a", [1, 0, 0, 0])]) }
        }
        let ready = try await http("GET", node.server.httpPort, "/readyz")
        #expect(ready.status == 503 && ready.body.contains("writes are refused: the disk is full"), "\(ready)")
        #expect(
            node.server.logText.split(separator: "\n").filter { $0.contains("the disk is full, writes are refused") }
                .count == 1)
        #expect(try await node.count("c") == 0, "reads go on")
        #expect(await node.stop() == 0)
    }

    @Test func aReaderWhoLeavesTheDemoLeavesNothingBehind() async throws {
        let directory = try TemporaryDirectory()
        let outcome = try await PythonEnvironment.run(
            "/bin/sh", ["-c", "'\(ServerProcess.binary)' demo | head -n 2"],
            environment: ["TMPDIR": directory.path, "KEEP": ""],
            limit: .seconds(180))
        #expect(!outcome.timedOut && outcome.output.contains("a short tour"), "\(outcome)")
        let left = try FileManager.default.contentsOfDirectory(atPath: directory.path).filter {
            $0.hasPrefix("vecraft-demo")
        }
        #expect(left.isEmpty, "\(left)")
    }

    @Test func theReadmesCommandsWork() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        let blocks = text.components(separatedBy: "```sh\n").dropFirst().map { $0.components(separatedBy: "```")[0] }
            .filter { $0.contains("curl ") || $0.contains(".build/release/vecraft") }
            .filter { !$0.contains("--peers") && !$0.contains("add-replica") && !$0.contains("make cluster") }
        try #require(blocks.count == 2)
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data")
        let script = (["set -e", "cd '\(root.path)'"] + blocks).joined(separator: "\n")
            .replacingOccurrences(of: "localhost:7401", with: "127.0.0.1:\(node.server.httpPort)")
            .replacingOccurrences(of: "curl ", with: "curl --fail-with-body -sS ")
            .replacingOccurrences(of: ".build/release/vecraft", with: "'\(ServerProcess.binary)'")
        let outcome = try await PythonEnvironment.run(
            "/bin/sh", ["-c", script], environment: ["VECRAFT_ADDRESS": "127.0.0.1:\(node.server.grpcPort)"],
            limit: .seconds(180))
        #expect(outcome.succeeded, "\(outcome)")
        #expect(outcome.output.contains("pianobar") && outcome.output.contains("The journal is whole."), "\(outcome)")
        // The Python lines use names of their own.
        let python = text.components(separatedBy: "```python\n")[1].components(separatedBy: "```")[0]
        #expect(!python.contains("\"notes\"") && !python.contains("\"packages\""))
        #expect(await node.stop() == 0)
    }

    @Test func theReadmesClusterWorks() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
        let text = try String(contentsOf: root.appendingPathComponent("README.md"), encoding: .utf8)
        let blocks = text.components(separatedBy: "```sh\n").dropFirst().map { $0.components(separatedBy: "```")[0] }
        let start = try #require(blocks.first { $0.contains("--peers") })
        // Without the line that adds a node that nobody started.
        let commands = try #require(blocks.first { $0.contains("add-replica") }).split(separator: "\n")
            .filter { !$0.contains("add-replica") }
        #expect(commands.count == 2)
        var outcome: PythonEnvironment.Outcome?
        // Ports that are free now may be taken when the nodes bind them: others are tried then.
        for attempt in 0..<5 where outcome?.succeeded != true {
            let directory = try TemporaryDirectory()
            let ports = 11 + Int(ProcessInfo.processInfo.processIdentifier) % 20 + 6 * attempt
            let script = """
                cd '\(directory.path)'
                \(start)
                trap 'kill $(jobs -p); wait' EXIT
                for i in 1 2 3; do
                    n=0
                    until curl -fs 127.0.0.1:841$i/readyz >/dev/null; do n=$((n+1)); [ $n -lt 600 ] || exit 9; sleep 0.1; done
                done
                set -e
                \(commands.joined(separator: "\n"))
                """
                .replacingOccurrences(of: "127.0.0.1:750", with: "127.0.0.1:\(ports)40")
                .replacingOccurrences(of: "--grpc-port 740", with: "--grpc-port \(ports)41")
                .replacingOccurrences(of: "127.0.0.1:740", with: "127.0.0.1:\(ports)41")
                .replacingOccurrences(of: "--http-port 841", with: "--http-port \(ports)42")
                .replacingOccurrences(of: "127.0.0.1:841", with: "127.0.0.1:\(ports)42")
                .replacingOccurrences(of: ".build/release/vecraft", with: "'\(ServerProcess.binary)'")
            outcome = try await PythonEnvironment.run(
                "/bin/bash", ["-c", script], environment: [:], limit: .seconds(600))
        }
        let said = try #require(outcome)
        #expect(said.succeeded, "\(said)")
        #expect(said.output.contains("1, 2, 3") && said.output.contains("takes over data-0"), "\(said)")
    }

    @Test func aJournalIsVerifiedWithoutItsNode() async throws {
        let directory = try TemporaryDirectory()
        let data = directory.path + "/data"
        let node = try await TestNode(data, settings: ["journal.data_partitions=1"])
        try await node.create("c", dimension: 4)
        for i in 1...20 { try await node.upsert("c", [point("p\(i)", [1, 0, 0, Float(i)])]) }
        func verify() async throws -> PythonEnvironment.Outcome {
            try await PythonEnvironment.run(
                ServerProcess.binary, ["journal", "verify", "--data-directory", data], limit: .seconds(60))
        }
        let beside = try await verify()
        #expect(beside.succeeded && beside.output.contains("1 to 20"), "\(beside)")
        #expect(await node.stop() == 0)
        #expect(try await verify().succeeded)
        let segment = data + "/journal/data-0/0000000001.segment"
        let file = try #require(FileHandle(forUpdatingAtPath: segment))
        try file.seek(toOffset: 500)
        let byte = try #require(try file.read(upToCount: 1))[0]
        try file.seek(toOffset: 500)
        try file.write(contentsOf: [byte ^ 1])
        try file.close()
        let before = try Data(contentsOf: URL(fileURLWithPath: segment))
        let damaged = try await verify()
        #expect(
            damaged.status == 7 && damaged.output.contains(segment) && damaged.output.contains("byte "), "\(damaged)")
        #expect(try Data(contentsOf: URL(fileURLWithPath: segment)) == before)
        let nowhere = try await PythonEnvironment.run(
            ServerProcess.binary, ["journal", "verify", "--data-directory", directory.path + "/none"],
            limit: .seconds(60))
        #expect(nowhere.status == 3, "\(nowhere)")
    }
}
