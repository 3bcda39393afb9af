import Foundation
import Primitives
import TestSupport
import Testing

@testable import Wire

@Suite struct CompatibilityTests {
    @Test(arguments: PythonGolden.all.indices)
    func pythonsBytesAndOurs(index: Int) throws {
        let golden = PythonGolden.all[index]
        let bytes = Self.unhex(golden.hex)
        func check<M: WireMessage>(_ type: M.Type) throws {
            let message = try M.decode(bytes)
            #expect(try M.decode(message.encode()) == message, "\(golden.name)")
            // protobuf-c leaves out the empty key of a map's entry, Python writes it.
            if golden.name != "vecraft.v1.PointChange" { #expect(message.encode() == bytes, "\(golden.name)") }
            // What JSON holds is the same document, numbers by value and members by name.
            if let json = golden.json {
                #expect(
                    Self.sorted(try JSONValue(parsing: message.json())) == Self.sorted(try JSONValue(parsing: json)))
                #expect(try M(json: json) == message)
            } else {
                #expect(try M.decode(try M(json: message.json()).encode()) == M(json: message.json()))
            }
        }
        guard let type = WireMessages.all.first(where: { $0.schema.name == golden.name }) else {
            Issue.record("no message \(golden.name)")
            return
        }
        try check(type)
    }

    @Test func everythingIsGeneratedFromTheContracts() async throws {
        let root = URL(filePath: #filePath).resolvingSymlinksInPath()
            .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        let tools = ["python3", "protoc", "protoc-c"].map(Self.find)
        if tools.contains(nil) {
            #expect(ProcessInfo.processInfo.environment["CI"] != "true", "CI needs python3, protoc and protoc-c")
            return
        }
        // Leaves no cache of compiled Python beside the sources.
        let outcome = try await PythonEnvironment.run(
            "/usr/bin/env", ["python3", root.appending(path: "Proto/generate.py").path, "--check"],
            environment: ["PYTHONDONTWRITEBYTECODE": "1"], limit: .seconds(300))
        #expect(outcome.succeeded, "run Proto/generate.py: it would change\n\(outcome)")
    }

    static func find(_ tool: String) -> URL? {
        let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
        return path.split(separator: ":").map { URL(filePath: String($0)).appending(path: tool) }
            .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    }

    static func unhex(_ hex: String) -> [UInt8] {
        let digits = hex.utf8.map { $0 < 0x3a ? $0 - 0x30 : $0 - 0x61 + 10 }
        return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
    }

    static func sorted(_ value: JSONValue) -> JSONValue {
        switch value {
        case .object(let members):
            .object(members.map { JSONMember($0.key, Self.sorted($0.value)) }.sorted { $0.key < $1.key })
        case .array(let elements): .array(elements.map(Self.sorted))
        default: value
        }
    }

    @Test func descriptorsAnswerReflection() throws {
        let file = try #require(FileDescriptors.file(containing: "vecraft.v1.SearchRequest"))
        #expect(file.name == "vecraft/v1/points.proto")
        #expect(file.dependencies == ["vecraft/v1/types.proto"])
        #expect(FileDescriptors.file(containing: "vecraft.v1.Points.Search")?.name == file.name)
        #expect(FileDescriptors.file(containing: "vecraft.v1.Points")?.name == file.name)
        #expect(FileDescriptors.file(named: "nowhere.proto") == nil)
        for file in FileDescriptors.all {
            // FileDescriptorProto.name is field 1, the first on the wire.
            let name = Array(file.name.utf8)
            #expect(file.serialized.starts(with: [0x0a, UInt8(name.count)] + name))
            for dependency in file.dependencies { #expect(FileDescriptors.file(named: dependency) != nil) }
        }
    }

    @Test func servicesAndMethods() throws {
        #expect(VecraftV1.Points.search.path == "/vecraft.v1.Points/Search")
        let importing = try #require(ServiceDescriptors.method(path: "/vecraft.v1.Points/Import"))
        #expect(importing == VecraftV1.Points.import)
        #expect(importing.clientStreaming && !importing.serverStreaming)
        #expect(importing.request == "vecraft.v1.UpsertRequest" && importing.response == "vecraft.v1.ImportResponse")
        let names = Set(ServiceDescriptors.all.map(\.name))
        #expect(
            names.isSuperset(of: [
                "vecraft.v1.Points", "vecraft.v1.Collections", "grpc.health.v1.Health",
                "grpc.reflection.v1alpha.ServerReflection",
            ]))
        let messages = Set(WireMessages.all.map { $0.schema.name })
        for service in ServiceDescriptors.all {
            #expect(FileDescriptors.file(named: service.file)?.symbols.contains(service.name) == true)
            for method in service.methods {
                #expect(messages.contains(method.request) && messages.contains(method.response))
            }
        }
    }
}
