#include "vk_variants.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

typedef struct {
    const vk_kernels *kernels;
    int (*runs)(void);
} variant;

static int always(void) { return 1; }

#if defined(__x86_64__)
static int has_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}
static int has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
static int has_avx512vnni(void) { return has_avx512() && __builtin_cpu_supports("avx512vnni"); }
static int has_avx512popcnt(void) {
    return has_avx512vnni() && __builtin_cpu_supports("avx512vpopcntdq") && __builtin_cpu_supports("avx512vbmi2");
}
#elif defined(__aarch64__)
static int has_neondot(void) {
#if defined(__linux__)
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#elif defined(__APPLE__)
    return 1;  // every Apple Silicon has it
#else
    return 0;
#endif
}
#endif

// Fastest first.
static const variant variants[] = {
#if defined(__x86_64__)
    {&vk_avx512popcnt, has_avx512popcnt},
    {&vk_avx512vnni, has_avx512vnni},
    {&vk_avx512, has_avx512},
    {&vk_avx2, has_avx2},
#elif defined(__aarch64__)
    {&vk_neondot, has_neondot},
    {&vk_neon, always},
#endif
    {&vk_portable, always},
};

size_t vk_kernels_count(void) { return sizeof variants / sizeof *variants; }

const vk_kernels *vk_kernels_at(size_t index) {
    return index < vk_kernels_count() && variants[index].runs() ? variants[index].kernels : NULL;
}

const vk_kernels *vk_kernels_best(void) {
    static const vk_kernels *chosen;
    const vk_kernels *best = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (best != NULL) return best;
    for (size_t i = 0; best == NULL; i++) best = vk_kernels_at(i);
    // Two threads may both choose; they choose alike.
    __atomic_store_n(&chosen, best, __ATOMIC_RELAXED);
    return best;
}
