#define _GNU_SOURCE
#include "vc_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/// As sched_setattr(2) has it, in its first form; glibc knew none for long.
struct turns {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

static int schedule(unsigned policy, int nice, unsigned microseconds) {
    struct turns turns = {.size = sizeof turns, .policy = policy, .nice = nice};
    turns.runtime = (uint64_t)microseconds * 1000;
    return syscall(SYS_sched_setattr, syscall(SYS_gettid), &turns, 0) == 0 ? 0 : errno;
}

int vc_thread_turns(unsigned microseconds) {
    errno = 0;
    int nice = getpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid));
    if (nice == -1 && errno != 0) return errno;
    return schedule(0 /* SCHED_OTHER */, nice, microseconds);
}

int vc_thread_background(int nice, unsigned microseconds) { return schedule(3 /* SCHED_BATCH */, nice, microseconds); }

static uint64_t nanoseconds(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

void vc_thread_breathe(void) {
    // A search is answered within this; whoever is on the processor for longer computes, as the caller does.
    static const uint64_t longest = 2000000;
    // It may have been stopped meanwhile, for as long as somebody liked.
    static const uint64_t most = 50000000;
    // By the thread's own processor time, nanoseconds: what it must have computed before it gives way again.
    static _Thread_local uint64_t until;
    if (until != 0) {
        if (nanoseconds(CLOCK_THREAD_CPUTIME_ID) < until) return;
        until = 0;
    }
    uint64_t left = nanoseconds(CLOCK_MONOTONIC);
    sched_yield();
    uint64_t away = nanoseconds(CLOCK_MONOTONIC) - left;
    if (away > longest) until = nanoseconds(CLOCK_THREAD_CPUTIME_ID) + (away < most ? away : most);
}

void vc_thread_name(const char *name) {
    char kept[16];
    strncpy(kept, name, sizeof kept - 1);
    kept[sizeof kept - 1] = 0;
    pthread_setname_np(pthread_self(), kept);
}
