#pragma once
/// Asks that the calling thread run soon after it wakes, in turns of so many microseconds (100 to 100,000), whoever else is
/// in the middle of a longer turn; its share of the processor stays the same. Linux 6.12 and later; earlier ones take no
/// notice. Returns 0, or errno.
int vc_thread_turns(unsigned microseconds);
/// The calling thread computes and nobody waits for it: it gets a smaller share (its nice value), in short turns, and interrupts
/// nobody when it wakes. Returns 0, or errno.
int vc_thread_background(int nice, unsigned microseconds);
/// For a background thread, each tenth of a millisecond or so: whoever waits for this processor gets it. Without, a thread that
/// woke while it was not its turn yet would wait until the next tick, up to 4 ms. Gives up what is left of the caller's turn,
/// which must be short therefore; costs little when nobody waits. Where others compute as well, each such gift is a tick of
/// theirs: then the caller takes as long for itself before the next (50 ms at most), so that it comes to half of its share at least.
void vc_thread_breathe(void);
/// Names the calling thread in `top` and core files; at most 15 bytes are kept.
void vc_thread_name(const char *name);
