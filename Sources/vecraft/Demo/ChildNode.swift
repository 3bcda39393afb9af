internal import Glibc
internal import Primitives
internal import Synchronization

/// A node in a process of its own, made from this same program.
final class ChildNode: Sendable {
    struct Addresses: Equatable, Sendable {
        var grpc: NodeAddress
        var http: NodeAddress
    }

    let process: pid_t
    /// The reading end of the child's standard output.
    private let output: Int32
    private let stopped = Mutex(false)

    /// What `serve` says on standard output once it answers.
    private static let readyWord = "vecraft ready "
    /// An empty folder is ready in well under a second; a machine busy building may need more.
    private static let startLimit = 60
    /// What a node promises for ending after SIGTERM is 10 s.
    private static let stopLimit = 15

    /// Starts a node.
    ///
    /// - Parameters:
    ///   - dataDirectory: Where it keeps its data.
    ///   - logFile: Where its log lines go.
    init(dataDirectory: String, logFile: String) throws(VecraftError) {
        var pipe: [Int32] = [0, 0]
        guard Glibc.pipe(&pipe) == 0 else { throw Self.fault("cannot make a pipe") }
        for end in pipe { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
        defer { close(pipe[1]) }
        let arguments = ["serve", "--data-directory", dataDirectory, "--grpc-port", "0", "--http-port", "0", "--set", "metrics.canary_seconds=0"]
        do throws(VecraftError) {
            self.process = try Self.spawn(arguments, output: pipe[1], log: logFile)
        } catch {
            close(pipe[0])
            throw error
        }
        self.output = pipe[0]
    }

    deinit { close(self.output) }

    private static func spawn(_ arguments: [String], output: Int32, log: String) throws(VecraftError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A process group of its own: Ctrl-C then ends the tour, and the tour ends the node in good order.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))

        let words = [ProgramFile.path] + arguments
        var pointers: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
        defer { for pointer in pointers { free(pointer) } }
        var process: pid_t = 0
        let result = posix_spawn(&process, ProgramFile.path, &actions, &attributes, &pointers, environ)
        guard result == 0 else {
            errno = result
            throw Self.fault("cannot start \(ProgramFile.path)")
        }
        return process
    }

    /// Waits until the node says that it is ready. Once.
    func awaitReady() throws(VecraftError) -> Addresses {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        let clock = ContinuousClock()
        let limit = clock.now + .seconds(Self.startLimit)
        while clock.now < limit {
            var waiting = pollfd(fd: self.output, events: Int16(POLLIN), revents: 0)
            guard poll(&waiting, 1, 250) > 0 else { continue }
            let count = read(self.output, &buffer, buffer.count)
            guard count > 0 else { throw VecraftError(.unavailable, "the node ended before it was ready") }
            text += String(decoding: buffer[..<count], as: UTF8.self)
            // The last piece is a line only once its end has come.
            for line in text.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
                if let addresses = Self.parseReady(String(line)) { return addresses }
            }
        }
        throw VecraftError(.deadlineExceeded, "the node was not ready within \(Self.startLimit) s")
    }

    /// "vecraft ready grpc=127.0.0.1:41233 http=127.0.0.1:41234"
    static func parseReady(_ line: String) -> Addresses? {
        guard line.hasPrefix(Self.readyWord) else { return nil }
        var addresses: [Substring: NodeAddress] = [:]
        for word in line.dropFirst(Self.readyWord.count).split(separator: " ") {
            let parts = word.split(separator: "=", maxSplits: 1)
            if parts.count == 2 { addresses[parts[0]] = NodeAddress(argument: String(parts[1])) }
        }
        guard let grpc = addresses["grpc"], let http = addresses["http"] else { return nil }
        return Addresses(grpc: grpc, http: http)
    }

    /// Ends the node in good order, by force if it takes too long. May be called from any thread, and more than once.
    func stop() {
        self.stopped.withLock { stopped in
            guard !stopped else { return }
            stopped = true
            kill(self.process, SIGTERM)
            let clock = ContinuousClock()
            let limit = clock.now + .seconds(Self.stopLimit)
            while clock.now < limit {
                if waitpid(self.process, nil, WNOHANG) != 0 { return }
                var none = pollfd()
                poll(&none, 0, 20)
            }
            kill(self.process, SIGKILL)
            waitpid(self.process, nil, 0)
        }
    }

    private static func fault(_ what: String) -> VecraftError {
        VecraftError(.internalError, "\(what): \(String(cString: strerror(errno)))")
    }
}
