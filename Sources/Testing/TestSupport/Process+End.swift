package import Foundation

// Foundation hears of a process's end by a socket that other processes, started at the same moment, may inherit and hold open: its
// `waitUntilExit` then spins until those end too, and two that wait for each other's never do. So the kernel is asked.
extension Process {
    /// Exit code, or the signal that ended it; nil while it runs.
    package var endStatus: Int32? {
        // Not started.
        guard self.processIdentifier > 0 else { return 0 }
        var info = siginfo_t()
        // Left for Foundation to reap.
        let found = waitid(P_PID, id_t(self.processIdentifier), &info, WEXITED | WNOHANG | WNOWAIT)
        if found == 0 {
            return info._sifields._sigchld.si_pid == 0 ? nil : info._sifields._sigchld.si_status
        }
        // Reaped already, and soon known.
        return self.isRunning ? nil : self.terminationStatus
    }

    /// Blocks the thread until it has ended.
    /// - Returns: Exit code, or the signal that ended it.
    @discardableResult
    package func awaitEnd() -> Int32 {
        while true {
            if let status = self.endStatus { return status }
            usleep(2_000)
        }
    }
}
