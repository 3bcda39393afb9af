#define _GNU_SOURCE
#include "vc_worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vc_thread.h"

struct vc_worker {
    pthread_t thread;
};

typedef struct {
    void (*body)(void *);
    void *context;
    char name[16];
} start;

static void *run(void *argument) {
    start given = *(start *)argument;
    free(argument);
    vc_thread_name(given.name);
    given.body(given.context);
    return NULL;
}

vc_worker *vc_worker_start(const char *name, void (*body)(void *), void *context) {
    vc_worker *worker = malloc(sizeof *worker);
    start *given = malloc(sizeof *given);
    if (!worker || !given) goto refused;
    given->body = body;
    given->context = context;
    strncpy(given->name, name, sizeof given->name - 1);
    given->name[sizeof given->name - 1] = 0;
    if (pthread_create(&worker->thread, NULL, run, given) == 0) return worker;
refused:
    free(worker);
    free(given);
    return NULL;
}

void vc_worker_join(vc_worker *worker) {
    pthread_join(worker->thread, NULL);
    free(worker);
}

void vc_worker_detach(vc_worker *worker) {
    pthread_detach(worker->thread);
    free(worker);
}

int vc_worker_is_current(const vc_worker *worker) { return pthread_equal(worker->thread, pthread_self()) != 0; }

struct vc_signal {
    pthread_mutex_t mutex;
    pthread_cond_t condition;
    int raised;
};

vc_signal *vc_signal_make(void) {
    vc_signal *signal = malloc(sizeof *signal);
    if (!signal) abort();
    pthread_mutex_init(&signal->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
#ifdef __linux__
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
#endif
    pthread_cond_init(&signal->condition, &attributes);
    pthread_condattr_destroy(&attributes);
    signal->raised = 0;
    return signal;
}

void vc_signal_free(vc_signal *signal) {
    pthread_cond_destroy(&signal->condition);
    pthread_mutex_destroy(&signal->mutex);
    free(signal);
}

void vc_signal_raise(vc_signal *signal) {
    pthread_mutex_lock(&signal->mutex);
    signal->raised = 1;
    pthread_cond_signal(&signal->condition);
    pthread_mutex_unlock(&signal->mutex);
}

int vc_signal_wait(vc_signal *signal, uint64_t nanoseconds) {
    struct timespec until = {0, 0};
    if (nanoseconds != UINT64_MAX) {
#ifdef __linux__
        clock_gettime(CLOCK_MONOTONIC, &until);
#else
        clock_gettime(CLOCK_REALTIME, &until);
#endif
        uint64_t sum = (uint64_t)until.tv_nsec + nanoseconds % 1000000000ull;
        until.tv_sec += (time_t)(nanoseconds / 1000000000ull + sum / 1000000000ull);
        until.tv_nsec = (long)(sum % 1000000000ull);
    }
    pthread_mutex_lock(&signal->mutex);
    while (!signal->raised) {
        int result = nanoseconds == UINT64_MAX ? pthread_cond_wait(&signal->condition, &signal->mutex)
                                               : pthread_cond_timedwait(&signal->condition, &signal->mutex, &until);
        if (result == ETIMEDOUT) break;
    }
    int was = signal->raised;
    signal->raised = 0;
    pthread_mutex_unlock(&signal->mutex);
    return was;
}
