#pragma once
#include <stdint.h>

/// A joinable thread.
typedef struct vc_worker vc_worker;
/// Starts `body(context)` on a thread of its own, named as `vc_thread_name` does. NULL if the system refuses.
vc_worker *vc_worker_start(const char *name, void (*body)(void *context), void *context);
/// Waits for its end and frees the handle. Not from the thread itself.
void vc_worker_join(vc_worker *worker);
/// Frees the handle and lets the thread run on.
void vc_worker_detach(vc_worker *worker);
/// 1 on the worker's own thread.
int vc_worker_is_current(const vc_worker *worker);

/// A flag that threads wait for. Raised stays raised until one waiter takes it.
typedef struct vc_signal vc_signal;
vc_signal *vc_signal_make(void);
void vc_signal_free(vc_signal *signal);
void vc_signal_raise(vc_signal *signal);
/// Waits at most `nanoseconds` (UINT64_MAX: for ever), then lowers the flag. 1 if it was raised.
int vc_signal_wait(vc_signal *signal, uint64_t nanoseconds);
