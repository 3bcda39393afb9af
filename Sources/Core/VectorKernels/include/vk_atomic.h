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

/// Appends to `ids` the links not yet visited, marking them: a row is visited when its byte is `walk`. A list ends at
/// `VK_NO_ROW` or after `limit`. Returns how many were appended. A list being rewritten meanwhile may show old and new links
/// mixed: each is a valid row.
static inline size_t vk_gather(const uint32_t *links, size_t limit, uint8_t *visited, uint8_t walk, uint32_t *ids) {
    size_t count = 0;
    for (size_t i = 0; i < limit; i++) {
        uint32_t row = vk_load_acquire(links + i);
        if (row == VK_NO_ROW) break;
        ids[count] = row;
        count += visited[row] != walk;
        visited[row] = walk;
    }
    return count;
}

/// A node's bit, under the number that the bitmap's rows have.
static inline uint64_t vk_bit(const uint64_t *bitmap, const uint32_t *row_of, uint32_t node) {
    uint32_t row = row_of ? row_of[node] : node;
    return bitmap[row >> 6] >> (row & 63) & 1;
}

/// Like `vk_gather`, for eligible nodes alone; `ways` gets the others, through which `vk_gather_behind` looks further, and
/// `ways_count` how many they are. Both have room for `width`. No branch depends on what is eligible: at a tenth, every
/// tenth guess would fail.
static inline size_t vk_gather_eligible(
    const uint32_t *links, size_t width, const uint64_t *eligible, const uint32_t *row_of, uint8_t *visited, uint8_t walk,
    uint32_t *ways, size_t *ways_count, uint32_t *ids) {
    size_t count = 0, others = 0;
    for (size_t i = 0; i < width; i++) {
        uint32_t id = vk_load_acquire(links + i);
        if (id == VK_NO_ROW) break;
        uint8_t seen = visited[id];
        uint64_t unseen = seen != walk, fits = vk_bit(eligible, row_of, id);
        visited[id] = fits ? walk : seen;
        ids[count] = id;
        count += unseen & fits;
        ways[others] = id;
        others += unseen & (fits ^ 1);
    }
    *ways_count = others;
    return count;
}

/// How many lists are asked for before the first of them is read.
enum { vk_ways_ahead = 5 };

static inline void vk_prefetch_ways(const uint32_t *links, size_t width, const uint32_t *ways, size_t count) {
    for (size_t w = 0; w < vk_ways_ahead && w < count; w++)
        for (size_t i = 0; i < width; i += 16) vk_prefetch(links + ways[w] * width + i);
}

/// The eligible ones of a list of links. `ids` has room for `width`.
static inline size_t vk_keep_eligible(
    const uint32_t *list, size_t width, const uint64_t *eligible, const uint32_t *row_of, uint32_t *ids) {
    size_t count = 0;
    if (row_of == 0) {
        for (size_t i = 0; i < width; i++) {
            uint32_t id = vk_load_acquire(list + i);
            if (id == VK_NO_ROW) break;
            ids[count] = id;
            count += eligible[id >> 6] >> (id & 63) & 1;
        }
        return count;
    }
    for (size_t i = 0; i < width; i++) {
        uint32_t id = vk_load_acquire(list + i);
        if (id == VK_NO_ROW) break;
        uint32_t row = row_of[id];
        ids[count] = id;
        count += eligible[row >> 6] >> (row & 63) & 1;
    }
    return count;
}

/// Appends to the `count` there are in `ids` the eligible nodes in the lists of `ways` that were not visited, until `reach` of
/// them were met, visited or not, or the ways end: where lists overlap, going on would find little more. `links` are all lists,
/// `width` a node; `ids` has room for `reach + 2 * width`. Returns how many there are then.
static inline size_t vk_gather_behind(
    const uint32_t *links, size_t width, const uint32_t *ways, size_t ways_count, const uint64_t *eligible,
    const uint32_t *row_of, uint8_t *visited, uint8_t walk, size_t reach, size_t count, uint32_t *ids) {
    size_t met = count;
    for (size_t w = 0; w < ways_count && met < reach; w++) {
        if (w + vk_ways_ahead < ways_count)
            for (size_t i = 0; i < width; i += 16) vk_prefetch(links + ways[w + vk_ways_ahead] * width + i);
        const uint32_t *list = links + ways[w] * width;
        visited[ways[w]] = walk;
        const size_t end = count + vk_keep_eligible(list, width, eligible, row_of, ids + count);
        met += end - count;
        // Few are left to be looked up.
        for (size_t i = count; i < end; i++) {
            uint32_t id = ids[i];
            ids[count] = id;
            count += visited[id] != walk;
            visited[id] = walk;
        }
    }
    return count;
}

/// How many of a node's links are eligible; adds those there are to `links_count`.
static inline size_t vk_count_eligible(
    const uint32_t *links, size_t width, const uint64_t *eligible, const uint32_t *row_of, size_t *links_count) {
    size_t hits = 0;
    for (size_t i = 0; i < width; i++) {
        uint32_t id = vk_load_acquire(links + i);
        if (id == VK_NO_ROW) break;
        hits += vk_bit(eligible, row_of, id);
        (*links_count)++;
    }
    return hits;
}

/// The rows whose bit is set, from `*row` (a multiple of 64) on and below `end`; `*row` moves behind the last looked at.
/// `bitmap` null: all rows. `ids` has room for `limit + 64`; looking ends when there are `limit`, or at the end.
static inline size_t vk_next_rows(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    size_t first = *row, count = 0;
    for (; first < end && count < limit; first += 64) {
        uint64_t bits = bitmap ? bitmap[first >> 6] : ~0ull;
        if (end - first < 64) bits &= (1ull << (end - first)) - 1;
        size_t here = (size_t)__builtin_popcountll(bits);
        // Four at a time, some of them in vain: how many bits a word has is anyone's guess.
        for (size_t i = 0; i < here; i += 4) {
            for (size_t j = 0; j < 4; j++) {
                ids[count + i + j] = (uint32_t)(first + (size_t)__builtin_ctzll(bits | 1ull << 63));
                bits &= bits - 1;
            }
        }
        count += here;
    }
    *row = first;
    return count;
}

/// Their nodes: a row without one (`VK_NO_ROW`) is left out. `node_of` null: nodes are rows.
static inline size_t vk_next_nodes(
    const uint64_t *bitmap, const uint32_t *node_of, size_t *row, size_t end, size_t limit, uint32_t *ids) {
    size_t count = vk_next_rows(bitmap, row, end, limit, ids);
    if (node_of == 0) return count;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        uint32_t node = node_of[ids[i]];
        ids[kept] = node;
        kept += node != VK_NO_ROW;
    }
    return kept;
}
