#define _GNU_SOURCE
#include "vk_memory.h"

#include <stdint.h>
#include <sys/mman.h>

static const size_t huge_page = (size_t)2 << 20;
static const size_t small_page = 4096;

// Blocks below two huge pages would waste more than they save.
static int wants_huge(size_t bytes) { return bytes >= 2 * huge_page; }

static size_t rounded(size_t bytes) {
    size_t page = wants_huge(bytes) ? huge_page : small_page;
    return bytes == 0 ? page : (bytes + page - 1) / page * page;
}

void *vk_allocate(size_t bytes) {
    if (bytes > PTRDIFF_MAX - 2 * huge_page) return NULL;
    size_t size = rounded(bytes);
    size_t slack = wants_huge(bytes) ? huge_page : 0;
    char *base = mmap(NULL, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) return NULL;
    if (slack == 0) return base;
    char *aligned = (char *)(((uintptr_t)base + huge_page - 1) / huge_page * huge_page);
    size_t before = (size_t)(aligned - base), after = slack - before;
    if (before > 0) munmap(base, before);
    if (after > 0) munmap(aligned + size, after);
#ifdef MADV_HUGEPAGE
    madvise(aligned, size, MADV_HUGEPAGE);
#endif
    return aligned;
}

void vk_deallocate(void *address, size_t bytes) {
    if (address != NULL) munmap(address, rounded(bytes));
}
