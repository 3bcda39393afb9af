// swift-tools-version:6.2
import PackageDescription

// Reads as the architecture. Arrows point down only: vecraft -> Services -> Engine -> IO -> Wire -> Core.
// `docs/ARCHITECTURE.md` says what each target is for and why each dependency is paid for.

let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .treatAllWarnings(as: .error),
]

/// Modules whose tests look inside. Demo and tests share one release build, which has no testability of its own.
let lookedInto: Set = ["Etcd", "GRPC", "JournalStore", "Lineage", "OpenTelemetry", "PeerTransport", "ShardEngine", "Wire"]

func layer(_ folder: String, _ name: String, _ needs: [Target.Dependency]) -> Target {
    let settings = strict + (lookedInto.contains(name) ? [.unsafeFlags(["-enable-testing"])] : [])
    return .target(name: name, dependencies: needs, path: "Sources/\(folder)/\(name)", swiftSettings: settings)
}
func core(_ name: String, _ needs: [Target.Dependency] = []) -> Target { layer("Core", name, needs) }
func io(_ name: String, _ needs: [Target.Dependency] = []) -> Target { layer("IO", name, needs) }
func engine(_ name: String, _ needs: [Target.Dependency] = []) -> Target { layer("Engine", name, needs) }
func service(_ name: String, _ needs: [Target.Dependency] = []) -> Target { layer("Services", name, needs) }
func clang(_ folder: String, _ name: String, _ needs: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: needs, path: "Sources/\(folder)/\(name)", cSettings: [.unsafeFlags(["-O3"])])
}
func tests(_ name: String, _ needs: [Target.Dependency], resources: [String] = []) -> Target {
    .testTarget(
        name: name + "Tests", dependencies: needs, path: "Tests/\(name)Tests",
        exclude: resources, swiftSettings: strict)
}

let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioHTTP2 = Target.Dependency.product(name: "NIOHTTP2", package: "swift-nio-http2")
let nioHPACK = Target.Dependency.product(name: "NIOHPACK", package: "swift-nio-http2")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let hummingbirdTLS = Target.Dependency.product(name: "HummingbirdTLS", package: "hummingbird")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let tracing = Target.Dependency.product(name: "Tracing", package: "swift-distributed-tracing")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let yaml = Target.Dependency.product(name: "Yams", package: "Yams")
let sqlite = Target.Dependency.product(name: "GRDB", package: "GRDB.swift")

let package = Package(
    name: "vecraft",
    products: [.executable(name: "vecraft", targets: ["vecraft"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-http2", from: "1.46.0"),
        .package(url: "https://github.com/apple/swift-nio-ssl", from: "2.37.6"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-distributed-tracing", from: "1.7.3"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
        .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    ],
    targets: [
        // Core: values and decisions; no I/O, no clock, no randomness of its own.
        clang("Core", "CChecksum"),
        clang("Core", "VectorKernels"),
        core("Primitives", ["CChecksum"]),
        core("HLC", ["Primitives"]),
        core("JournalFormat", ["Primitives", "CChecksum"]),
        core("Filter", ["Primitives"]),
        core("PayloadIndex", ["Primitives", "Filter"]),
        core("HNSW", ["Primitives", "VectorKernels"]),
        core("Raft", ["Primitives"]),
        core("Placement", ["Primitives"]),

        // Wire: the contracts of Proto/, encoded by protobuf-c. `Wire` is the one door to C.
        .systemLibrary(
            name: "CProtobufC", path: "Sources/Wire/CProtobufC", pkgConfig: "libprotobuf-c",
            providers: [.apt(["libprotobuf-c-dev"])]),
        clang("Wire", "CWire", ["CProtobufC"]),
        layer("Wire", "Wire", ["CWire", "Primitives", "Filter"]),

        // IO: the ports for real.
        .systemLibrary(
            name: "CZlib", path: "Sources/IO/CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),
        clang("IO", "CPlatform"),
        io("FileStore", ["Primitives", "CPlatform"]),
        io("GRPC", ["Primitives", "CZlib", nioCore, nioPosix, nioHTTP2, nioHPACK, nioSSL]),
        io("Observability", ["Primitives", "HLC", "CPlatform", logging, metrics, tracing]),
        io("HTTP", ["Primitives", "Observability", hummingbird, hummingbirdTLS, lifecycle, nioCore, nioPosix, nioHTTP1, nioSSL, logging]),
        io("Metadata", ["Primitives", "CPlatform", sqlite]),
        io("Etcd", ["Primitives", "Metadata", "Wire", "GRPC", nioCore]),
        io("PeerTransport", ["Primitives", "JournalFormat", "Raft", "Wire", "GRPC", "Observability", nioCore, logging]),
        io("OpenTelemetry", ["Primitives", "Observability", "Wire", "GRPC", "HTTP", tracing, logging, nioCore, nioPosix, nioSSL]),
        io("ServiceHost", ["Primitives", "Observability", yaml, lifecycle, logging]),

        // Engine: cores put on disk.
        engine("JournalStore", ["Primitives", "HLC", "JournalFormat", "Raft", "FileStore", "CPlatform"]),
        engine("ShardEngine", ["Primitives", "Filter", "PayloadIndex", "HNSW", "JournalFormat", "FileStore", "CPlatform"]),

        // Services: drivers and APIs, one folder each.
        service("JournalService", ["Primitives", "CPlatform", "HLC", "JournalFormat", "JournalStore", "FileStore", "Raft", "PeerTransport", "Observability", "Wire", "GRPC", nioCore, logging]),
        service("MetaManager", ["Primitives", "HLC", "JournalFormat", "JournalStore", "JournalService", "Metadata", "Observability", "Wire", logging]),
        service("StorageNode", ["Primitives", "HLC", "JournalStore", "JournalFormat", "Filter", "HNSW", "PayloadIndex", "ShardEngine", "FileStore", "CPlatform", "JournalService", "MetaManager", "PeerTransport", "Raft", "Wire", "GRPC", "Observability", nioCore, logging, tracing]),
        service("ControlPlane", [
            "Primitives", "HLC", "JournalFormat", "JournalStore", "JournalService", "MetaManager", "StorageNode", "ShardEngine", "Placement",
            "Metadata", "FileStore", "PeerTransport", "Raft", "Wire", "GRPC", "Observability", nioCore, logging,
        ]),
        service("QueryProcessor", ["Primitives", "HLC", "Filter", "ShardEngine", "StorageNode", "JournalService", "MetaManager", "Observability", logging]),
        service("Lineage", ["Primitives", "HLC", "JournalFormat", "Filter", "FileStore", "GRPC", "JournalService", "JournalStore", "ShardEngine", "StorageNode", "MetaManager", "Wire", "Observability", logging]),
        .target(
            name: "CConsole", path: "Sources/Services/CConsole", exclude: ["Static"], cSettings: [.unsafeFlags(["-O3"])]),
        service("Gateway", [
            "Primitives", "HLC", "JournalFormat", "Filter", "Wire", "GRPC", "HTTP", "Observability", "JournalService",
            "JournalStore", "MetaManager", "QueryProcessor", "StorageNode", "ShardEngine", "Lineage", "Raft", "CConsole", nioCore, nioPosix, logging, tracing,
        ]),

        service("MetricsExporter", ["Primitives", "Observability", nioSSL]),

        .executableTarget(
            name: "vecraft",
            dependencies: [
                "Primitives", "HLC", "JournalFormat", "Filter", "Wire", "GRPC", "HTTP", "Metadata", "Observability", "ServiceHost", "FileStore",
                "JournalStore", "JournalService", "MetaManager", "StorageNode", "QueryProcessor", "ShardEngine", "Lineage", "Gateway", "MetricsExporter", "OpenTelemetry",
                "ControlPlane", "Placement", "Etcd", "PeerTransport", "Raft", "CPlatform", "CZlib", arguments, logging, metrics, tracing, nioCore, nioPosix,
            ],
            path: "Sources/vecraft", swiftSettings: strict),

        .executableTarget(
            name: "server-benchmark",
            dependencies: [
                "Primitives", "JournalFormat", "GRPC", "Wire", "TestSupport", "ClusterSupport", "Linearizability", nioCore, nioPosix,
            ],
            path: "Benchmarks/ServerBenchmark"),
        .executableTarget(
            name: "index-benchmark", dependencies: ["HNSW", "Primitives"], path: "Benchmarks/Sources/IndexBenchmark"),

        layer("Testing", "TestSupport", ["Primitives", "FileStore"]),
        layer("Testing", "TestTraits", ["TestSupport"]),
        layer("Testing", "DashboardSupport", ["TestSupport", "Primitives", yaml]),
        layer("Testing", "Linearizability", []),
        layer("Testing", "ClusterSupport", ["Linearizability", "TestSupport", "Primitives", "JournalFormat", "GRPC", "Wire", nioPosix]),
        layer("Testing", "Simulation", ["Primitives", "Raft", "Placement"]),
        .executableTarget(
            name: "simulate", dependencies: ["Primitives", "Raft", "Placement", "Simulation"], path: "Sources/Testing/Simulate",
            swiftSettings: strict),
        .executableTarget(
            name: "lease-holder", dependencies: ["Primitives", "Metadata", "Etcd", nioPosix],
            path: "Sources/Testing/LeaseHolder", swiftSettings: strict),
        tests("Primitives", ["Primitives", "CChecksum"]),
        tests("Raft", ["Raft", "Simulation", "Primitives", "TestTraits"], resources: ["Transcripts"]),
        tests("Placement", ["Placement", "Simulation", "Primitives", "TestTraits"]),
        tests("Linearizability", ["Linearizability", "Primitives", "TestTraits"]),
        tests("HLC", ["HLC", "Primitives", "TestSupport"]),
        tests("JournalFormat", ["JournalFormat", "Primitives", "CChecksum"]),
        tests("Filter", ["Filter", "Primitives"]),
        tests("PayloadIndex", ["PayloadIndex", "Filter", "Primitives"]),
        tests("VectorKernels", ["VectorKernels", "Primitives"]),
        tests("HNSW", ["HNSW", "VectorKernels", "Primitives", "TestTraits"]),
        tests("Wire", ["Wire", "Filter", "Primitives", "TestSupport"]),
        tests("FileStore", ["FileStore", "TestSupport", "Primitives"]),
        tests("GRPC", ["GRPC", "Primitives", "TestSupport", nioCore, nioPosix, nioHTTP2, nioHPACK, nioSSL], resources: ["Python"]),
        tests("Observability", ["Observability", "Wire", "Primitives", "TestSupport", logging, metrics, tracing]),
        tests("HTTP", ["HTTP", "Observability", "Primitives", "TestSupport", nioCore, nioPosix, nioHTTP1, nioSSL, logging]),
        tests("Metadata", ["Metadata", "Etcd", "GRPC", "Wire", "Primitives", "TestSupport", nioCore, nioPosix]),
        tests("PeerTransport", [
            "PeerTransport", "GRPC", "Wire", "Raft", "JournalFormat", "Observability", "Primitives", "TestSupport", nioCore, nioPosix, logging,
        ]),
        tests("OpenTelemetry", ["OpenTelemetry", "Observability", "Wire", "Primitives", "TestSupport", tracing]),
        tests("ServiceHost", ["ServiceHost", "Observability", "Primitives", "TestSupport", logging]),
        tests("Dashboards", ["DashboardSupport", "vecraft", "TestSupport", "Primitives", yaml]),
        tests("Deploy", ["vecraft", "ServiceHost", "TestSupport", "Primitives", yaml]),
        tests("JournalStore", ["JournalStore", "JournalFormat", "HLC", "FileStore", "Raft", "Primitives", "TestSupport", "CChecksum"]),
        tests("ShardEngine", ["ShardEngine", "JournalFormat", "Filter", "HNSW", "FileStore", "Primitives", "TestSupport", "TestTraits", "CChecksum", "PayloadIndex"]),
        tests("JournalService", ["JournalService", "JournalStore", "JournalFormat", "FileStore", "HLC", "Raft", "PeerTransport", "Observability", "Primitives", "TestSupport"]),
        tests("StorageNode", [
            "StorageNode", "ShardEngine", "JournalService", "JournalStore", "JournalFormat", "HLC", "Observability", "FileStore", "Primitives",
            "PeerTransport", "Raft", "GRPC", "Wire", "TestSupport", nioCore, nioPosix,
        ]),
        tests("MetaManager", [
            "MetaManager", "JournalService", "JournalStore", "JournalFormat", "HLC", "Metadata", "Observability", "FileStore", "Primitives",
            "TestSupport",
        ]),
        tests("ControlPlane", ["ControlPlane", "Metadata", "Placement", "FileStore", "Primitives", "TestSupport"]),
        tests("Gateway", [
            "Gateway", "JournalService", "JournalStore", "JournalFormat", "FileStore", "HLC", "Observability", "QueryProcessor", "Primitives",
            "TestSupport", nioCore, nioPosix,
        ]),
        tests("Lineage", ["Lineage", "JournalService", "JournalStore", "JournalFormat", "FileStore", "HLC", "Observability", "Wire", "Primitives", "TestSupport"]),
        tests("MetricsExporter", ["MetricsExporter", "Observability", "Primitives", "TestSupport"]),
        tests("CommandLine", ["vecraft", "GRPC", "JournalFormat", "Primitives", "Wire", "TestSupport", arguments, nioCore, nioPosix]),
        tests("Cluster", ["vecraft", "ClusterSupport", "DashboardSupport", "Linearizability", "TestSupport", "Primitives", "GRPC", "Wire", nioPosix]),
        tests("Console", ["vecraft", "TestSupport"], resources: ["Browser"]),
        tests("EndToEnd", ["vecraft", "GRPC", "Wire", "Primitives", "JournalFormat", "JournalStore", "FileStore", "TestSupport", nioCore, nioPosix], resources: ["Python"]),
    ],
    swiftLanguageModes: [.v6]
)
