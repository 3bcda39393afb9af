internal import Glibc
internal import Primitives

/// A last question before something that cannot be taken back.
enum Confirmation {
    /// Returns if the person agrees. A program has nobody to ask, and says so on its command line.
    static func ask(_ question: String, agreed: Bool) throws(VecraftError) {
        if agreed { return }
        guard isatty(STDIN_FILENO) == 1, Terminal.errors.isInteractive else {
            throw VecraftError(.invalidArgument, "nobody is there to confirm this; --yes does without")
        }
        Console.error("\(question) [y/N] ", terminator: "")
        guard let answer = readLine()?.trimmed.lowercased(), answer == "y" || answer == "yes" else {
            throw VecraftError(.cancelled, "nothing was done")
        }
    }
}
