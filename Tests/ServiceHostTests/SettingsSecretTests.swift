import Foundation
import ServiceHost
import Testing

/// Secrets and the other kinds of keys, on a table of their own: the node's settings have no secret yet.
@Suite struct SettingsSecretTests {
    private struct Sample: Sendable, Equatable {
        var key = ""
        var ratio = 0.5
        var enabled = false
    }

    private let loader = SettingsLoader<Sample>([
        .text("auth.root_key", \.key, upTo: 16, secret: true, "Root API key."),
        .number("trace.ratio", \.ratio, 0...1, "Part of traces sampled."),
        .flag("trace.enabled", \.enabled, "Whether to trace."),
    ])

    private func load(
        file: String? = nil, environment: [String: String] = [:], flags: [String] = [],
        secrets: [String: String] = [:]
    ) throws(SettingsError) -> LoadedSettings<Sample> {
        try self.loader.load(
            defaults: Sample(), file: file.map { ("f.yaml", $0) }, environment: environment, flags: flags,
            readSecret: { path in
                guard let text = secrets[path] else { throw CocoaError(.fileNoSuchFile) }
                return text
            })
    }

    @Test func aSecretMayComeFromAFileAndIsNeverPrinted() throws {
        let loaded = try self.load(
            environment: ["VECRAFT_AUTH__ROOT_KEY_FILE": "/run/secrets/key"], secrets: ["/run/secrets/key": "hunter2\n"]
        )
        #expect(loaded.values.key == "hunter2")
        #expect(
            loaded.source("auth.root_key")
                == .secretFile(variable: "VECRAFT_AUTH__ROOT_KEY_FILE", path: "/run/secrets/key"))
        #expect(!loaded.yaml().contains("hunter2"))
        #expect(
            loaded.yaml().contains(
                "root_key: \"********\"  # file /run/secrets/key named by VECRAFT_AUTH__ROOT_KEY_FILE"))
        #expect(try self.load().yaml().contains("root_key: \"\"  # default"))
    }

    @Test func aRefusedSecretIsNotShown() {
        let error = #expect(throws: SettingsError.self) {
            try self.load(environment: ["VECRAFT_AUTH__ROOT_KEY": "a-secret-that-is-too-long"])
        }
        #expect(error?.description.contains("too long") == true)
        #expect(error?.description.contains("a-secret") == false)
    }

    @Test func aSecretGivenTwiceOrFromAMissingFileIsAnError() {
        let twice = #expect(throws: SettingsError.self) {
            try self.load(
                environment: ["VECRAFT_AUTH__ROOT_KEY": "x", "VECRAFT_AUTH__ROOT_KEY_FILE": "/k"], secrets: ["/k": "y"])
        }
        #expect(twice?.problems.first?.message == "is given by VECRAFT_AUTH__ROOT_KEY as well")
        let missing = #expect(throws: SettingsError.self) {
            try self.load(environment: ["VECRAFT_AUTH__ROOT_KEY_FILE": "/gone"])
        }
        #expect(missing?.problems.first?.message.hasPrefix("cannot be read") == true)
    }

    @Test func onlySecretsHaveAFileVariant() {
        let error = #expect(throws: SettingsError.self) {
            try self.load(environment: ["VECRAFT_TRACE__RATIO_FILE": "/r"])
        }
        #expect(error?.description.contains("is not a setting") == true)
    }

    @Test func numbersAndFlagsAreRead() throws {
        let loaded = try self.load(file: "trace:\n  ratio: 0.25\n  enabled: true\n")
        #expect(loaded.values == Sample(key: "", ratio: 0.25, enabled: true))
        for flag in ["trace.ratio=1.5", "trace.ratio=nan", "trace.enabled=yes"] {
            #expect(throws: SettingsError.self) { try self.load(flags: [flag]) }
        }
    }

    @Test func aSecretFileIsReadFromDisk() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("vecraft-secret-\(UUID().uuidString)")
            .path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try Data("s3cret\n".utf8).write(to: URL(fileURLWithPath: path))
        let loaded = try self.loader.load(defaults: Sample(), environment: ["VECRAFT_AUTH__ROOT_KEY_FILE": path])
        #expect(loaded.values.key == "s3cret")
    }
}
