import Foundation
import Logging
import Observability
import ServiceHost
import Testing

@Suite struct SettingsTests {
    private func problems(
        file: String? = nil, environment: [String: String] = [:], flags: [String] = []
    ) -> [String] {
        do throws(SettingsError) {
            _ = try Settings.load(file: file.map { ("vecraft.yaml", $0) }, environment: environment, flags: flags)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func nothingSaidIsTheDefaults() throws {
        let loaded = try Settings.load()
        #expect(loaded.values == Settings())
        #expect(loaded.sources.isEmpty)
    }

    @Test func theLastToSpeakWins() throws {
        let file = """
            grpc:
              port: 1000
            http:
              port: 2000
            query:
              default_timeout_ms: 5
            """
        let loaded = try Settings.load(
            file: ("vecraft.yaml", file),
            environment: ["VECRAFT_HTTP__PORT": "2001", "VECRAFT_QUERY__DEFAULT_TIMEOUT_MS": "6", "PATH": "/bin"],
            flags: ["query.default_timeout_ms=7", "query.default_timeout_ms=8"])
        #expect(loaded.values.grpc.port == 1_000)
        #expect(loaded.values.http.port == 2_001)
        #expect(loaded.values.query.defaultTimeoutMilliseconds == 8)
        #expect(loaded.source("grpc.port") == .file(path: "vecraft.yaml", line: 2))
        #expect(loaded.source("http.port") == .environment(variable: "VECRAFT_HTTP__PORT"))
        #expect(loaded.source("query.default_timeout_ms") == .flag)
        #expect(loaded.source("grpc.host") == .builtIn)
    }

    @Test func peersAreToldApart() {
        #expect(
            self.problems(flags: ["cluster.node_id=1"]).map { $0.contains("must be given with cluster.node_id") } == [
                true
            ])
        let twice = self.problems(flags: [
            "cluster.node_id=1", "cluster.peers=1=10.0.0.1:7500,2=10.0.0.2:7500,3=10.0.0.1:7500",
        ])
        #expect(twice.count == 1 && twice[0].contains("gives the nodes 1, 3 one address, 10.0.0.1:7500"), "\(twice)")
        #expect(self.problems(flags: ["cluster.node_id=1", "cluster.peers=1=10.0.0.1:7500,2=10.0.0.2:7500"]) == [])
    }

    @Test func everyKindOfValueIsRead() throws {
        let loaded = try Settings.load(
            file: (
                "vecraft.yaml",
                """
                # A comment.
                node:
                  name: "n 1"
                  roles: [storage, query]
                journal:
                  segment_bytes: 32MiB
                  queue_bytes: 67108864
                  max_batch_bytes: 1 MiB
                log:
                  level: debug
                  format: json
                storage:
                """
            ), environment: ["VECRAFT_NODE__DATA_DIRECTORY": "/data"])
        #expect(loaded.values.node.name == "n 1")
        #expect(loaded.values.node.roles == [.storage, .query])
        #expect(loaded.values.node.dataDirectory == "/data")
        #expect(loaded.values.journal.segmentBytes == 32 << 20)
        #expect(loaded.values.journal.queueBytes == 64 << 20)
        #expect(loaded.values.journal.maxBatchBytes == 1 << 20)
        #expect(loaded.values.log.level == .debug)
        #expect(loaded.values.log.format == .json)
        #expect(try Settings.load(flags: ["node.roles=storage, query"]).values.node.roles == [.storage, .query])
    }

    @Test func anUnknownKeyIsAnErrorWithItsPlaceAndTheLikelyOne() {
        #expect(
            problems(file: "journal:\n  segment_byte: 1MiB\n") == [
                "vecraft.yaml:2: journal.segment_byte is not a setting; did you mean journal.segment_bytes?"
            ])
        #expect(
            problems(environment: ["VECRAFT_HTTP__PROT": "1"]) == [
                "environment variable VECRAFT_HTTP__PROT: VECRAFT_HTTP__PROT is not a setting; did you mean http.port?"
            ])
        #expect(
            problems(flags: ["nonsense=1"]) == [
                "command line: nonsense is not a setting; `vecraft config print` lists them"
            ])
        #expect(problems(flags: ["grpc.port"]) == ["command line: grpc.port is not of the form section.key=value"])
    }

    @Test func variablesThatKubernetesMakesAreNotOurs() {
        #expect(
            problems(environment: ["VECRAFT_SERVICE_HOST": "10.0.0.1", "VECRAFT_PORT_7400_TCP": "tcp://x"]).isEmpty)
    }

    @Test(arguments: [
        ("grpc.port=70000", "grpc.port is out of range (\"70000\"); allowed: 0...65535"),
        ("grpc.port=abc", "grpc.port is not a whole number (\"abc\"); allowed: 0...65535"),
        ("grpc.port=7400.5", "grpc.port is not a whole number (\"7400.5\"); allowed: 0...65535"),
        (
            "journal.segment_bytes=2TiB",
            "journal.segment_bytes is not a size in bytes (67108864, 64MiB) (\"2TiB\"); allowed: 1MiB...1GiB"
        ),
        (
            "journal.segment_bytes=99999999999999999GiB",
            "journal.segment_bytes is not a size in bytes (67108864, 64MiB) (\"99999999999999999GiB\"); allowed: 1MiB...1GiB"
        ),
        (
            "log.level=loud",
            "log.level is not one of these (\"loud\"); allowed: trace | debug | info | notice | warning | error | critical"
        ),
        ("node.data_directory=", "node.data_directory is empty (\"\"); allowed: 1 to 4096 bytes of text"),
        (
            "node.roles=storage,storage",
            "node.roles has \"storage\" twice (\"storage,storage\"); allowed: list of all, gateway, meta, failover, flow, journal, query, storage, snapshot, compactor, metrics"
        ),
    ])
    func aValueOutOfTypeOrRangeIsRefusedWithWhatIsAllowed(flag: String, message: String) {
        #expect(problems(flags: [flag]) == ["command line: " + message])
    }

    @Test func allMistakesAreToldAtOnce() {
        let told = problems(
            file:
                "grpc:\n  port: no\n  hots: x\nlog: loud\njournal:\n  segment_bytes: [1, 2]\n  queue_bytes:\n  data_partitions: {a: 1}\n"
        )
        #expect(
            told.sorted() == [
                "vecraft.yaml:2: grpc.port is not a whole number (\"no\"); allowed: 0...65535",
                "vecraft.yaml:3: grpc.hots is not a setting; did you mean grpc.host?",
                "vecraft.yaml:4: log is a section and takes keys, not a value",
                "vecraft.yaml:6: journal.segment_bytes is a list where a size belongs; allowed: 1MiB...1GiB",
                "vecraft.yaml:7: journal.queue_bytes has no value",
                "vecraft.yaml:8: journal.data_partitions is a key and takes a value, not further keys",
            ])
    }

    @Test func textThatIsNotYAMLIsRefusedWithItsLine() {
        let told = problems(file: "grpc:\n  port: 1\n bad: [\n")
        #expect(told.count == 1)
        #expect(told.first?.contains("is not YAML") == true)
        #expect(told.first?.hasPrefix("vecraft.yaml:") == true)
        #expect(problems(file: "grpc:\n  port: 1\n  port: 2\n").first?.contains("twice") == true)
        #expect(problems(file: "just text").first?.contains("no sections") == true)
        #expect(problems(file: "").isEmpty)
        #expect(problems(file: "# nothing\n").isEmpty)
    }

    @Test func settingsThatContradictEachOtherAreRefused() {
        #expect(
            problems(file: "grpc:\n  tls_key: /k\n") == [
                "vecraft.yaml:2: grpc.tls_key is set without grpc.tls_certificate"
            ])
        #expect(
            problems(flags: ["http.tls_certificate=/c"]) == [
                "command line: http.tls_certificate is set without http.tls_key"
            ])
        #expect(problems(flags: ["grpc.tls_client_ca=/ca"]).count == 1)
        #expect(problems(flags: ["http.port=7400"]) == ["command line: http.port is the same as grpc.port (7400)"])
        #expect(problems(flags: ["http.port=0", "grpc.port=0"]).isEmpty)
        #expect(
            problems(environment: ["VECRAFT_QUERY__MAX_TIMEOUT_MS": "10"]) == [
                "default: query.default_timeout_ms is above query.max_timeout_ms (10)"
            ])
        #expect(problems(flags: ["journal.segment_bytes=1MiB"]).count == 1)
        #expect(problems(flags: ["node.roles=all,query"]).count == 1)
    }

    @Test func thePrintedFormReadsBackAsTheSameSettings() throws {
        let loaded = try Settings.load(flags: [
            "node.name=yes", "node.data_directory=/var/lib/with space", "node.roles=journal,query",
            "journal.queue_bytes=100000000",
            "log.format=json",
        ])
        for documented in [false, true] {
            let text = loaded.yaml(documented: documented)
            let again = try Settings.load(file: ("printed", text))
            #expect(again.values == loaded.values)
            #expect(again.sources.count == Settings.keys.count)
        }
        let text = loaded.yaml()
        #expect(text.contains("journal:\n  data_partitions: 2  # default\n"))
        #expect(text.contains("  queue_bytes: 100000000  # command line\n"))
        #expect(text.contains("  name: \"yes\"  # command line\n"))
        #expect(
            loaded.yaml(documented: true).contains(
                "# Size of a journal segment file, in bytes. Allowed: 1MiB...1GiB.\n"))
    }

    @Test func everyDefaultIsWithinItsOwnRange() throws {
        // Printing and reading back passes each default through its own check.
        let again = try Settings.load(file: ("defaults", try Settings.load().yaml()))
        #expect(again.values == Settings())
    }
}
