import Etcd
import Glibc
import Metadata
import NIOPosix
import Primitives

// lease-holder ENDPOINT CLUSTER ELECTION TTL-SECONDS
//
// A candidate in a process of its own, for tests that stop or kill it. Prints
//     leading TOKEN
//     lost LAST      nanoseconds of CLOCK_BOOTTIME, which all processes share, when it last believed that it led
// and is a candidate again.

func print(line: String) {
    print(line)
    fflush(nil)
}

func bootTime() -> Int {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return time.tv_sec * 1_000_000_000 + time.tv_nsec
}

let arguments = CommandLine.arguments
guard arguments.count == 5, let ttl = Int(arguments[4]) else {
    print("usage: lease-holder HOST:PORT CLUSTER ELECTION TTL-SECONDS")
    exit(2)
}
let settings = EtcdSettings(
    endpoints: try arguments[1].split(separator: ",").map { try .init(parsing: String($0)) }, cluster: arguments[2])
let store = try EtcdMetadataStore(settings, group: MultiThreadedEventLoopGroup.singleton)
let election = try Election(store, key: arguments[3], ttl: .seconds(ttl))
while true {
    let leadership = try await election.campaign(Array("process \(getpid())".utf8))
    print(line: "leading \(leadership.fencingToken)")
    var last = 0
    while true {
        // The clock first: a stop between the two must not count as having led after it.
        let now = bootTime()
        guard leadership.isHeld else { break }
        last = now
        try await Task.sleep(for: .milliseconds(2))
    }
    print(line: "lost \(last)")
}
