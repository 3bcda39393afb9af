// C11-model atomics for words inside arrays that Swift owns as raw memory.
//
// Ordering used by the graph: a link is stored with release after the row it names and that row's own links are written; it
// is read with acquire. So whoever follows a link sees the vector and the lists behind it.
#pragma once

#include <sched.h>
#include <stddef.h>
#include <stdint.h>

#define VK_NO_ROW 0xffffffffu

static inline uint32_t vk_load_acquire(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
static inline void vk_store_release(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
static inline uint8_t vk_load_byte(const uint8_t *byte) { return __atomic_load_n(byte, __ATOMIC_ACQUIRE); }
static inline void vk_or_byte(uint8_t *byte, uint8_t bits) { __atomic_fetch_or(byte, bits, __ATOMIC_RELEASE); }

static inline void vk_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("isb");
#endif
}

/// Spins on bit 0 of `byte`; the other bits are left alone. Yields now and then: the holder may have been descheduled.
static inline void vk_lock(uint8_t *byte) {
    for (unsigned spins = 1; __atomic_fetch_or(byte, 1, __ATOMIC_ACQUIRE) & 1; spins++) {
        while (__atomic_load_n(byte, __ATOMIC_RELAXED) & 1) {
            if (spins++ % 64 == 0) sched_yield(); else vk_relax();
        }
    }
}
static inline void vk_unlock(uint8_t *byte) { __atomic_fetch_and(byte, (uint8_t)~1u, __ATOMIC_RELEASE); }

static inline void vk_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }

/// Appends to `ids` the links not yet in the `visited` bitmap, marking them. A list ends at `VK_NO_ROW` or after `limit`.
/// Returns how many were appended. A list being rewritten meanwhile may show old and new links mixed: each is a valid row.
static inline size_t vk_gather(const uint32_t *links, size_t limit, uint64_t *visited, uint32_t *ids) {
    size_t count = 0;
    for (size_t i = 0; i < limit; i++) {
        uint32_t row = vk_load_acquire(links + i);
        if (row == VK_NO_ROW) break;
        uint64_t word = visited[row >> 6], bit = 1ull << (row & 63);
        visited[row >> 6] = word | bit;
        ids[count] = row;
        count += (word & bit) == 0;
    }
    return count;
}
