import Foundation
import ServiceHost
import TestSupport
import Testing
import Yams

/// Where settings stand in the deployment.
enum SettingsUse {
    /// The file that nodes get on Kubernetes.
    static func configuration() throws -> (path: String, text: String) {
        let manifest = try #require(try Manifest.all("ConfigMap").first { $0.name == "vecraft" })
        return ("vecraft.yaml", try #require(manifest.node["data"]?["vecraft.yaml"]?.string))
    }

    /// Of a node on Kubernetes.
    static func dataDirectory() throws -> String {
        try Settings.load(file: try self.configuration()).values.node.dataDirectory
    }

    static let files = ["deploy/systemd/vecraft.yaml", "deploy/container/vecraft.yaml"]
}

/// Every setting and every flag in units, images and manifests is one that the program has.
@Suite struct SettingsUseTests {
    @Test(arguments: SettingsUse.files) func aNodeCouldStartWithTheFile(_ path: String) throws {
        let text = try Deployment.text(path)
        #expect(Deployment.problems(file: (path, text)) == [])
        #expect(Deployment.problems(file: (path, Deployment.withExamples(text))) == [])
    }

    @Test func theExampleHasExamples() throws {
        let text = try Deployment.text("deploy/systemd/vecraft.yaml")
        let all = try #require(try Yams.compose(yaml: Deployment.withExamples(text)))
        #expect(all["grpc"]?["tls_client_ca"] != nil && all["node"]?["zone"] != nil)
        #expect(try Yams.compose(yaml: text)?["grpc"]?["tls_client_ca"] == nil)
    }

    @Test func aMistakeInAFileIsFound() throws {
        let text = try Deployment.text("deploy/systemd/vecraft.yaml").replacingOccurrences(of: "grpc:", with: "grcp:")
        #expect(!Deployment.problems(file: ("vecraft.yaml", text)).isEmpty)
    }

    @Test func theExampleAndTheImageKeepToTheUsualPorts() throws {
        let ports = try Deployment.ports()
        let example = try #require(try Yams.compose(yaml: try Deployment.text("deploy/systemd/vecraft.yaml")))
        #expect(example["grpc"]?["port"]?.int == ports["grpc"])
        #expect(example["http"]?["port"]?.int == ports["http"])
        let listens = try (SettingsUse.files.map(Deployment.text) + [SettingsUse.configuration().text]).map {
            try Yams.compose(yaml: $0)?["cluster"]?["listen"]?.string.flatMap(Deployment.port)
        }
        #expect(listens == [ports["peers"], ports["peers"], ports["peers"]])
        #expect(example["cluster"]?["advertise"]?.string.flatMap(Deployment.port) == ports["peers"])
    }

    @Test func podsStartWithTheirSettings() throws {
        let node = try #require(try Manifest.all("StatefulSet").first { $0.name == "vecraft" })
        let command = ContainerCommand(try #require(node.containers.first))
        // Something of each node's own: without it they would be one node to each other.
        #expect(command.environment.keys.contains("VECRAFT_CLUSTER__ADVERTISE"))
        let file = try SettingsUse.configuration()
        #expect(Deployment.problems(file: file, environment: command.environment) == [])
        // The label of a machine without a zone is empty.
        var environment = command.environment
        environment["VECRAFT_NODE__ZONE"] = ""
        #expect(Deployment.problems(file: file, environment: environment) == [])
        // Where the settings are mounted is where they are looked for.
        let mounts = node.containers.flatMap { $0["volumeMounts"]?.array() ?? [] }
        let folder = try #require(mounts.first { $0["name"]?.string == "settings" }?["mountPath"]?.string)
        #expect(command.arguments.contains("\(folder)/vecraft.yaml"))
    }

    @Test func theClusterIsInitialisedUnderTheNameThatNodesGive() throws {
        let job = try #require(try Manifest.all("Job").first { $0.name == "vecraft-init" })
        let words = ContainerCommand(try #require(job.containers.first)).arguments
        let settings = try #require(try Yams.compose(yaml: try SettingsUse.configuration().text))
        let nodes = try Manifest.all("StatefulSet").first { $0.name == "vecraft" }?.node["spec"]?["replicas"]?.int ?? 0
        func value(_ flag: String) -> String? {
            words.first { $0.hasPrefix(flag + "=") }.map { String($0.dropFirst(flag.count + 1)) }
        }
        #expect(value("--cluster-id") != nil && value("--cluster-id") == settings["cluster"]?["id"]?.string)
        // More voters or replicas than nodes would wait for nodes that never come.
        #expect((1...max(1, nodes)).contains(Int(value("--voters") ?? "") ?? 0))
        #expect((1...max(1, nodes)).contains(Int(value("--replicas") ?? "") ?? 0))
    }

    @Test func everyCommandHasTheFlagsItIsGiven() async throws {
        var commands: [[String]] = []
        for workload in try Manifest.workloads() {
            for container in workload.containers where container["image"]?.string?.hasPrefix("vecraft:") == true {
                commands.append(ContainerCommand(container).arguments)
            }
        }
        #expect(commands.count == 2)
        commands.append(
            try UnitFile(try Deployment.text("deploy/systemd/vecraft.service")).command.dropFirst().map { $0 })
        let image = try Containerfile(try Deployment.text("deploy/container/Containerfile"))
        commands.append(try image.words("CMD"))
        commands.append(Array(try image.healthcheck.dropFirst()))
        commands += try ReadMe.commands()
        for command in commands {
            let subcommands = CommandText.subcommands(command)
            try #require(!subcommands.isEmpty, "\(command)")
            let help = try await PythonEnvironment.run(
                ServerProcess.binary, subcommands + ["--help"], limit: .seconds(60))
            // Of a command that does not exist the program says what it has instead.
            #expect(
                help.succeeded && help.output.contains("USAGE: vecraft \(subcommands.joined(separator: " "))"),
                "\(command)")
            let known = Set(help.output.matches(of: #/--[a-z][a-z-]*/#).map { String($0.output) })
            for flag in CommandText.flags(command) { #expect(known.contains(flag), "\(flag) of \(command)") }
        }
    }

    @Test(.enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)")) func etcdHasTheFlagsItIsGiven()
        async throws
    {
        let etcd = try #require(try Manifest.all("StatefulSet").first { $0.name == "etcd" })
        let flags = ContainerCommand(try #require(etcd.containers.first)).flags
        #expect(flags.count > 5)
        let help = try await PythonEnvironment.run(try #require(EtcdProcess.binary), ["--help"], limit: .seconds(60))
        let known = Set((help.output + help.errors).matches(of: #/--[a-z][a-z-]*/#).map { String($0.output) })
        for flag in flags { #expect(known.contains(flag), "\(flag)") }
    }
}

/// What `deploy/README.md` tells to type.
enum ReadMe {
    static func lines() throws -> [String] {
        try Deployment.text("deploy/README.md").components(separatedBy: "```sh\n").dropFirst()
            .flatMap {
                $0.components(separatedBy: "```")[0].replacingOccurrences(of: "\\\n", with: " ").components(
                    separatedBy: "\n")
            }
    }

    /// Words behind the program's name, where that stands as a command.
    static func commands() throws -> [[String]] {
        try self.lines().compactMap { line in
            let words = line.split(separator: " ").map(String.init)
            // "vecraft" may be a container's, a unit's or the cluster's name too; a command has a subcommand behind it.
            let at = words.indices.dropLast().first {
                words[$0] == "vecraft" && words[$0 + 1] != "vecraft" && words[$0 + 1].wholeMatch(of: #/[a-z]+/#) != nil
            }
            return at.map { Array(words[($0 + 1)...]) }
        }
    }
}

@Suite struct ReadMeTests {
    @Test func filesThatItNamesAreThere() throws {
        let named = try Deployment.text("deploy/README.md").matches(of: #/deploy\/[a-z]+(?:\/[A-Za-z.-]+)?/#).map {
            String($0.output)
        }
        #expect(Set(named).count >= 5)
        for path in Set(named) {
            #expect(
                FileManager.default.fileExists(atPath: Deployment.root.appendingPathComponent(path).path), "\(path)")
        }
    }

    @Test func itTellsHowToBeginAndHowToLeave() throws {
        let told = Set(try ReadMe.commands().map { CommandText.subcommands($0).joined(separator: " ") })
        #expect(
            told.isSuperset(of: ["cluster init", "cluster drain", "cluster remove", "health", "config check"]),
            "\(told)")
    }
}
