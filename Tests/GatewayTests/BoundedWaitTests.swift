import Gateway
import NIOCore
import NIOPosix
import Primitives
import Testing

@Suite struct BoundedWaitTests {
    private typealias Answer = Result<Int, VecraftError>
    private let loop = MultiThreadedEventLoopGroup.singleton.any()

    @Test func whatStandsStillIsLeftAtTheDeadline() async throws {
        let (kept, keep) = AsyncStream.makeStream(of: (@Sendable (Answer) -> Void).self)
        let answer: Answer = await BoundedWait.until(.now() + .milliseconds(20), on: self.loop) { keep.yield($0) }
        let error = #expect(throws: VecraftError.self) { try answer.get() }
        #expect(error?.code == .deadlineExceeded)
        // It ends in the end: nobody is resumed twice.
        var late = kept.makeAsyncIterator()
        await late.next()!(.success(1))
    }

    @Test(arguments: [false, true]) func whatIsDoneInTimeIsAnswered(atOnce: Bool) async throws {
        let answer: Answer = await BoundedWait.until(.now() + .hours(1), on: self.loop) { done in
            if atOnce { done(.success(7)) } else { self.loop.execute { done(.success(7)) } }
        }
        #expect(try answer.get() == 7)
    }

    @Test func aDeadlineThatHasPassedIsAnsweredToo() async {
        let answer: Answer = await BoundedWait.until(.now() - .seconds(1), on: self.loop) { _ in }
        #expect(throws: VecraftError.self) { try answer.get() }
    }
}
