import Foundation
import Primitives
import TestSupport
import Testing
import Wire

/// The program and the Python client against a real node, as a user has them.
@Suite("The program against a node")
struct ProgramTests {
    private func run(_ arguments: [String], _ environment: [String: String] = [:]) async throws -> PythonEnvironment.Outcome {
        try await PythonEnvironment.run(ServerProcess.binary, arguments, environment: environment, limit: .seconds(120))
    }

    private func address(_ node: TestNode) -> [String: String] { ["VECRAFT_ADDRESS": "127.0.0.1:\(node.server.grpcPort)"] }

    @Test func theDemoFindsWhatAReaderExpects() async throws {
        let outcome = try await self.run(["demo"], ["KEEP": ""])
        try #require(outcome.succeeded, "\(outcome)")
        let said = outcome.output
        let players = try #require(said.range(of: "play music from the terminal"))
        let answers = said[players.upperBound...].prefix(400)
        #expect(["pianobar", "sidplay", "playmidi"].contains { answers.contains($0) }, "\(answers)")
        #expect(said.contains("Loaded 2,500"))
        #expect(said.contains("Where a hit comes from"))
        #expect(said.contains("vecraft_"))
        let wide = said.split(separator: "\n").map(String.init).filter { $0.count > 80 }
        #expect(wide.isEmpty, "\(wide)")
        // Its folder is gone, and so is its node.
        let folder = try #require(said.split(separator: "\n").first { $0.hasPrefix("Its files are in ") }?.dropFirst(17))
        #expect(!FileManager.default.fileExists(atPath: String(folder)))
    }

    @Test func theJournalIsShownFollowedAndVerified() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=1"])
        try await node.create("c", dimension: 4)
        for i in 1...3 { try await node.upsert("c", [point("p\(i)", [1, 0, 0, 0])]) }
        try await node.delete("c", ["p1"])

        let partitions = try await self.run(["journal", "partitions", "--output", "json"], self.address(node))
        #expect(partitions.succeeded, "\(partitions)")
        for name in ["data-0", "txn-0", "sys-0"] { #expect(partitions.output.contains("\"\(name)\""), "\(partitions.output)") }

        let tail = try await self.run(["journal", "tail", "data-0", "--output", "json"], self.address(node))
        #expect(tail.succeeded, "\(tail)")
        let lines = tail.output.split(separator: "\n").map(String.init)
        #expect(lines.count == 4, "\(lines)")
        #expect(lines.filter { $0.contains("\"upsert\"") }.count == 3)
        #expect(lines.last?.contains("\"delete\"") == true)
        let last = try await self.run(["journal", "tail", "data-0", "-n", "1"], self.address(node))
        #expect(last.output.contains("data-0 at 4") && last.output.contains("delete of 1 point"), "\(last.output)")
        let unknown = try await self.run(["journal", "tail", "data-7"], self.address(node))
        #expect(unknown.status != 0 && unknown.errors.contains("data-0"), "\(unknown)")

        let verified = try await self.run(["journal", "verify"], self.address(node))
        #expect(verified.succeeded, "\(verified)")
        #expect(await node.stop() == 0)
    }

    @Test func aDamagedJournalIsTold() async throws {
        let directory = try TemporaryDirectory()
        let node = try await TestNode(directory.path + "/data", settings: ["journal.data_partitions=1"])
        try await node.create("c", dimension: 4)
        for i in 1...20 { try await node.upsert("c", [point("p\(i)", [1, 0, 0, Float(i)])]) }
        let segment = try #require(
            FileManager.default.enumerator(atPath: directory.path + "/data")?.compactMap { $0 as? String }
                .first { $0.contains("data-0") && $0.hasSuffix(".segment") })
        // A bit of an entry in the middle, flipped behind the node's back.
        let file = try #require(FileHandle(forUpdatingAtPath: directory.path + "/data/" + segment))
        try file.seek(toOffset: 500)
        let byte = try #require(try file.read(upToCount: 1))[0]
        try file.seek(toOffset: 500)
        try file.write(contentsOf: [byte ^ 1])
        try file.close()
        let verified = try await self.run(["journal", "verify"], self.address(node))
        #expect(verified.status == 7, "\(verified)")
        #expect((verified.output + verified.errors).contains("byte "), "\(verified)")
        await node.kill()
    }

    /// A certificate for 127.0.0.1, and a node's settings with it.
    private func certify(_ directory: TemporaryDirectory) async throws -> (certificate: String, settings: [String]) {
        let (certificate, key) = (directory.path + "/cert.pem", directory.path + "/key.pem")
        let made = try await PythonEnvironment.run(
            "/usr/bin/env",
            [
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate,
            ], limit: .seconds(60))
        try #require(made.succeeded, "\(made)")
        return (
            certificate, ["grpc", "http"].flatMap { ["\($0).tls_certificate=\(certificate)", "\($0).tls_key=\(key)"] }
        )
    }

    @Test func aNodeThatIsOnlyTheJournalWorksUnderTLS() async throws {
        let directory = try TemporaryDirectory()
        let (certificate, settings) = try await self.certify(directory)
        let server = try await offThePool {
            try ServerProcess(dataDirectory: directory.path + "/data", settings: settings + ["node.roles=journal"])
        }
        let node = ["VECRAFT_ADDRESS": "127.0.0.1:\(server.grpcPort)"]
        let trusted = try await self.run(["journal", "partitions", "--tls-ca", certificate], node)
        #expect(trusted.succeeded && trusted.output.contains("data-0"), "\(trusted)")
        let plain = try await self.run(["journal", "partitions", "--timeout", "20"], node)
        #expect(plain.status != 0, "\(plain)")
        let page = try? await http("GET", server.httpPort, "/readyz")
        #expect(page == nil, "HTTP answers without TLS")
        #expect(try await offThePool { server.terminate() } == 0)
    }

    @Test func everythingWorksUnderTLS() async throws {
        let directory = try TemporaryDirectory()
        let (certificate, settings) = try await self.certify(directory)
        let server = try await offThePool {
            try ServerProcess(dataDirectory: directory.path + "/data", settings: settings)
        }
        let node = ["VECRAFT_ADDRESS": "127.0.0.1:\(server.grpcPort)"]
        let trusted = try await self.run(["collection", "create", "c", "--dimension", "4", "--tls-ca", certificate], node)
        #expect(trusted.succeeded, "\(trusted)")
        // Without trust, and without TLS, nothing is said.
        let distrusted = try await self.run(["health", "--tls", "--timeout", "20"], node)
        #expect(distrusted.status != 0, "\(distrusted)")
        let plain = try await self.run(["health", "--timeout", "20"], node)
        #expect(plain.status != 0, "\(plain)")
        #expect(try await offThePool { server.terminate() } == 0)
    }

    @Test func thePythonClientDoesAsItsExampleSays() async throws {
        let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        guard let python = await PythonEnvironment.python(modules: [.grpc]) else {
            #expect(ProcessInfo.processInfo.environment["CI"] != "true", "there is no Python environment; .ci/python makes it")
            return
        }
        let directory = try TemporaryDirectory()
        // A copy: the stubs are made beside the client.
        let client = directory.path + "/repository"
        try FileManager.default.createDirectory(atPath: client + "/clients", withIntermediateDirectories: true)
        try FileManager.default.copyItem(atPath: root.path + "/clients/python", toPath: client + "/clients/python")
        try FileManager.default.copyItem(atPath: root.path + "/Proto", toPath: client + "/Proto")
        let node = try await TestNode(directory.path + "/data")
        let outcome = try await PythonEnvironment.run(
            python, [client + "/clients/python/example.py", "127.0.0.1:\(node.server.grpcPort)"], limit: .seconds(120))
        #expect(outcome.succeeded, "\(outcome)")
        #expect(outcome.output.contains("4 notes written"))
        #expect(outcome.output.contains("moon"))
        #expect(outcome.output.contains("was written by request"))
        #expect(await node.stop() == 0)
    }
}
