import MetricsExporter
import Testing

/// Texts as kernels wrote them.
@Suite struct KernelTextTests {
    @Test func timeOfTheCPUs() throws {
        let ticks = try #require(
            KernelText.cpuTicks(
                """
                cpu  4736909 199199 871165 1749243 22543 11 73009 13471 0 0
                cpu0 2375171 84284 417821 910586 6131 5 33696 6228 0 0
                cpu1 2361737 114914 453343 838657 16411 6 39312 7242 0 0
                intr 157537817 0 0 0
                btime 1764000000
                """))
        #expect(ticks.user == 4_936_108)
        #expect(ticks.system == 944_185)
        #expect(ticks.idle == 1_749_243 && ticks.iowait == 22_543 && ticks.steal == 13_471)
        #expect(ticks.total == 7_665_550 && ticks.busy == 5_893_764)
        // Kernels before 2.6.11 knew nothing of stolen time; so old a text is not taken for another.
        #expect(KernelText.cpuTicks("cpu  1 2 3 4 5 6 7\n") == nil)
        #expect(KernelText.cpuTicks("cpu  1 2 3 x 5 6 7 8\n") == nil)
        #expect(KernelText.cpuTicks("") == nil)
    }

    @Test func memory() throws {
        let text = """
            MemTotal:       16374324 kB
            MemFree:          540312 kB
            MemAvailable:    9017728 kB
            Buffers:          214712 kB
            """
        let memory = try #require(KernelText.memory(text))
        #expect(memory.total == 16_767_307_776 && memory.available == 9_234_153_472)
        #expect(KernelText.memory("MemTotal: 5 kB\n") == nil)
    }

    @Test func networkWithoutTheLoopbackUnlessItIsAlone() throws {
        let head = """
            Inter-|   Receive                                                |  Transmit
             face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed

            """
        let loopback = "    lo: 1000 10 0 0 0 0 0 0 1001 10 0 0 0 0 0 0\n"
        let wired = "  eth0:859712727 19726 0 0 0 0 0 0 1049065 13101 0 0 0 0 0 0\n"
        let bridge = "vcb870: 8 1161 0 0 0 0 0 33 9 1358 0 10 0 0 0 0\n"
        let all = try #require(KernelText.network(head + loopback + wired + bridge))
        #expect(all.received == 859_712_735 && all.sent == 1_049_074)
        let alone = try #require(KernelText.network(head + loopback))
        #expect(alone.received == 1000 && alone.sent == 1001)
        #expect(KernelText.network(head) == nil)
    }

    @Test func storageOfTheProcess() throws {
        let io = try #require(
            KernelText.storage(
                "rchar: 6976\nwchar: 0\nsyscr: 10\nsyscw: 0\nread_bytes: 4096\nwrite_bytes: 8192\ncancelled_write_bytes: 1\n"
            ))
        #expect(io.read == 4096 && io.written == 8192)
        #expect(KernelText.storage("rchar: 1\n") == nil)
    }

    @Test func controlGroups() {
        let mixed = "9:name=systemd:/\n4:memory:/process_api/ce2f\n0::/kubepods.slice/pod1/abc\n"
        #expect(KernelText.cgroup(mixed) == "/kubepods.slice/pod1/abc")
        #expect(KernelText.cgroup("0::/\n") == "/")
        #expect(KernelText.cgroup("4:memory:/x\n") == nil)
        #expect(KernelText.cpuLimit("150000 100000\n") == 1.5)
        #expect(KernelText.cpuLimit("max 100000\n") == nil)
        #expect(KernelText.cpuLimit("") == nil)
        #expect(KernelText.bytes("2147483648\n") == 2_147_483_648)
        #expect(KernelText.bytes("max\n") == nil)
        let stat = "usage_usec 123456\nuser_usec 100000\nsystem_usec 23456\n"
        #expect(KernelText.field("usage_usec", in: stat) == 123_456)
        #expect(KernelText.field("usage", in: stat) == nil)
    }
}
