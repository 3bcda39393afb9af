import Foundation
import ServiceHost
import Testing
import Yams

/// Instructions of a Containerfile, in order, lines that go on put together.
struct Containerfile {
    struct Mistake: Error, CustomStringConvertible { let description: String }

    let instructions: [(name: String, text: String)]

    init(_ text: String) throws {
        let known: Set = [
            "FROM", "RUN", "COPY", "WORKDIR", "ARG", "ENV", "USER", "VOLUME", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT",
            "CMD",
        ]
        let lines = text.components(separatedBy: "\n").filter { !$0.hasPrefix("#") }
        self.instructions = try lines.joined(separator: "\n").replacingOccurrences(of: "\\\n", with: " ").components(
            separatedBy: "\n"
        )
        .filter { !$0.isEmpty }.map { line in
            let cut = line.firstIndex(of: " ") ?? line.endIndex
            guard known.contains(String(line[..<cut])), cut < line.endIndex else {
                throw Mistake(description: "no instruction: \(line)")
            }
            return (String(line[..<cut]), String(line[cut...]).trimmingCharacters(in: .whitespaces))
        }
    }

    func all(_ name: String) -> [String] { self.instructions.filter { $0.name == name }.map(\.text) }

    /// Each begins with its FROM.
    var stages: [[(name: String, text: String)]] {
        self.instructions.reduce(into: []) { stages, instruction in
            if instruction.name == "FROM" || stages.isEmpty { stages.append([]) }
            stages[stages.count - 1].append(instruction)
        }
    }

    /// The list that an instruction is given: ["a", "b"], which JSON and YAML read alike.
    func words(_ name: String) throws -> [String] {
        let text = try #require(self.all(name).last, "\(name)")
        return try Yams.compose(yaml: text)?.strings ?? []
    }

    /// The command of HEALTHCHECK.
    var healthcheck: [String] {
        get throws {
            let text = try #require(self.all("HEALTHCHECK").last)
            let parts = text.components(separatedBy: " CMD ")
            try #require(parts.count == 2, "\(text)")
            return try Yams.compose(yaml: parts[1])?.strings ?? []
        }
    }

    /// What a stage installs from Debian.
    static func packages(_ stage: [(name: String, text: String)]) -> Set<String> {
        var found: Set<String> = []
        for run in stage where run.name == "RUN" {
            for command in run.text.components(separatedBy: "&&") where command.contains(" install -y ") {
                let words = command.components(separatedBy: " install -y ")[1].split(separator: " ").map(String.init)
                found.formUnion(words.filter { !$0.hasPrefix("-") })
            }
        }
        return found
    }
}

@Suite struct ContainerfileTests {
    private static let folder = "deploy/container/"
    /// What a program needs at run time of what it was built with.
    private static let runtime = [
        "libprotobuf-c-dev": "libprotobuf-c1", "libssl-dev": "libssl3", "zlib1g-dev": "zlib1g",
        "libsqlite3-dev": "libsqlite3-0",
    ]

    private func image(_ name: String = "Containerfile") throws -> Containerfile {
        try Containerfile(try Deployment.text(Self.folder + name))
    }

    @Test func itInstallsWhatBuildingNeeds() throws {
        let script = try Deployment.text(".ci/packages")
        let list = try #require(script.firstMatch(of: #/(?m)^wanted=\(([^)]*)\)/#)).output.1.split(separator: " ").map(
            String.init)
        let stages = try self.image().stages
        try #require(stages.count == 2 && list.count > 3)
        #expect(Containerfile.packages(stages[0]) == Set(list))
        // A library that the program is linked with, and that a new -dev package stands for, must be in the image too.
        let libraries = list.filter { $0.hasPrefix("lib") || $0.hasSuffix("-dev") }
        for package in libraries {
            let needed = try #require(Self.runtime[package], "which package has what \(package) is for, at run time?")
            #expect(Containerfile.packages(stages[1]).contains(needed))
        }
    }

    @Test func bothStagesAreOneDebian() throws {
        let bases = try self.image().all("FROM")
        let build = try #require(bases[0].wholeMatch(of: #/(docker\.io\/library\/swift:[0-9.]+-[a-z]+) AS build/#))
            .output.1
        #expect(bases.count == 2 && bases[1] == build + "-slim")
        let tools = try #require(try Deployment.text("Package.swift").firstMatch(of: #/swift-tools-version:([0-9.]+)/#))
            .output.1
        #expect(build.contains(":\(tools)-"), "the package asks for Swift \(tools)")
    }

    @Test func theContextHasWhatIsCopiedAndWhatThePackageNames() throws {
        let ignored = try Deployment.text(Self.folder + "Containerfile.dockerignore").split(separator: "\n").map(
            String.init)
        let lines = ignored.filter { !$0.hasPrefix("#") }
        #expect(lines.first == "*")
        let admitted = Set(lines.filter { $0.hasPrefix("!") }.map { String($0.dropFirst()) })
        let copied = try self.image().all("COPY").filter { !$0.hasPrefix("--from=") }.map {
            $0.split(separator: " ").map(String.init)[0]
        }
        #expect(Set(copied) == admitted)
        for path in copied {
            #expect(
                FileManager.default.fileExists(atPath: Deployment.root.appendingPathComponent(path).path), "\(path)")
        }
        // Folders of targets: "Sources", "Tests", "Benchmarks". A package without one of them does not build.
        let manifest = try Deployment.text("Package.swift")
        let folders = Set(manifest.matches(of: #/path: "([A-Za-z]+)\//#).map { String($0.output.1) })
        #expect(folders.count >= 3 && folders.isSubset(of: Set(copied)), "\(folders)")
    }

    @Test func thePortsAreTheNodes() throws {
        let image = try self.image()
        let exposed = image.all("EXPOSE").flatMap { $0.split(separator: " ") }.compactMap { Int($0) }
        #expect(exposed.sorted() == (try Deployment.ports().values.sorted()))
        let etcd = try #require(try Manifest.all("StatefulSet").first { $0.name == "etcd" })
        let others = try self.image("Containerfile.etcd").all("EXPOSE").flatMap { $0.split(separator: " ") }.compactMap
        { Int($0) }
        #expect(others.sorted() == etcd.containerPorts.values.sorted())
    }

    @Test(
        arguments: ["Containerfile": "vecraft", "Containerfile.etcd": "etcd"].sorted { $0.key < $1.key }.map {
            [$0.key, $0.value]
        })
    func theUserIsNotRootAndTheOneOfThePods(_ pair: [String]) throws {
        let image = try self.image(pair[0])
        let user = try #require(image.all("USER").last).split(separator: ":").compactMap { Int($0) }
        try #require(user.count == 2 && user.allSatisfy { $0 > 0 })
        let made = image.all("RUN").contains { $0.contains("useradd") && $0.contains("--uid \(user[0]) ") }
        #expect(made)
        let pod = try #require(try Manifest.all("StatefulSet").first { $0.name == pair[1] }).template?["spec"]?[
            "securityContext"]
        #expect([pod?["runAsUser"]?.int, pod?["runAsGroup"]?.int] == user)
        // Data outlives the container only on a volume.
        #expect(image.all("VOLUME") == image.all("WORKDIR").suffix(1))
    }

    @Test func itStartsWithItsOwnSettings() throws {
        let image = try self.image()
        #expect(try image.words("ENTRYPOINT") == ["vecraft"] && image.words("CMD") == ["serve"])
        #expect(try image.healthcheck.prefix(2) == ["vecraft", "health"])
        let path = try #require(image.all("ENV").first { $0.hasPrefix("VECRAFT_CONFIG=") }).dropFirst(
            "VECRAFT_CONFIG=".count)
        #expect(image.all("COPY").contains("deploy/container/vecraft.yaml \(path)"))
        // No other variable: it would win over whatever file takes the place of this one.
        #expect(image.all("ENV").count == 1)
        let file = ("vecraft.yaml", try Deployment.text(Self.folder + "vecraft.yaml"))
        let data = try Settings.load(file: file).values.node.dataDirectory
        #expect(image.all("VOLUME").contains { data.hasPrefix($0 + "/") }, "\(data)")
    }
}
