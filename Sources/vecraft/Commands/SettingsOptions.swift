package import ArgumentParser
internal import Glibc
package import Primitives
package import ServiceHost

/// What a node is told at its start: a file, the environment, flags; the last to say something wins.
package struct SettingsOptions: ParsableArguments {
    @Option(
        name: [.short, .long],
        help: ArgumentHelp("Configuration file (YAML). (default: $\(Self.fileVariable), if set)", valueName: "file"))
    package var config: String?

    @Option(help: ArgumentHelp("Where everything that must survive a restart is kept.", valueName: "folder"))
    package var dataDirectory: String?

    @Option(help: ArgumentHelp("Address to listen on, for gRPC and HTTP.", valueName: "host"))
    package var host: String?

    @Option(help: ArgumentHelp("Port for gRPC; 0 chooses a free one and prints it. (default: 7400)", valueName: "port"))
    package var grpcPort: Int?

    @Option(help: ArgumentHelp("Port for HTTP; 0 chooses a free one and prints it. (default: 7401)", valueName: "port"))
    package var httpPort: Int?

    @Option(help: ArgumentHelp("Number of this node in its cluster; alone without.", valueName: "id"))
    package var nodeID: Int?

    @Option(
        help: ArgumentHelp(
            "All nodes of the cluster and where they listen for each other: 1=host:port,2=host:port,...", valueName: "list"))
    package var peers: String?

    @Flag(help: "Start without groups, to be added by `vecraft journal add-replica`.")
    package var join = false

    @Option(
        help: ArgumentHelp(
            "etcd's members, host:port,host:port: join the cluster that runs itself there.", valueName: "list"))
    package var etcd: String?

    @Option(help: ArgumentHelp("Name of the cluster. (default: vecraft)", valueName: "name"))
    package var clusterID: String?

    @Option(help: ArgumentHelp("With --etcd: where to listen for the other nodes. (default: 127.0.0.1:7402)", valueName: "host:port"))
    package var listen: String?

    @Option(help: ArgumentHelp("With --etcd: where the others reach this node. (default: --listen)", valueName: "host:port"))
    package var advertise: String?

    @Option(help: ArgumentHelp("What fails together with this node; copies are spread over zones.", valueName: "name"))
    package var zone: String?

    @Option(help: ArgumentHelp("Services this node runs: all, journal, storage, query, gateway, meta, failover (with --etcd any of them).", valueName: "roles"))
    package var roles: String?

    @Option(
        help: ArgumentHelp(
            "Least severe lines logged: trace, debug, info, notice, warning, error, critical.", valueName: "level"))
    package var logLevel: String?

    @Option(help: ArgumentHelp("Log lines for people or for collectors: text or json.", valueName: "format"))
    package var logFormat: String?

    @Option(
        help: ArgumentHelp(
            "Any setting; `vecraft config print` lists them. May be repeated.", valueName: "section.key=value"))
    package var set: [String] = []

    private static let fileVariable = "VECRAFT_CONFIG"

    package init() {}

    /// As "section.key=value", the shorthands first: `--set` is the more deliberate word.
    package var flags: [String] {
        var flags: [String] = []
        func add(_ key: String, _ value: (some CustomStringConvertible)?) {
            if let value { flags.append("\(key)=\(value)") }
        }
        add("node.data_directory", self.dataDirectory)
        add("grpc.host", self.host)
        add("http.host", self.host)
        add("grpc.port", self.grpcPort)
        add("http.port", self.httpPort)
        add("cluster.node_id", self.nodeID)
        add("cluster.peers", self.peers)
        if self.join { add("cluster.join", "true") }
        add("cluster.etcd", self.etcd)
        add("cluster.id", self.clusterID)
        add("cluster.listen", self.listen)
        add("cluster.advertise", self.advertise)
        add("node.zone", self.zone)
        add("node.roles", self.roles)
        add("log.level", self.logLevel)
        add("log.format", self.logFormat)
        return flags + self.set
    }

    /// - Throws: `.invalidArgument` with a line for each mistake.
    package func load() throws(VecraftError) -> LoadedSettings<Settings> {
        let path = self.config ?? Environment[Self.fileVariable].flatMap { $0.isEmpty ? nil : $0 }
        var file: (path: String, text: String)?
        if let path {
            guard let text = String(validating: try TextFile.read(path), as: UTF8.self) else {
                throw VecraftError(.invalidArgument, "\(path) is not UTF-8 text")
            }
            file = (path, text)
        }
        let loaded: LoadedSettings<Settings>
        do throws(SettingsError) {
            loaded = try Settings.load(file: file, environment: Environment.all, flags: self.flags)
        } catch {
            throw VecraftError(.invalidArgument, "the configuration cannot be used:\n\(error.description)")
        }
        // A node alone would start, and its folder could never join.
        for (flag, value) in [("--listen", self.listen), ("--advertise", self.advertise)] where value != nil {
            guard loaded.values.cluster.runsItself else { throw .invalid(flag, "is for a cluster that runs itself: --etcd is missing") }
        }
        return loaded
    }
}

extension Environment {
    /// Every variable of the process.
    package static var all: [String: String] {
        var variables: [String: String] = [:]
        var entry = environ
        while let text = entry.pointee {
            let pair = String(cString: text)
            if let cut = pair.firstIndex(of: "=") {
                variables[String(pair[..<cut])] = String(pair[pair.index(after: cut)...])
            }
            entry += 1
        }
        return variables
    }
}
