import Primitives
import Testing

@testable import JournalStore

@Suite struct IdempotencyTableTests {
    private func key(_ text: String, tenant: String = "t", shard: UInt32 = 0) -> IdempotencyTable.Key {
        var tenant = tenant
        var text = text
        return tenant.withUTF8 { tenant in
            text.withUTF8 { .init(tenant: UnsafeRawBufferPointer(tenant), key: UnsafeRawBufferPointer($0), shard: shard) }
        }
    }
    private func value(_ offset: JournalOffset, milliseconds: UInt64) -> IdempotencyTable.Value {
        .init(bodyHash: offset * 3, offset: offset, hlc: HLCTimestamp(milliseconds: milliseconds, counter: 0), term: 1)
    }
    private func at(_ milliseconds: UInt64) -> HLCTimestamp { HLCTimestamp(milliseconds: milliseconds, counter: 0) }

    @Test func remembersWithinTheWindow() {
        var table = IdempotencyTable(window: .seconds(10), capacity: 100)
        table.insert(self.value(1, milliseconds: 1_000), under: self.key("a"))
        #expect(table.value(of: self.key("a"), now: self.at(11_000))?.offset == 1)
        #expect(table.value(of: self.key("a"), now: self.at(11_001)) == nil)
        #expect(table.value(of: self.key("b"), now: self.at(1_000)) == nil)
        table.insert(self.value(2, milliseconds: 20_000), under: self.key("b"))
        #expect(table.count == 1, "what is too old is gone")
    }

    @Test func forgetsTheOldestBeyondItsCapacity() {
        var table = IdempotencyTable(window: .seconds(1000), capacity: 3)
        for i in 1...5 { table.insert(self.value(UInt64(i), milliseconds: UInt64(i)), under: self.key("\(i)")) }
        #expect(table.count == 3)
        #expect(table.value(of: self.key("2"), now: self.at(5)) == nil)
        #expect(table.value(of: self.key("3"), now: self.at(5))?.offset == 3)
    }

    @Test func aKeyUsedAgainAfterItsWindowIsNotForgottenWithItsOldUse() {
        var table = IdempotencyTable(window: .seconds(10), capacity: 100)
        table.insert(self.value(1, milliseconds: 0), under: self.key("a"))
        table.insert(self.value(2, milliseconds: 10_001), under: self.key("a"))
        table.insert(self.value(3, milliseconds: 15_000), under: self.key("b"))
        #expect(table.value(of: self.key("a"), now: self.at(15_000))?.offset == 2)
    }

    @Test func tenantsAndShardsDoNotMeet() {
        var table = IdempotencyTable(window: .seconds(10), capacity: 100)
        table.insert(self.value(1, milliseconds: 1), under: self.key("k", tenant: "a"))
        #expect(table.value(of: self.key("k", tenant: "b"), now: self.at(1)) == nil)
        #expect(table.value(of: self.key("k", tenant: "a", shard: 1), now: self.at(1)) == nil)
        #expect(self.key("bc", tenant: "a") != self.key("c", tenant: "ab"))
    }

    @Test func capacityZeroRemembersNothing() {
        var table = IdempotencyTable(window: .seconds(10), capacity: 0)
        table.insert(self.value(1, milliseconds: 1), under: self.key("k"))
        #expect(table.count == 0)
    }

    @Test func staysBoundedOverManyInserts() {
        var table = IdempotencyTable(window: .seconds(10), capacity: 50)
        for i in 1...10_000 { table.insert(self.value(UInt64(i), milliseconds: UInt64(i)), under: self.key("\(i)")) }
        #expect(table.count == 50)
        for i in 9_951...10_000 { #expect(table.value(of: self.key("\(i)"), now: self.at(10_000))?.offset == UInt64(i)) }
    }
}
