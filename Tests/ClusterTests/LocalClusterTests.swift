import Foundation
import TestSupport
import Testing

extension RealClusters {
    /// `make cluster` and `make cluster-down`, as the README tells a new user.
    @Suite("The cluster of the README", .enabled(if: EtcdProcess.binary != nil, "\(EtcdProcess.missing)"))
    struct LocalClusterTests {
        @Test(.timeLimit(.minutes(20))) func comesUpGrowsAndEnds() async throws {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent()
            let directory = try TemporaryDirectory()
            var said = ""
            // A span of ports, some of which others may have: another is tried then.
            for attempt in 0..<5 {
                let base = 20_100 + Int(ProcessInfo.processInfo.processIdentifier) % 80 * 100 + attempt * 8_000
                let folder = directory.file("cluster-\(attempt)")
                let script = """
                    cd '\(root.path)'
                    export VECRAFT='\(ServerProcess.binary)' FOLDER='\(folder)' BASE_PORT=\(base)
                    # The nodes' own collection would be counted among the copies.
                    export VECRAFT_METRICS__CANARY_SECONDS=0
                    trap 'deploy/local-cluster down' EXIT
                    set -e
                    # A busy machine may take a while to come to rest, and what is asked before is asked again.
                    again() {
                        local end=$((SECONDS + 120))
                        until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.5; done
                    }
                    again deploy/local-cluster up
                    export VECRAFT_ADDRESS=127.0.0.1:\(base)
                    again "$VECRAFT" collection create things --dimension 2 --shards 4 >/dev/null
                    again deploy/local-cluster status
                    again deploy/local-cluster up 4
                    balanced() {
                        "$VECRAFT" cluster rebalance >"$FOLDER/said"
                        cat "$FOLDER/said"
                        grep -q 'Nothing moves. node 1: 2 copies, node 2: 2 copies, node 3: 2 copies, node 4: 2 copies' "$FOLDER/said"
                    }
                    again balanced
                    killed=$(cat "$FOLDER/node-2.pid")
                    kill -9 $killed
                    while grep -aq -- "$FOLDER" /proc/$killed/cmdline 2>/dev/null; do sleep 0.1; done
                    again deploy/local-cluster up
                    again "$VECRAFT" health --quiet
                    echo all done
                    """
                let outcome = try await PythonEnvironment.run(
                    "/bin/bash", ["-c", script], environment: [:], limit: .seconds(600))
                // Killed, the script has no end of its own to do this at.
                if outcome.timedOut {
                    _ = try await PythonEnvironment.run(
                        root.appendingPathComponent("deploy/local-cluster").path, ["down"],
                        environment: ["FOLDER": folder, "BASE_PORT": "\(base)"], limit: .seconds(120))
                }
                said = "\(outcome)"
                if outcome.output.contains("all done") {
                    #expect(outcome.output.contains("everything is as it should be"))
                    #expect(
                        outcome.output.contains(
                            "Nothing moves. node 1: 2 copies, node 2: 2 copies, node 3: 2 copies, node 4: 2 copies"))
                    let left = try FileManager.default.contentsOfDirectory(atPath: folder).filter {
                        $0.hasSuffix(".pid")
                    }
                    #expect(left.isEmpty, "what was started has ended")
                    return
                }
            }
            Issue.record("\(said)")
        }
    }
}
