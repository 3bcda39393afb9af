// One table per instruction set.
#pragma once

#include "include/VectorKernels.h"

extern const vk_kernels vk_portable;
#if defined(__x86_64__)
extern const vk_kernels vk_avx2;
extern const vk_kernels vk_avx512;
extern const vk_kernels vk_avx512vnni;
extern const vk_kernels vk_avx512popcnt;
#elif defined(__aarch64__)
extern const vk_kernels vk_neon;
extern const vk_kernels vk_neondot;
#endif

static inline const float *vk_floats(const vk_rows *rows, uint32_t id) {
    return rows->floats + (size_t)(rows->places ? rows->places[id] : id) * rows->stride;
}

size_t vk_pool_insert_portable(uint64_t *pool, size_t size, size_t capacity, uint64_t entry);

// What a set without instructions of its own for it takes from the portable one.
vk_coded vk_sketch_row_portable(const float *from, const float *centre, uint32_t dimension, uint64_t *words);
vk_coded vk_sketch_query_portable(const float *from, const float *centre, uint32_t dimension, uint64_t *words);
void vk_sketch_rows_portable(const vk_rows *rows, const vk_query *query, const uint32_t *ids, size_t count, uint32_t *keys);
size_t vk_keep_between_portable(
    const uint32_t *keys, const uint32_t *ids, size_t count, uint32_t least, uint32_t most, uint32_t *kept);
size_t vk_next_rows_portable(const uint64_t *bitmap, size_t *row, size_t end, size_t limit, uint32_t *ids);
size_t vk_pool_offer_portable(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count, size_t *lowest);

static inline uint64_t vk_entry(uint32_t key, uint32_t id) { return (uint64_t)key << 32 | (uint64_t)id << 1; }

/// `pool_offer` by whatever `insert` does for one.
static inline __attribute__((always_inline)) size_t vk_pool_offer_body(
    uint64_t *pool, size_t size, size_t capacity, const uint32_t *keys, const uint32_t *ids, size_t count, size_t *lowest,
    size_t (*insert)(uint64_t *, size_t, size_t, uint64_t)) {
    for (size_t i = 0; i < count; i++) {
        uint64_t entry = vk_entry(keys[i], ids[i]);
        if (size == capacity && entry >= pool[capacity - 1]) continue;
        size_t at = insert(pool, size, capacity, entry);
        if (size < capacity) size++;
        if (at < *lowest) *lowest = at;
    }
    return size;
}
