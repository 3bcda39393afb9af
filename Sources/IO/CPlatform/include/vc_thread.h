#pragma once
/// Lowers the calling thread's priority (Linux: nice of one thread). Returns 0, or errno.
int vc_thread_nice(int increment);
/// Names the calling thread in `top` and core files; at most 15 bytes are kept.
void vc_thread_name(const char *name);
