package import Logging
package import Observability

/// Everything a node can be told, with its defaults. Sections are nested structs, keys are in ``Settings/keys``.
package struct Settings: Sendable, Equatable {
    package struct Node: Sendable, Equatable {
        package var name = ""
        package var dataDirectory = "vecraft-data"
        package var roles: [Role] = [.all]
        package var zone = ""
        package var weight = 100
    }
    package struct GRPC: Sendable, Equatable {
        package var host = "127.0.0.1"
        package var port = 7400
        package var tlsCertificate = ""
        package var tlsKey = ""
        package var tlsClientCA = ""
        package var maxMessageBytes = 64 << 20
    }
    package struct HTTP: Sendable, Equatable {
        package var host = "127.0.0.1"
        package var port = 7401
        package var tlsCertificate = ""
        package var tlsKey = ""
    }
    package struct Journal: Sendable, Equatable {
        package var dataPartitions = 2
        package var segmentBytes = 64 << 20
        package var maxBatchBytes = 8 << 20
        package var queueBytes = 64 << 20
        package var idempotencyWindowSeconds = 3_600
        package var idempotencyEntries = 1_000_000
        package var reserveBytes = 64 << 20
        package var lineageIndex = true
    }
    package struct Cluster: Sendable, Equatable {
        package var id = "vecraft"
        package var nodeID = 0
        package var peers = ""
        package var join = false
        package var heartbeatMilliseconds = 30
        package var electionTimeoutMilliseconds = 150
        package var shardReplicas = 0
        package var etcd = ""
        package var etcdUser = ""
        package var etcdPassword = ""
        package var etcdCA = ""
        package var etcdCertificate = ""
        package var etcdKey = ""
        package var listen = "127.0.0.1:7402"
        package var advertise = ""
        package var downAfterMilliseconds = 15_000

        /// "host:port" by node id, as `peers` says.
        package var addresses: [Int: String] {
            var found: [Int: String] = [:]
            for part in self.peers.split(separator: ",") {
                let pair = part.split(separator: "=", maxSplits: 1)
                if pair.count == 2, let id = Int(pair[0]) { found[id] = String(pair[1]) }
            }
            return found
        }
        /// One of several nodes, whoever says which.
        package var isClustered: Bool { self.nodeID > 0 || self.runsItself }
        /// Who is in the cluster, and who holds what, is in etcd.
        package var runsItself: Bool { !self.etcd.isEmpty }
        package var etcdEndpoints: [String] {
            self.etcd.split(separator: ",", omittingEmptySubsequences: false).map { String($0) }
        }
    }
    package struct Storage: Sendable, Equatable {
        package var segmentPoints = 100_000
        package var graphFrom = 2_000
        package var unlinkedPoints = 1_024
        package var filterGraphPercent = 50
        package var checkpointBytes = 256 << 20
        package var indexThreads = 0
        package var applyDelayMilliseconds = 0
        package var transferBytesPerSecond = 8 << 20
    }
    package struct Lineage: Sendable, Equatable {
        package var readLogBytes = 64 << 20
    }
    package struct Query: Sendable, Equatable {
        package var defaultTimeoutMilliseconds = 10_000
        package var maxTimeoutMilliseconds = 60_000
        package var resultCacheBytes = 0
    }
    package struct Clock: Sendable, Equatable {
        package var maxOffsetMilliseconds = 500
    }
    package struct Log: Sendable, Equatable {
        package var level = Logger.Level.info
        package var format = LogFormat.text
        package var slowQueryMilliseconds = 1_000
    }
    package struct Metrics: Sendable, Equatable {
        package var enabled = true
        package var canarySeconds = 10
    }
    package struct Gateway: Sendable, Equatable {
        package var recentWriters = 100_000
        package var console = true
    }

    /// A service that a node may run.
    package enum Role: String, Sendable, CaseIterable {
        case all, gateway, meta, failover, flow, journal, query, storage, snapshot, compactor, metrics
    }

    package var node = Node()
    package var grpc = GRPC()
    package var http = HTTP()
    package var journal = Journal()
    package var cluster = Cluster()
    package var storage = Storage()
    package var query = Query()
    package var lineage = Lineage()
    package var clock = Clock()
    package var log = Log()
    package var gateway = Gateway()
    package var metrics = Metrics()

    package init() {}
}

extension Settings {
    package static let loader = SettingsLoader(Self.keys, check: Self.check)

    /// Reads the process's settings.
    package static func load(
        file: (path: String, text: String)? = nil, environment: [String: String] = [:], flags: [String] = []
    ) throws(SettingsError) -> LoadedSettings<Settings> {
        try Self.loader.load(defaults: Settings(), file: file, environment: environment, flags: flags)
    }

    package static let keys: [SettingKey<Settings>] = [
        .text(
            "node.name", \.node.name, upTo: 64,
            "Name of this node in metrics, lineage and the cluster; empty takes the host's name."),
        .text(
            "node.data_directory", \.node.dataDirectory, required: true,
            "Directory of everything that must survive a restart."),
        .choices("node.roles", \.node.roles, "Services this node runs."),
        .text(
            "node.zone", \.node.zone, upTo: 128,
            "What fails together with this node (a rack, a power feed); copies are spread over zones."),
        .int(
            "node.weight", \.node.weight, 1...10_000,
            "How much this node may hold beside others; the usual node has 100."),

        .text("grpc.host", \.grpc.host, upTo: 255, required: true, "Address to listen on for gRPC."),
        .int("grpc.port", \.grpc.port, 0...65_535, "Port for gRPC; 0 chooses a free one and prints it."),
        .text(
            "grpc.tls_certificate", \.grpc.tlsCertificate,
            "PEM file with the certificate chain; empty serves without TLS."),
        .text("grpc.tls_key", \.grpc.tlsKey, "PEM file with the certificate's private key."),
        .text(
            "grpc.tls_client_ca", \.grpc.tlsClientCA,
            "PEM file with the authorities of client certificates; when set, clients must present one."),
        .bytes(
            "grpc.max_message_bytes", \.grpc.maxMessageBytes, (64 << 10)...(64 << 20),
            "Longest message taken or sent, in bytes."),

        .text(
            "http.host", \.http.host, upTo: 255, required: true, "Address to listen on for REST, metrics and health."),
        .int("http.port", \.http.port, 0...65_535, "Port for HTTP; 0 chooses a free one and prints it."),
        .text(
            "http.tls_certificate", \.http.tlsCertificate,
            "PEM file with the certificate chain; empty serves without TLS."),
        .text("http.tls_key", \.http.tlsKey, "PEM file with the certificate's private key."),

        .int(
            "journal.data_partitions", \.journal.dataPartitions, 1...256,
            "Journal partitions for data; fixed once the data directory exists."),
        .bytes(
            "journal.segment_bytes", \.journal.segmentBytes, (1 << 20)...(1 << 30),
            "Size of a journal segment file, in bytes."),
        .bytes(
            "journal.max_batch_bytes", \.journal.maxBatchBytes, (64 << 10)...(64 << 20),
            "Most bytes made durable by one fsync."),
        .bytes(
            "journal.queue_bytes", \.journal.queueBytes, (1 << 20)...(4 << 30),
            "Most bytes waiting to be written, per partition; beyond it writes are refused."),
        .int(
            "journal.idempotency_window_seconds", \.journal.idempotencyWindowSeconds, 1...604_800,
            "How long an idempotency key is remembered, in seconds."),
        .int(
            "journal.idempotency_entries", \.journal.idempotencyEntries, 1_000...100_000_000,
            "Most idempotency keys remembered, per partition."),
        .bytes(
            "journal.reserve_bytes", \.journal.reserveBytes, 0...(1 << 40),
            "Free disk kept back; with less, writes are refused."),
        .flag(
            "journal.lineage_index", \.journal.lineageIndex,
            "Keep an index of points, requests and traces beside each segment; without it lineage questions read the segments."),

        .text(
            "cluster.id", \.cluster.id, upTo: 64, required: true, "Name of the cluster; nodes of another are refused."),
        .int(
            "cluster.node_id", \.cluster.nodeID, 0...1_000_000_000,
            "Number of this node among its peers, never used again for other data; 0 is a node alone."),
        .text(
            "cluster.peers", \.cluster.peers,
            "All nodes with their addresses for each other, this one too: \"1=host:port,2=host:port\"."),
        .flag(
            "cluster.join", \.cluster.join,
            "Start without groups, to be added to those of the other nodes (vecraft journal add-replica)."),
        .int(
            "cluster.heartbeat_ms", \.cluster.heartbeatMilliseconds, 1...10_000,
            "How often a partition's leader makes itself heard, in milliseconds."),
        .int(
            "cluster.election_timeout_ms", \.cluster.electionTimeoutMilliseconds, 10...60_000,
            "Shortest wait for a leader before an election; alike on all nodes. The longest is twice that."),
        .int(
            "cluster.shard_replicas", \.cluster.shardReplicas, 0...32,
            "Nodes that hold each shard; 0: all. Alike on all nodes, and not to be changed once there are collections."),
        .text(
            "cluster.etcd", \.cluster.etcd, upTo: 2_048,
            "etcd's members, \"host:port,host:port\": the cluster runs itself, and this node takes its place in it from there."
        ),
        .text("cluster.etcd_user", \.cluster.etcdUser, upTo: 128, "User of etcd; empty: none."),
        .text("cluster.etcd_password", \.cluster.etcdPassword, upTo: 1_024, secret: true, "The user's password."),
        .text(
            "cluster.etcd_ca", \.cluster.etcdCA,
            "PEM file with the authorities of etcd's certificates; with it etcd is asked over TLS."),
        .text(
            "cluster.etcd_certificate", \.cluster.etcdCertificate,
            "PEM file with this node's certificate for etcd; empty: none."),
        .text("cluster.etcd_key", \.cluster.etcdKey, "PEM file with the certificate's private key."),
        .text(
            "cluster.listen", \.cluster.listen, upTo: 280, required: true,
            "host:port to listen on for the other nodes, with cluster.etcd."),
        .text(
            "cluster.advertise", \.cluster.advertise, upTo: 280,
            "host:port where the other nodes reach this one; empty: cluster.listen."),
        .int(
            "cluster.down_after_ms", \.cluster.downAfterMilliseconds, 2_000...3_600_000,
            "Silence after which what a node held is made again elsewhere, in milliseconds; alike on all nodes."),

        .int(
            "storage.segment_points", \.storage.segmentPoints, 100...100_000_000,
            "Points in a growing segment before it is sealed."),
        .int(
            "storage.graph_from", \.storage.graphFrom, 0...1_000_000,
            "Points from which a segment is searched by graph; smaller ones exactly."),
        .int(
            "storage.unlinked_points", \.storage.unlinkedPoints, 0...1_000_000_000,
            "Applied points that may wait for their place in the graph, which every search scans; beyond, replay links too."
        ),
        .int(
            "storage.filter_graph_percent", \.storage.filterGraphPercent, 0...6_400,
            "Memory for graphs of filters that are asked again and again, in percent of the index; 0: none are made."),
        .bytes(
            "storage.checkpoint_bytes", \.storage.checkpointBytes, (1 << 20)...(1 << 40),
            "Journal applied between two checkpoints, in bytes."),
        .int(
            "storage.index_threads", \.storage.indexThreads, 0...256, "Threads that build indexes; 0 takes one per CPU."
        ),
        .int(
            "storage.apply_delay_ms", \.storage.applyDelayMilliseconds, 0...3_600_000,
            "Testing only: waits before each applied batch, in milliseconds."),
        .bytes(
            "storage.transfer_bytes_per_second", \.storage.transferBytesPerSecond, 0...(1 << 40),
            "What this node sends of its shards to nodes that build theirs, in bytes a second; 0: no limit."),

        .int(
            "query.default_timeout_ms", \.query.defaultTimeoutMilliseconds, 1...3_600_000,
            "Deadline of a request that brings none, in milliseconds."),
        .int(
            "query.max_timeout_ms", \.query.maxTimeoutMilliseconds, 1...3_600_000,
            "Longest deadline granted, in milliseconds."),

        .bytes(
            "query.result_cache_bytes", \.query.resultCacheBytes, 0...(1 << 40),
            "Memory for answers of searches, given again while their points have not changed; 0: none are kept."),

        .bytes(
            "lineage.read_log_bytes", \.lineage.readLogBytes, 0...(1 << 40),
            "Disk for notes of what was answered to reads that carry a request id (vecraft lineage search); 0: none are kept."
        ),

        .int(
            "clock.max_offset_ms", \.clock.maxOffsetMilliseconds, 10...60_000,
            "Stamps further ahead of this node's clock are refused, in milliseconds."),

        .choice("log.level", \.log.level, "Least severe lines written."),
        .choice("log.format", \.log.format, "Lines for a person or JSON for a collector."),
        .int(
            "log.slow_query_ms", \.log.slowQueryMilliseconds, 0...3_600_000,
            "Reads that take longer are logged with where their time went, in milliseconds; 0: none."),

        .int(
            "gateway.recent_writers", \.gateway.recentWriters, 0...10_000_000,
            "Callers whose last writes are remembered for read-your-writes without a session token."),
        .flag("gateway.console", \.gateway.console, "Serve the web console at /console on the HTTP listener."),

        .flag(
            "metrics.enabled", \.metrics.enabled,
            "Count and time what the node does; without it /metrics is not served, and what is computed from counts (budgets, the canary, the coverage of writes by lineage) is not."
        ),
        .int(
            "metrics.canary_seconds", \.metrics.canarySeconds, 0...86_400,
            "How often the node writes a point of its own and reads it back at each level, in seconds; 0: never."),
    ]

    /// What no single key can say.
    @Sendable static func check(_ settings: Settings) -> [(key: String, message: String)] {
        var findings: [(key: String, message: String)] = []
        func pair(_ section: String, _ certificate: String, _ key: String) {
            if certificate.isEmpty && !key.isEmpty {
                findings.append(("\(section).tls_key", "is set without \(section).tls_certificate"))
            }
            if key.isEmpty && !certificate.isEmpty {
                findings.append(("\(section).tls_certificate", "is set without \(section).tls_key"))
            }
        }
        pair("grpc", settings.grpc.tlsCertificate, settings.grpc.tlsKey)
        pair("http", settings.http.tlsCertificate, settings.http.tlsKey)
        if !settings.grpc.tlsClientCA.isEmpty && settings.grpc.tlsCertificate.isEmpty {
            findings.append(
                ("grpc.tls_client_ca", "needs grpc.tls_certificate: clients are asked for certificates over TLS alone"))
        }
        if settings.grpc.port != 0, settings.grpc.port == settings.http.port, settings.grpc.host == settings.http.host {
            findings.append(("http.port", "is the same as grpc.port (\(settings.grpc.port))"))
        }
        if settings.query.defaultTimeoutMilliseconds > settings.query.maxTimeoutMilliseconds {
            findings.append(
                ("query.default_timeout_ms", "is above query.max_timeout_ms (\(settings.query.maxTimeoutMilliseconds))")
            )
        }
        if settings.journal.maxBatchBytes > settings.journal.segmentBytes {
            findings.append(
                (
                    "journal.max_batch_bytes",
                    "is above journal.segment_bytes (\(ByteSize.text(settings.journal.segmentBytes)))"
                ))
        }
        findings += Self.checkCluster(settings.cluster)
        if settings.node.roles.count > 1, settings.node.roles.contains(.all) {
            findings.append(("node.roles", "has \"all\" beside other roles"))
        }
        return findings
    }

    private static func checkSelfRunning(_ cluster: Cluster) -> [(key: String, message: String)] {
        var findings: [(key: String, message: String)] = []
        if cluster.nodeID > 0 {
            findings.append(("cluster.node_id", "is given by the cluster itself, with cluster.etcd"))
        }
        if !cluster.peers.isEmpty {
            findings.append(("cluster.peers", "are known to the cluster itself, with cluster.etcd"))
        }
        if cluster.join {
            findings.append(("cluster.join", "is for cluster.peers; with cluster.etcd every node joins"))
        }
        if cluster.shardReplicas > 0 {
            findings.append(
                ("cluster.shard_replicas", "is for cluster.peers; with cluster.etcd it is said by vecraft cluster init")
            )
        }
        func isAddress(_ text: String) -> Bool {
            guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]) else {
                return false
            }
            return colon > text.startIndex && (1...65_535).contains(port)
        }
        let endpoints = cluster.etcdEndpoints
        if endpoints.count > 16 || !endpoints.allSatisfy(isAddress) {
            findings.append(("cluster.etcd", "is not a list of 1 to 16 addresses, such as 10.0.0.1:2379,10.0.0.2:2379"))
        }
        if !isAddress(cluster.listen) {
            findings.append(("cluster.listen", "is not host:port, with a port from 1 to 65535"))
        }
        if !cluster.advertise.isEmpty, !isAddress(cluster.advertise) {
            findings.append(("cluster.advertise", "is not host:port, with a port from 1 to 65535"))
        }
        if cluster.etcdUser.isEmpty != cluster.etcdPassword.isEmpty {
            findings.append(("cluster.etcd_password", "needs cluster.etcd_user, and the other way round"))
        }
        if cluster.etcdCertificate.isEmpty != cluster.etcdKey.isEmpty {
            findings.append(("cluster.etcd_key", "needs cluster.etcd_certificate, and the other way round"))
        }
        if cluster.electionTimeoutMilliseconds < 3 * cluster.heartbeatMilliseconds {
            findings.append(("cluster.election_timeout_ms", "must be at least three heartbeats"))
        }
        return findings
    }

    private static func checkCluster(_ cluster: Cluster) -> [(key: String, message: String)] {
        var findings: [(key: String, message: String)] = []
        if cluster.runsItself { return Self.checkSelfRunning(cluster) }
        guard cluster.isClustered else {
            if !cluster.peers.isEmpty { findings.append(("cluster.node_id", "must be given with cluster.peers")) }
            if cluster.join { findings.append(("cluster.join", "needs cluster.node_id and cluster.peers")) }
            return findings
        }
        guard !cluster.peers.isEmpty else {
            findings.append(("cluster.peers", "must be given with cluster.node_id"))
            return findings
        }
        let parts = cluster.peers.split(separator: ",", omittingEmptySubsequences: false)
        if cluster.addresses.count != parts.count || cluster.addresses.keys.contains(where: { $0 < 1 }) {
            findings.append(
                (
                    "cluster.peers",
                    "is not a list of distinct ids with addresses, such as 1=10.0.0.1:7500,2=10.0.0.2:7500"
                ))
        }
        let twice = Dictionary(grouping: cluster.addresses, by: \.value).filter { $0.value.count > 1 }
        for (address, nodes) in twice.sorted(by: { $0.key < $1.key }) {
            let ids = nodes.map(\.key).sorted().map(\.description).joined(separator: ", ")
            findings.append(("cluster.peers", "gives the nodes \(ids) one address, \(address)"))
        }
        if cluster.addresses[cluster.nodeID] == nil {
            findings.append(("cluster.peers", "lacks this node (cluster.node_id is \(cluster.nodeID))"))
        }
        if cluster.addresses.count > 32 { findings.append(("cluster.peers", "has more than 32 nodes")) }
        if cluster.electionTimeoutMilliseconds < 3 * cluster.heartbeatMilliseconds {
            findings.append(("cluster.election_timeout_ms", "must be at least three heartbeats"))
        }
        return findings
    }
}
