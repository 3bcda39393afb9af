import Foundation
import Yams

/// One document of `deploy/kubernetes`.
struct Manifest: CustomStringConvertible {
    let file: String
    let node: Node

    var kind: String { self.node["kind"]?.string ?? "" }
    var name: String { self.node["metadata"]?["name"]?.string ?? "" }
    var description: String { "\(self.file): \(self.kind) \(self.name)" }

    /// Of a StatefulSet or a Job.
    var template: Node? { self.node["spec"]?["template"] }
    var podLabels: [String: String] { self.template?["metadata"]?["labels"]?.texts ?? [:] }
    var containers: [Node] {
        let pod = self.template?["spec"]
        return (pod?["containers"]?.array() ?? []) + (pod?["initContainers"]?.array() ?? [])
    }
    /// By name.
    var containerPorts: [String: Int] {
        var ports: [String: Int] = [:]
        for port in self.containers.flatMap({ $0["ports"]?.array() ?? [] }) {
            ports[port["name"]?.string ?? ""] = port["containerPort"]?.int
        }
        return ports
    }

    /// All, without the list of them, which is none of Kubernetes's own.
    static func all() throws -> [Manifest] {
        try Deployment.files("deploy/kubernetes").filter { $0 != "kustomization.yaml" }.flatMap { file in
            try Deployment.documents(try Deployment.text("deploy/kubernetes/\(file)")).map {
                Manifest(file: file, node: $0)
            }
        }
    }

    static func all(_ kinds: String...) throws -> [Manifest] { try self.all().filter { kinds.contains($0.kind) } }

    /// Those that make pods.
    static func workloads() throws -> [Manifest] { try self.all().filter { $0.template != nil } }
}

extension Node {
    /// A mapping of texts to texts.
    var texts: [String: String] {
        var found: [String: String] = [:]
        for (key, value) in self.mapping ?? [:] { found[key.string ?? ""] = value.scalar?.string }
        return found
    }

    var strings: [String] { self.array().compactMap { $0.scalar?.string } }
}

/// A container of a pod, as the program within sees it.
struct ContainerCommand {
    let arguments: [String]
    /// Without what the pod alone can know, which is a word.
    let environment: [String: String]

    init(_ container: Node) {
        var environment: [String: String] = [:]
        for entry in container["env"]?.array() ?? [] {
            let name = entry["name"]?.string ?? ""
            environment[name] = Self.expand(entry["value"]?.scalar?.string ?? "a-word", environment)
        }
        self.environment = environment
        let words = (container["command"]?.strings ?? []) + (container["args"]?.strings ?? [])
        self.arguments = words.map { Self.expand($0, environment) }
    }

    /// "$(NAME)" as Kubernetes does it: a name that was not said before stays as it is.
    private static func expand(_ text: String, _ environment: [String: String]) -> String {
        environment.reduce(text) { $0.replacingOccurrences(of: "$(\($1.key))", with: $1.value) }
    }

    /// "--name" of "--name" and of "--name=value".
    var flags: [String] { CommandText.flags(self.arguments) }
}

/// A command of the program as it stands in a file.
enum CommandText {
    static func flags(_ words: [String]) -> [String] {
        words.filter { $0.hasPrefix("--") && $0.count > 2 }.map { String($0.prefix { $0 != "=" }) }
    }

    /// The words in front of flags and arguments: "cluster", "drain" of "cluster drain 4".
    static func subcommands(_ words: [String]) -> [String] {
        Array(words.prefix { $0.wholeMatch(of: #/[a-z]+/#) != nil })
    }
}
