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
