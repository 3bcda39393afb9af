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
