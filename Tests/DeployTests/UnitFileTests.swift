import Foundation
import ServiceHost
import Testing
import Yams

/// A unit of systemd: sections of keys, a key more than once being a list.
struct UnitFile {
    struct Mistake: Error, CustomStringConvertible { let description: String }

    let sections: [String: [String: [String]]]

    init(_ text: String) throws {
        var sections: [String: [String: [String]]] = [:]
        var section: String?
        for (index, line) in text.components(separatedBy: "\n").enumerated() {
            if line.isEmpty || line.hasPrefix("#") || line.hasPrefix(";") { continue }
            if let title = line.wholeMatch(of: #/\[([A-Za-z]+)\]/#) {
                section = String(title.output.1)
                continue
            }
            guard let section, let pair = line.wholeMatch(of: #/([A-Za-z]+)=(.*)/#) else {
                throw Mistake(description: "line \(index + 1) is neither a section nor a key with a value: \(line)")
            }
            sections[section, default: [:]][String(pair.output.1), default: []].append(String(pair.output.2))
        }
        self.sections = sections
    }

    /// The last to say something wins.
    subscript(_ section: String, _ key: String) -> String? { self.sections[section]?[key]?.last }

    /// The words of ExecStart.
    var command: [String] { self["Service", "ExecStart"]?.split(separator: " ").map(String.init) ?? [] }
}

@Suite struct UnitFileTests {
    /// systemd passes over what it does not know with a line in its log; a mistake in a name must not go so quietly.
    private static let known: [String: Set<String>] = [
        "Unit": ["Description", "After", "Wants", "StartLimitIntervalSec"],
        "Service": [
            "Type", "User", "Group", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec",
            "KillSignal",
            "StateDirectory", "StateDirectoryMode", "ConfigurationDirectory", "WorkingDirectory", "UMask",
            "LimitNOFILE",
            "OOMScoreAdjust", "NoNewPrivileges", "CapabilityBoundingSet", "ProtectSystem", "ProtectHome", "ProtectProc",
            "ProtectClock",
            "ProtectHostname", "ProtectControlGroups", "ProtectKernelLogs", "ProtectKernelModules",
            "ProtectKernelTunables",
            "PrivateTmp", "PrivateDevices", "RestrictAddressFamilies", "RestrictNamespaces", "RestrictRealtime",
            "RestrictSUIDSGID",
            "LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC", "SystemCallArchitectures", "SystemCallFilter",
            "SystemCallErrorNumber",
        ],
        "Install": ["WantedBy"],
    ]

    private func unit() throws -> UnitFile { try UnitFile(try Deployment.text("deploy/systemd/vecraft.service")) }

    @Test func everyKeyIsOneOfSystemds() throws {
        let unit = try self.unit()
        #expect(Set(unit.sections.keys) == Set(Self.known.keys))
        for (section, keys) in unit.sections {
            for (key, values) in keys {
                #expect(Self.known[section]?.contains(key) == true, "[\(section)] \(key)")
                #expect(values.count == 1, "\(key) is said \(values.count) times")
            }
        }
    }

    @Test func aLineThatIsNoKeyIsAnError() {
        #expect(throws: UnitFile.Mistake.self) { try UnitFile("[Service]\nRestart on-failure\n") }
        #expect(throws: UnitFile.Mistake.self) { try UnitFile("Restart=on-failure\n") }
    }

    @Test func aNodeHasTheTimeAndTheDescriptorsItNeeds() throws {
        let unit = try self.unit()
        #expect((Int(unit["Service", "TimeoutStopSec"] ?? "") ?? 0) > 10, "an orderly stop takes up to ten seconds")
        #expect((Int(unit["Service", "LimitNOFILE"] ?? "") ?? 0) >= 65_536)
        #expect(unit["Service", "Restart"] == "on-failure")
        #expect(unit["Service", "NoNewPrivileges"] == "yes")
    }

    @Test func whatItMayWriteIsWhereTheExampleKeepsItsData() throws {
        let unit = try self.unit()
        #expect(unit["Service", "ProtectSystem"] == "strict")
        let state = "/var/lib/" + (unit["Service", "StateDirectory"] ?? "")
        let example = try Yams.compose(yaml: try Deployment.text("deploy/systemd/vecraft.yaml"))
        #expect(example?["node"]?["data_directory"]?.string == state)
        #expect(unit["Service", "WorkingDirectory"] == state)
        let settings = "/etc/" + (unit["Service", "ConfigurationDirectory"] ?? "") + "/vecraft.yaml"
        #expect(unit.command.contains(settings))
        #expect(try Deployment.text("deploy/README.md").contains(settings))
    }

    @Test func itsUserIsMade() throws {
        let user = try #require(try self.unit()["Service", "User"])
        let lines = try Deployment.text("deploy/systemd/vecraft.sysusers").split(separator: "\n").filter {
            !$0.hasPrefix("#")
        }
        #expect(lines.count == 1 && lines.allSatisfy { $0.hasPrefix("u \(user) - ") }, "\(lines)")
    }
}
