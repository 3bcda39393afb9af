#define _GNU_SOURCE
#include "vc_thread.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

int vc_thread_nice(int increment) {
    id_t self = (id_t)syscall(SYS_gettid);
    errno = 0;
    int now = getpriority(PRIO_PROCESS, self);
    if (now == -1 && errno != 0) return errno;
    return setpriority(PRIO_PROCESS, self, now + increment) == 0 ? 0 : errno;
}

void vc_thread_name(const char *name) {
    char kept[16];
    strncpy(kept, name, sizeof kept - 1);
    kept[sizeof kept - 1] = 0;
    pthread_setname_np(pthread_self(), kept);
}
