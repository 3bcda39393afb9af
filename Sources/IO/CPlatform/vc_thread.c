#define _GNU_SOURCE
#include "vc_thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
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

void vc_thread_breathe(void) { sched_yield(); }

void vc_thread_name(const char *name) {
    char kept[16];
    strncpy(kept, name, sizeof kept - 1);
    kept[sizeof kept - 1] = 0;
    pthread_setname_np(pthread_self(), kept);
}
