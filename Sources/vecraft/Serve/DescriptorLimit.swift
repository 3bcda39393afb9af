internal import Glibc

/// Connections take a descriptor each, and a shard that is sent to another node one a file. The limit that processes begin with
/// (1,024 on most systems) is kept low for programs that cannot count further; this one may have what it is allowed.
enum DescriptorLimit {
    static func raise() {
        var limit = rlimit()
        let which = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(which, &limit) == 0, limit.rlim_cur < limit.rlim_max else { return }
        limit.rlim_cur = limit.rlim_max
        // Where the system refuses, the limit stays; who runs out of it is told.
        _ = setrlimit(which, &limit)
    }
}
